"""Each measure responds to what it is named after; the table places songs between the reference and the controls."""

import json
from types import SimpleNamespace

import librosa
import numpy as np
import pytest

from kpop.cli import main
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, STEPS_PER_BAR
from kpop.evaluation import measures, report
from kpop.evaluation.report import BARS, COLUMNS, GENERATED, NOISE, REFERENCE, SIXTEENTHS, Table, cell, cell_of_draws

MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
IV_V_III_VI = ((5, MAJOR), (7, MAJOR), (4, MINOR), (9, MINOR))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def clicks(bpm: float, seconds: float = 20.0) -> np.ndarray:
    times, length = np.arange(0, seconds, 60 / bpm), int(seconds * SAMPLE_RATE_HZ)
    return 0.3 * librosa.clicks(times=times, sr=SAMPLE_RATE_HZ, click_freq=5_000, click_duration=0.02, length=length)


def chord(root: int, steps: tuple[int, ...]) -> np.ndarray:
    """A bar of a triad over its root."""
    hz = librosa.midi_to_hz([36 + root, *(60 + (root + step) % 12 for step in steps)])
    phases = 2 * np.pi * np.outer([*hz, *(2 * hz)], np.arange(BAR_SAMPLES) / SAMPLE_RATE_HZ)
    return 0.1 * np.sin(phases).sum(0, dtype=np.float32)


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
def test_clicks_have_a_clear_pulse_at_their_tempo_and_noise_and_shuffled_clicks_have_less(bpm):
    steady = clicks(bpm)
    clarity, measured_bpm = pulse(steady)
    assert measures.tempo_error_percent(measured_bpm, bpm) < 1.5
    assert max(measures.tempo_error_percent(octave * bpm, bpm) for octave in (0.5, 2)) == 0
    assert measures.tempo_error_percent(4 / 3 * bpm, bpm) > 30
    assert clarity > 0.5
    assert pulse(report.sixteenths_shuffled(steady, rng()))[0] < 0.7 * clarity
    assert pulse(report.pink_noise(len(steady), rng()))[0] < 0.3


@pytest.mark.parametrize("tonic", [0, 3, 10])
def test_the_chords_of_a_loop_are_found_and_known_in_every_key_from_any_chord_on_and_others_are_unknown(tonic):
    chords = tuple(((root + tonic) % 12, steps) for root, steps in IV_V_III_VI)
    found = measures.bar_chords(*measures.song_chroma(band(chords, 8)))
    assert found.tolist() == [root + 12 * (steps == MINOR) for root, steps in chords] * 2
    assert measures.progression_share(found) == measures.progression_share(found[2:7]) == 1
    assert measures.progression_share(np.arange(8)) == measures.progression_share(found[:3]) == 0
    assert measures.progression_share(np.concatenate([found[:4], [1, 15, 6, 8]])) == 0.5


def test_a_song_in_one_key_is_clearer_than_one_that_modulates():
    wandering = [(root, MAJOR) for root in (0, 6, 1, 8, 2, 10, 3, 11, 4, 9, 5, 7)]
    one, many = (measures.song_chroma(band(chords, 24))[0] for chords in (IV_V_III_VI, wandering))
    assert measures.key(one.mean(0))[0] in (0, 12 + 9), "C major or its relative"
    assert measures.key(one.mean(0))[1] > measures.key(many.mean(0))[1] + 0.2


def test_balance_depends_on_treble_but_not_on_level():
    song = band(IV_V_III_VI, 8)
    plain, loud, bright = (
        measures.analyse_song(each).octaves_db for each in (song, song * 0.5, song + 4 * np.diff(song, prepend=0))
    )
    assert np.allclose(plain, loud, atol=0.1)
    assert measures.balance_difference_db(bright[None], plain[None], leave_one_out=False)[0] > 2
    octaves = np.array([[0.0, 0.0], [2.0, -2.0], [4.0, -4.0]])
    assert measures.balance_difference_db(octaves, octaves, leave_one_out=True).tolist() == [3, 0, 3]


def test_the_frechet_distance_is_that_of_normal_distributions_and_lies_between_reference_and_control():
    one, similar = rng().standard_normal((2, 400, 4))
    distance = measures.frechet_distance
    assert distance(one, similar) < min(0.1, distance(one, similar + 0.7), distance(one, similar * 3))
    assert distance(one, one + np.array([3, 0, 0, 0])) == pytest.approx(9, abs=1e-6)

    def songs(shift: float) -> list[np.ndarray]:
        return [generator.standard_normal((20, 30)) + shift for _ in range(12)]

    generator = rng()
    sets = {"reference": songs(0), "similar": songs(0), "control": songs(2)}
    draws = measures.frechet_distances(sets, "reference")
    similar = cell_of_draws(draws["similar"], draws["reference"], draws["control"], 12)
    assert abs(similar.normalised) < 0.1
    assert similar.low <= similar.normalised <= similar.high


def test_songs_of_one_kind_are_less_diverse():
    different = [rng(number).standard_normal((10, 30)) + rng(number + 9).standard_normal(30) * 3 for number in range(8)]
    same = [different[0] + rng(number).standard_normal((10, 30)) * 0.1 for number in range(8)]
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


def test_each_kind_of_collapse_is_found_in_generated_songs(monkeypatch):
    song, lines = triads(0), []
    ends = {
        "steady": song[:0],
        "silence": np.zeros_like(song),
        "noise": report.pink_noise(len(song) // 2, rng()),
        "one repeated bar": np.tile(song[:BAR_SAMPLES], 20),
    }
    kinds = {0.7: ["steady"] * 3, 1.0: ["silence"] * 3, 1.2: ["noise", "one repeated bar", "noise"]}

    def generate(pipeline, settings, clip):
        end = ends[kinds[settings.temperature][settings.seed_number]]
        return SimpleNamespace(waveform=np.concatenate([song, end]), seed_end_s=7.68)

    monkeypatch.setattr(report, "generate", generate)
    monkeypatch.setattr(report, "unseen_songs", lambda n: [SimpleNamespace(waveform=32_767 * triads(9))])
    found = report.check_collapse(None, 1, lines.append)
    assert [song["verdict"] for song in found["songs"]] == [kind for each in kinds.values() for kind in each]
    assert len(lines) == 1 + 9


def test_shuffling_keeps_every_sample_and_the_units():
    ramp = np.arange(4 * BAR_SAMPLES, dtype=np.float32)
    bars, sixteenths = report.shuffled(ramp, BAR_SAMPLES, rng()), report.sixteenths_shuffled(ramp, rng())
    assert (np.diff(bars.reshape(4, -1), axis=1) == 1).all()
    assert not np.array_equal(bars, ramp)
    assert all(np.array_equal(np.sort(mixed), ramp) for mixed in (bars, sixteenths))
    assert len({int(sample // BAR_SAMPLES) for sample in sixteenths[:BAR_SAMPLES]}) == 1, "a bar keeps its sixteenths"
    tokens = np.repeat(np.arange(6), STEPS_PER_BAR)[:, None]
    assert sorted(report.shuffled(tokens, STEPS_PER_BAR, rng())[::STEPS_PER_BAR, 0]) == list(range(6))


def test_pink_noise_has_as_much_power_in_every_octave():
    octaves_db = measures.analyse_song(report.pink_noise(20 * SAMPLE_RATE_HZ, rng())).octaves_db
    assert np.ptp(octaves_db[1:-1]) < 2


def test_songs_like_the_reference_are_near_0_in_the_table(table):
    for name in ("pulse_clarity", "key_clarity", "progression_bars", "band_balance_db", "frechet_distance"):
        assert abs(table.cells[GENERATED][name].normalised) < 0.3, name
        assert table.cells[REFERENCE][name].normalised == pytest.approx(0)
        assert table.cells[COLUMNS[name][1]][name].normalised == pytest.approx(1)
    assert all(row in table.lines()[1] for row in table.cells)
    loaded = json.loads(json.dumps(table.as_json(), allow_nan=False))
    assert loaded["cells"][NOISE]["key_clarity"]["normalised"] == pytest.approx(1)


def test_the_command_measures_a_tiny_model_from_end_to_end(tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measures, "N_DRAWS", 4)
    for name in ("N_CODEC_SONGS", "N_BITS_SONGS"):
        monkeypatch.setattr(report, name, 1)
    assert main(f"evaluate --model {tiny_model} --songs 4 --seconds 16 --out {tmp_path}".split()) == 0
    printed = capsys.readouterr().out
    assert "similarity to training songs is left out" in printed
    assert "pulse clarity" in printed
    whole = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert set(whole["cells"]) == set(report.ROWS)
    assert "bits_per_step" in whole["cells"][REFERENCE]
    assert "log_mel_error_db" in whole["codec"]
