"""Each measure answers to what it is named after, and the table says where songs stand between ceiling and control."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kpop.__main__ import main
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, STEPS_PER_BAR
from kpop.evaluation import collapse, columns, controls, harmony, music, steadiness
from kpop.evaluation.distance import Space, distances, diversity, frechet, mmd
from kpop.evaluation.hearing import hear
from kpop.evaluation.page import picture_of, write_page
from kpop.evaluation.statistics import cell, cell_of_draws
from kpop.evaluation.streams import codes_of
from kpop.evaluation.table import Table, add_convergence, add_courses, add_heard, add_nearness, balance_db
from kpop.evaluation.targets import targets
from kpop.evaluation.words import table_lines
from kpop.lstm.model import LstmConfig

MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
IV_V_III_VI = ((5, MAJOR), (7, MAJOR), (4, MINOR), (9, MINOR))


def clicks(bpm: float, seconds: float = 20.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    waveform = np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)
    for start in (np.arange(0, seconds - 0.1, 60 / bpm) * SAMPLE_RATE_HZ).astype(int):
        waveform[start : start + 400] = rng.standard_normal(400) * np.exp(-np.arange(400) / 80) * 0.3
    return waveform


def chord(root: int, steps: tuple[int, ...], n_samples: int = BAR_SAMPLES) -> np.ndarray:
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    pitches = [36 + root] + [60 + (root + step) % 12 for step in steps]
    tones = [np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * k * time_s) / k for pitch in pitches for k in (1, 2)]
    return (0.1 * sum(tones)).astype(np.float32)


def band(chords, n_bars: int, number: int = 0) -> np.ndarray:
    """Chords of a bar each over clicks; the number changes key and colour."""
    rng = np.random.default_rng(number)
    bars = [chord((chords[bar % len(chords)][0] + number) % 12, chords[bar % len(chords)][1]) for bar in range(n_bars)]
    waveform = np.concatenate(bars) * rng.uniform(0.7, 1.3)
    return (waveform + clicks(125, len(waveform) / SAMPLE_RATE_HZ)[: len(waveform)]).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[np.ndarray]]:
    """Eight bars a song: generated ones as unheard ones but for their numbers, and three controls."""
    unheard = [band(IV_V_III_VI, 8, number) for number in range(6)]
    rng = np.random.default_rng(1)
    return {
        columns.GENERATED: [band(IV_V_III_VI, 8, 12 + number) for number in range(6)],
        columns.CEILING: unheard,
        columns.BARS: [controls.bars_shuffled(song, rng) for song in unheard],
        columns.SIXTEENTHS: [controls.sixteenths_shuffled(song, rng) for song in unheard],
        columns.NOISE: [controls.pink_noise(8 * BAR_SAMPLES, rng) for _ in unheard],
    }


@pytest.fixture(scope="module")
def heard(rows):
    return {row: [hear(song) for song in songs] for row, songs in rows.items()}


@pytest.fixture(scope="module")
def table(rows, heard) -> Table:
    table = Table()
    add_heard(table, heard)
    add_convergence(table, rows[columns.CEILING], [song * 0.9 for song in rows[columns.CEILING]])
    add_nearness(table, rows, lambda song: 0.5)
    long = np.concatenate(rows[columns.CEILING][:2])
    add_courses(table, {columns.GENERATED: [steadiness.course(long)], columns.CEILING: [steadiness.course(long)]})
    return table


@pytest.mark.parametrize("bpm", [96.0, 125.0, 140.0])
def test_the_tempo_of_clicks_is_heard(bpm):
    clarity, heard_bpm = music.pulse(music.onset_strength(clicks(bpm)))
    assert music.tempo_error_percent(heard_bpm, bpm) < 1.5
    assert clarity > 0.5


def test_half_and_double_time_are_no_error_but_a_third_is():
    assert music.tempo_error_percent(62.5) == music.tempo_error_percent(250.0) == 0
    assert music.tempo_error_percent(125 * 4 / 3) > 30


def test_noise_and_shuffled_clicks_have_less_pulse_than_clicks():
    rng = np.random.default_rng(0)
    steady = clicks(125)
    shuffled = controls.sixteenths_shuffled(steady, rng)
    assert music.pulse_clarity(controls.pink_noise(len(steady), rng)) < 0.3
    assert music.pulse_clarity(shuffled) < 0.7 * music.pulse_clarity(steady)


@pytest.mark.parametrize("tonic", [0, 3, 10])
def test_the_chords_of_a_progression_are_heard_and_known_in_every_key(tonic):
    chords = tuple(((root + tonic) % 12, steps) for root, steps in IV_V_III_VI)
    heard_chords = harmony.bar_chords(*harmony.chroma(band(chords, 8)))
    assert heard_chords.tolist() == [root + 12 * (steps == MINOR) for root, steps in chords] * 2
    assert harmony.progression_share(heard_chords) == 1


def test_a_known_loop_may_begin_at_any_of_its_chords_but_strange_chords_are_not_known():
    loop = np.array([5, 7, 16, 21] * 3)
    assert harmony.progression_share(loop[2:10]) == 1
    assert harmony.progression_share(np.array([0, 1, 2, 3, 4, 5, 6, 7])) == 0
    strange = np.concatenate([loop[:4], [1, 15, 6, 8]])
    assert harmony.progression_share(strange) == 0.5
    assert harmony.progression_share(loop[:3]) == 0


def test_a_song_in_one_key_is_clearer_and_agrees_more_than_one_that_wanders():
    wandering = [(root, MAJOR) for root in (0, 6, 1, 8, 2, 10, 3, 11, 4, 9, 5, 7)]
    (one, _), (many, _) = (harmony.chroma(band(chords, 24)) for chords in (IV_V_III_VI, wandering))
    assert harmony.key(one.mean(0))[0] in (0, 12 + 9), "C major or its relative"
    assert harmony.key(one.mean(0))[1] > harmony.key(many.mean(0))[1] + 0.2
    assert harmony.key_agreement(one) == 1
    assert harmony.key_agreement(many) < 0.9


def test_entropy_tells_noise_from_a_note():
    tone, noise = (chord(0, MAJOR, 5 * BAR_SAMPLES), controls.pink_noise(5 * BAR_SAMPLES, np.random.default_rng(0)))
    quiet = steadiness.course(np.tile(tone, 2)).entropy.max()
    assert 0 <= quiet < 0.6 < steadiness.course(np.tile(noise, 2)).entropy.min() <= 1


def test_shuffling_keeps_every_sample_and_its_bars():
    ramp = np.arange(4 * BAR_SAMPLES, dtype=np.float32)
    bars = controls.bars_shuffled(ramp, np.random.default_rng(0))
    finer = controls.sixteenths_shuffled(ramp, np.random.default_rng(0))
    assert (np.diff(bars.reshape(4, -1), axis=1) == 1).all()
    assert not np.array_equal(bars, ramp)
    for mixed in (bars, finer):
        assert np.array_equal(np.sort(mixed), ramp)
    assert not np.array_equal(finer, bars)
    assert len({int(sample // BAR_SAMPLES) for sample in finer[:BAR_SAMPLES]}) == 1, "a bar keeps its own sixteenths"


def test_pink_noise_has_the_same_power_in_every_octave():
    octaves = hear(controls.pink_noise(20 * SAMPLE_RATE_HZ, np.random.default_rng(0))).octaves_db[1:-1]
    assert np.ptp(octaves) < 2


def test_codes_by_frequency_keep_frequencies_and_lose_order():
    codes = np.stack([np.repeat([3, 7, 7, 7], 500), np.arange(2000) % 5], axis=1)
    drawn = controls.codes_by_frequency(codes, 4000, np.random.default_rng(0))
    assert abs((drawn[:, 0] == 7).mean() - 0.75) < 0.04
    assert set(drawn[:, 1]) == set(range(5))
    assert (np.diff(drawn[:, 1]) % 5 == 1).mean() < 0.3


def test_balance_of_a_song_does_not_depend_on_its_level_but_on_its_treble(rows):
    song = rows[columns.CEILING][0]
    plain, loud = (hear(waveform).octaves_db for waveform in (song, song * 0.5))
    assert np.allclose(plain, loud, atol=0.1)
    bright = hear(song + np.diff(song, prepend=0) * 4).octaves_db
    assert balance_db(bright[None], plain[None], own=False)[0] > 2


def test_each_unheard_song_is_compared_with_the_others_alone():
    octaves = np.array([[0.0, 0.0], [2.0, -2.0], [4.0, -4.0]])
    assert balance_db(octaves, octaves, own=True).tolist() == [3, 0, 3]


def test_distances_are_nothing_between_like_sets_and_grow_with_the_difference():
    rng = np.random.default_rng(0)
    one, like = rng.standard_normal((2, 400, 4))
    for distance in (frechet, mmd):
        assert abs(distance(one, like)) < 0.1
        assert distance(one, like) < distance(one, like + 0.7) < distance(one, like + 1.4)
        assert distance(one, like * 3) > distance(one, like)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet(one, one + np.array([3, 0, 0, 0])) == pytest.approx(9, abs=1e-6)


def test_sets_of_songs_are_at_nothing_when_alike_and_at_one_when_as_the_control():
    rng = np.random.default_rng(0)
    sets = {name: [rng.standard_normal((20, 30)) + shift for _ in range(12)] for name, shift in
            (("unheard", 0), ("alike", 0), ("control", 2))}  # fmt: skip
    draws = distances(sets, "unheard")
    for name in ("frechet_distance", "mmd"):
        alike, control = (cell_of_draws(draws[row][name], draws["unheard"][name], draws["control"][name], 12)
                          for row in ("alike", "control"))  # fmt: skip
        assert abs(alike.normalised) < 0.1
        assert alike.low <= alike.normalised <= alike.high
        assert control.normalised == pytest.approx(1)


def test_songs_of_one_kind_are_less_diverse():
    rng = np.random.default_rng(0)
    different = [rng.standard_normal((10, 30)) + rng.standard_normal(30) * 3 for _ in range(8)]
    same = [different[0] + rng.standard_normal((10, 30)) * 0.1 for _ in range(8)]
    space = Space(different)
    assert diversity(same, space).mean() < 0.3 * diversity(different, space).mean()


def test_the_ceiling_is_nought_and_the_control_is_one():
    ceiling, control = np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0])
    at_ceiling, at_control, between = (cell(row, ceiling, control) for row in (ceiling, control, np.full(3, 3.0)))
    assert (at_ceiling.normalised, at_control.normalised, between.normalised) == (0, 1, 0.25)
    assert at_ceiling.low < 0 < at_ceiling.high
    assert between == cell(np.full(3, 3.0), ceiling, control), "the same draws every time"
    assert cell(ceiling, None, control).normalised is None


def test_more_songs_are_more_certain():
    rng = np.random.default_rng(0)
    few, many = (cell(rng.normal(1, 1, n), rng.normal(0, 1, n), rng.normal(5, 1, n)) for n in (5, 200))
    assert many.high - many.low < 0.4 * (few.high - few.low)


def test_a_fade_drifts_and_a_song_of_verse_and_chorus_does_not():
    bar = band(IV_V_III_VI, 32)
    fading = bar * np.linspace(1, 0.05, len(bar), dtype=np.float32)
    steady, faded = (steadiness.drifts(steadiness.course(song)) for song in (bar, fading))
    assert steady["level_drift_lu"] < 0.3
    assert faded["level_drift_lu"] > 2


def test_each_way_of_falling_apart_is_named():
    rng = np.random.default_rng(0)
    progression = [(int(rng.integers(12)), MAJOR) for _ in range(24)]
    song = np.concatenate(
        [chord(*bar) + controls.pink_noise(BAR_SAMPLES, rng) * 0.1 * rng.random() for bar in progression]
    )
    noise = controls.pink_noise(len(song) // 2, rng)
    sounds = {
        "steady": song,
        "silence": np.concatenate([song, np.zeros_like(song)]),
        "noise": np.concatenate([song, noise]),
        "one repeated bar": np.concatenate([song, np.tile(song[:BAR_SAMPLES], 20)]),
    }
    courses = {name: steadiness.course(sound) for name, sound in sounds.items()}
    noise_entropy = (courses["steady"].entropy.max() + steadiness.course(noise).entropy.min()) / 2
    most = courses["steady"].repetition + 1e-3
    assert {name: steadiness.verdict(course, noise_entropy, most) for name, course in courses.items()} == {
        name: name for name in sounds
    }


def test_songs_like_the_unheard_are_near_nought_in_the_table(table):
    for name in ("pulse_clarity", "key_clarity", "progression_bars", "band_balance_db", "frechet_distance"):
        assert abs(table.cells[columns.GENERATED][name].normalised) < 0.3, name
        assert table.cells[columns.CEILING][name].normalised == pytest.approx(0)
        control = next(column.control for column in columns.COLUMNS if column.name == name)
        assert table.cells[control][name].normalised == pytest.approx(1)


def test_targets_are_met_by_such_songs_and_missed_by_noise(table):
    assert not [str(target) for target in targets(table) if not target.met]
    cells = table.cells | {columns.GENERATED: table.cells[columns.NOISE]}
    noise = Table(cells, table.octaves_db | {columns.GENERATED: table.octaves_db[columns.NOISE]})
    assert not any(target.met for target in targets(noise))
    assert "missed" in str(targets(noise)[0])


def test_the_table_prints_one_line_a_column_and_names_the_rows(table, rows):
    lines = table_lines(table)
    assert all(row in lines[1] for row in table.cells)
    assert any(line.startswith("pulse clarity") for line in lines)
    assert sum("percentile" in line for line in lines) == len(table.copy_percentiles) == len(rows) - 1


def test_page_and_json_hold_the_table(table, heard, tmp_path):
    levels = {row: [song.level_db for song in songs] for row, songs in heard.items()}
    write_page(tmp_path / "page.html", "a title", table, targets(table), levels)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "a title" in page
    assert "pulse clarity" in page
    assert 'src="http' not in page
    assert len(page) < 8e6
    again = json.loads(json.dumps(table.as_json(), allow_nan=False))
    assert again["cells"][columns.NOISE]["key_clarity"]["normalised"] == pytest.approx(1)


def test_pictures_are_small():
    picture = picture_of(np.linspace(-80, 0, 5000 * 80, dtype=np.float32).reshape(5000, 80))
    assert picture.shape == (200, 80)
    assert picture.dtype == np.uint8


def test_labels_are_told_from_codes():
    sequence = SimpleNamespace(streams=np.arange(10).reshape(2, 5))
    assert codes_of(sequence, LstmConfig((9,) * 5, n_labels=3)).tolist() == [[3, 4], [8, 9]]


def test_shuffled_streams_keep_their_bars():
    streams = np.repeat(np.arange(6), STEPS_PER_BAR)[:, None]
    mixed = controls.streams_shuffled(streams, np.random.default_rng(0))
    assert sorted(mixed[::STEPS_PER_BAR, 0]) == list(range(6))
    assert (mixed.reshape(6, -1) == mixed[::STEPS_PER_BAR]).all()


def test_songs_that_collapse_are_found_among_long_ones(monkeypatch):
    """A made-up pipeline that dreams of chords, but of noise when it is wild."""

    def generate(pipeline, settings, clip):
        n_samples = round(settings.length_s * SAMPLE_RATE_HZ)
        rng = np.random.default_rng(settings.seed_number)
        music_bars = [chord(int(root), MAJOR) for root in rng.integers(12, size=n_samples // BAR_SAMPLES + 1)]
        dreamt = controls.pink_noise(n_samples, rng) if settings.temperature > 1 else np.concatenate(music_bars)
        return SimpleNamespace(waveform=dreamt[:n_samples], seed_end_s=7.68)

    monkeypatch.setattr("kpop.evaluation.rows.generate", generate)
    found = collapse.Limits(noise_entropy=0.7, most_repetition=0.999)
    songs = list(collapse.long_songs(None, found, n_seeds=2, length_s=40))
    assert [song.temperature for song in songs] == [0.7, 0.7, 1.0, 1.0, 1.2, 1.2]
    assert [song.verdict for song in songs] == ["steady"] * 4 + ["noise"] * 2


def test_the_command_measures_a_tiny_model_from_end_to_end(tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("kpop.commands.evaluate.FIGURE_SONGS", 1)
    assert main(f"evaluate --model {tiny_model} --songs 4 --seconds 16 --out {tmp_path}".split()) == 0
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert "pulse clarity" in printed
    whole = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert columns.UNIGRAM in whole["cells"]
    assert "bits_per_step" in whole["cells"][columns.CEILING]
    assert "codec, on unheard songs" in whole["figures"]
    assert (tmp_path / "evaluation.html").stat().st_size > 1e6


@pytest.mark.parametrize("arguments", ["--songs 0", "--seconds 2", "--seconds nan"])
def test_impossible_wishes_are_refused(arguments, capsys):
    assert main(f"evaluate {arguments}".split()) == 2
    assert "choose such a number" in capsys.readouterr().err
