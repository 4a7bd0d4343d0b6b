"""Each measure responds to what it is named after; the table places songs between the reference and the controls."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kpop.cli import main
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, STEPS_PER_BAR
from kpop.evaluation import measures, report
from kpop.evaluation.report import BARS, COLUMNS, GENERATED, NOISE, REFERENCE, SIXTEENTHS, Table, cell, cell_of_draws

MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
IV_V_III_VI = ((5, MAJOR), (7, MAJOR), (4, MINOR), (9, MINOR))
TIME_S = np.arange(BAR_SAMPLES) / SAMPLE_RATE_HZ


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def clicks(bpm: float, seconds: float = 20.0) -> np.ndarray:
    waveform = np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)
    for start in (np.arange(0, seconds - 0.1, 60 / bpm) * SAMPLE_RATE_HZ).astype(int):
        waveform[start : start + 400] = rng(start).standard_normal(400) * np.exp(-np.arange(400) / 80) * 0.3
    return waveform


def chord(root: int, steps: tuple[int, ...]) -> np.ndarray:
    """A bar of a triad over its root."""
    pitches = [36 + root] + [60 + (root + step) % 12 for step in steps]
    hz = [440 * 2 ** ((pitch - 69) / 12) * k for pitch in pitches for k in (1, 2)]
    return (0.1 * sum(np.sin(2 * np.pi * each * TIME_S) for each in hz)).astype(np.float32)


def band(chords, n_bars: int, number: int = 0) -> np.ndarray:
    """A chord per bar over clicks; the number changes key and level."""
    bars = [chord((chords[bar % len(chords)][0] + number) % 12, chords[bar % len(chords)][1]) for bar in range(n_bars)]
    waveform = np.concatenate(bars) * rng(number).uniform(0.7, 1.3)
    return (waveform + clicks(125, n_bars * BAR_SAMPLES / SAMPLE_RATE_HZ)).astype(np.float32)


@pytest.fixture(scope="module")
def table() -> Table:
    """Eight bars per song: generated songs differ from the reference by their numbers alone; and three controls."""
    reference = [band(IV_V_III_VI, 8, number) for number in range(6)]
    rows = {
        GENERATED: [band(IV_V_III_VI, 8, 12 + number) for number in range(6)],
        REFERENCE: reference,
        BARS: [report.shuffled(song, BAR_SAMPLES, rng(1)) for song in reference],
        SIXTEENTHS: [report.sixteenths_shuffled(song, rng(n)) for n, song in enumerate(reference)],
        NOISE: [report.pink_noise(8 * BAR_SAMPLES, rng(n)) for n in range(6)],
    }
    table = Table()
    table.add_features({row: [measures.analyse_song(song) for song in songs] for row, songs in rows.items()})
    return table


def pulse(waveform: np.ndarray) -> tuple[float, float]:
    return measures.pulse(measures.onset_strength(measures.log_mel_spectrogram(waveform)))


@pytest.mark.parametrize("bpm", [96.0, 125.0, 140.0])
def test_the_tempo_of_clicks_is_measured(bpm):
    clarity, measured_bpm = pulse(clicks(bpm))
    assert measures.tempo_error_percent(measured_bpm, bpm) < 1.5
    assert clarity > 0.5


def test_half_and_double_time_are_no_error_but_a_third_is():
    assert measures.tempo_error_percent(62.5) == measures.tempo_error_percent(250.0) == 0
    assert measures.tempo_error_percent(125 * 4 / 3) > 30


def test_noise_and_shuffled_clicks_have_less_pulse():
    steady = clicks(125)
    assert pulse(report.pink_noise(len(steady), rng()))[0] < 0.3
    assert pulse(report.sixteenths_shuffled(steady, rng()))[0] < 0.7 * pulse(steady)[0]


@pytest.mark.parametrize("tonic", [0, 3, 10])
def test_the_chords_of_a_progression_are_found_and_known_in_every_key(tonic):
    chords = tuple(((root + tonic) % 12, steps) for root, steps in IV_V_III_VI)
    found = measures.bar_chords(*measures.song_chroma(band(chords, 8)))
    assert found.tolist() == [root + 12 * (steps == MINOR) for root, steps in chords] * 2
    assert measures.progression_share(found) == 1


def test_a_known_loop_may_begin_at_any_of_its_chords_but_other_chords_are_unknown():
    loop = np.array([5, 7, 16, 21] * 3)
    assert measures.progression_share(loop[2:10]) == 1
    assert measures.progression_share(np.arange(8)) == 0
    assert measures.progression_share(np.concatenate([loop[:4], [1, 15, 6, 8]])) == 0.5
    assert measures.progression_share(loop[:3]) == 0


def test_a_song_in_one_key_is_clearer_and_agrees_more_than_one_that_modulates():
    wandering = [(root, MAJOR) for root in (0, 6, 1, 8, 2, 10, 3, 11, 4, 9, 5, 7)]
    one, many = (measures.song_chroma(band(chords, 24))[0] for chords in (IV_V_III_VI, wandering))
    assert measures.key(one.mean(0))[0] in (0, 12 + 9), "C major or its relative"
    assert measures.key(one.mean(0))[1] > measures.key(many.mean(0))[1] + 0.2
    assert measures.key_agreement(one) == 1
    assert measures.key_agreement(many) < 0.9


def test_balance_depends_on_treble_but_not_on_level():
    song = band(IV_V_III_VI, 8)
    plain, loud, bright = (
        measures.analyse_song(each).octaves_db for each in (song, song * 0.5, song + 4 * np.diff(song, prepend=0))
    )
    assert np.allclose(plain, loud, atol=0.1)
    assert measures.balance_difference_db(bright[None], plain[None], leave_one_out=False)[0] > 2
    octaves = np.array([[0.0, 0.0], [2.0, -2.0], [4.0, -4.0]])
    assert measures.balance_difference_db(octaves, octaves, leave_one_out=True).tolist() == [3, 0, 3]


def test_distances_are_zero_between_similar_sets_and_grow_with_the_difference():
    one, similar = rng().standard_normal((2, 400, 4))
    for distance in (measures.frechet_distance, measures.mmd):
        assert abs(distance(one, similar)) < 0.1
        assert distance(one, similar) < distance(one, similar + 0.7) < distance(one, similar + 1.4)
        assert distance(one, similar * 3) > distance(one, similar)
    assert measures.frechet_distance(one, one + np.array([3, 0, 0, 0])) == pytest.approx(9, abs=1e-6)


def test_sets_are_placed_between_the_reference_and_the_control():
    generator = rng()
    sets = {
        row: [generator.standard_normal((20, 30)) + shift for _ in range(12)]
        for row, shift in (("reference", 0), ("similar", 0), ("control", 2))
    }
    for draws in measures.set_distances(sets, "reference").values():
        similar = cell_of_draws(draws["similar"], draws["reference"], draws["control"], 12)
        assert abs(similar.normalised) < 0.1
        assert similar.low <= similar.normalised <= similar.high


def test_songs_of_one_kind_are_less_diverse():
    generator = rng()
    different = [generator.standard_normal((10, 30)) + generator.standard_normal(30) * 3 for _ in range(8)]
    same = [different[0] + generator.standard_normal((10, 30)) * 0.1 for _ in range(8)]
    project = measures.fit_components(different)
    assert measures.diversity(same, project).mean() < 0.3 * measures.diversity(different, project).mean()


def test_a_cell_is_0_at_the_reference_and_1_at_the_control_and_more_certain_with_more_songs():
    reference, control = np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0])
    at_reference, at_control, between = (cell(row, reference, control) for row in (reference, control, np.full(3, 3.0)))
    assert (at_reference.normalised, at_control.normalised, between.normalised) == (0, 1, 0.25)
    assert at_reference.low < 0 < at_reference.high
    assert between == cell(np.full(3, 3.0), reference, control), "the same draws every time"
    assert cell(reference, None, control).normalised is None
    few, many = (cell(*(rng(n).normal(mean, 1, n) for mean in (1, 0, 5))) for n in (5, 200))
    assert many.high - many.low < 0.4 * (few.high - few.low)


def triads(number: int, n_bars: int = 24) -> np.ndarray:
    """A random major triad per bar, with a little noise."""
    bars = [chord(root, MAJOR) for root in rng(number).integers(12, size=n_bars)]
    return np.concatenate(bars) + 0.05 * report.pink_noise(n_bars * BAR_SAMPLES, rng(number))


def test_each_kind_of_collapse_is_named():
    song = triads(0)
    ends = {
        "steady": song[:0],
        "silence": np.zeros_like(song),
        "noise": report.pink_noise(len(song) // 2, rng()),
        "one repeated bar": np.tile(song[:BAR_SAMPLES], 20),
    }
    songs = {name: measures.stability(np.concatenate([song, end])) for name, end in ends.items()}
    assert songs["steady"].entropy.max() < 0.7 < measures.stability(ends["noise"]).entropy.min()
    max_repetition = songs["steady"].repetition + 1e-3
    assert {name: measures.collapse(each, 0.7, max_repetition) for name, each in songs.items()} == {n: n for n in songs}


def test_shuffling_keeps_every_sample_and_the_units():
    ramp = np.arange(4 * BAR_SAMPLES, dtype=np.float32)
    bars, sixteenths = report.shuffled(ramp, BAR_SAMPLES, rng()), report.sixteenths_shuffled(ramp, rng())
    assert (np.diff(bars.reshape(4, -1), axis=1) == 1).all()
    assert not np.array_equal(bars, ramp)
    assert all(np.array_equal(np.sort(mixed), ramp) for mixed in (bars, sixteenths))
    assert len({int(sample // BAR_SAMPLES) for sample in sixteenths[:BAR_SAMPLES]}) == 1, "a bar keeps its sixteenths"
    tokens = np.repeat(np.arange(6), STEPS_PER_BAR)[:, None]
    assert sorted(report.shuffled(tokens, STEPS_PER_BAR, rng())[::STEPS_PER_BAR, 0]) == list(range(6))


def test_controls_have_the_statistics_of_their_names():
    octaves_db = measures.analyse_song(report.pink_noise(20 * SAMPLE_RATE_HZ, rng())).octaves_db
    assert np.ptp(octaves_db[1:-1]) < 2
    tokens = np.stack([np.repeat([3, 7, 7, 7], 500), np.arange(2000) % 5], axis=1)
    drawn = report.unigram_tokens(tokens, 4000, rng())
    assert abs((drawn[:, 0] == 7).mean() - 0.75) < 0.04
    assert set(drawn[:, 1]) == set(range(5))
    assert (np.diff(drawn[:, 1]) % 5 == 1).mean() < 0.3


def test_songs_like_the_reference_are_near_0_in_the_table(table):
    for name in ("pulse_clarity", "key_clarity", "progression_bars", "band_balance_db", "frechet_distance"):
        assert abs(table.cells[GENERATED][name].normalised) < 0.3, name
        assert table.cells[REFERENCE][name].normalised == pytest.approx(0)
        assert table.cells[COLUMNS[name][1]][name].normalised == pytest.approx(1)
    assert all(row in table.lines()[1] for row in table.cells)
    loaded = json.loads(json.dumps(table.as_json(), allow_nan=False))
    assert loaded["cells"][NOISE]["key_clarity"]["normalised"] == pytest.approx(1)


def test_targets_are_met_by_such_songs_and_missed_by_noise(table):
    assert all(target["met"] for target in report.check_targets(table))
    cells, octaves = (part | {GENERATED: part[NOISE]} for part in (table.cells, table.octaves_db))
    assert not any(target["met"] for target in report.check_targets(Table(cells, octaves)))


def test_collapse_is_found_in_generated_songs(monkeypatch):
    def generate(pipeline, settings, clip):
        is_wild = settings.temperature > 1
        waveform = report.pink_noise(24 * BAR_SAMPLES, rng()) if is_wild else triads(settings.seed_number)
        return SimpleNamespace(waveform=waveform, seed_end_s=7.68)

    monkeypatch.setattr(report, "generate", generate)
    monkeypatch.setattr(report, "unseen_songs", lambda n: [SimpleNamespace(waveform=32_767 * triads(9))])
    lines = []
    found = report.check_collapse(None, 1, lines.append)
    assert [song["verdict"] for song in found["songs"]] == ["steady"] * 6 + ["noise"] * 3
    assert len(lines) == 1 + 9


def test_the_command_measures_a_tiny_model_from_end_to_end(tiny_model, tmp_path, capsys, monkeypatch):
    for module, name, fewer in (
        (report, "N_FIGURE_SONGS", 1),
        (report, "N_BITS_SONGS", 1),
        (measures, "N_DRAWS", 4),
    ):
        monkeypatch.setattr(module, name, fewer)
    assert main(f"evaluate --model {tiny_model} --songs 4 --seconds 16 --out {tmp_path}".split()) == 0
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert "pulse clarity" in printed
    whole = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert set(whole["cells"]) == set(report.ROWS)
    assert "bits_per_step" in whole["cells"][REFERENCE]
    assert "codec, on unheard songs" in whole["figures"]


@pytest.mark.parametrize("arguments", ["--songs 0", "--seconds 2", "--seconds nan"])
def test_impossible_sizes_are_refused(arguments, capsys):
    assert main(f"evaluate {arguments}".split()) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
