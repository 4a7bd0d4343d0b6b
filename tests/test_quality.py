"""Each measure responds to what it is named after, and by them the weights that we ship make music."""

import json
from itertools import product
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
from scipy.signal import find_peaks

from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.audio.stft import log_mel_spectrogram
from kpop.checkpoint import read_tensors
from kpop.cli import main
from kpop.constants import (
    BAR_SAMPLES,
    FRAMES_PER_S,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    SAMPLE_RATE_HZ,
    STEP_SAMPLES,
    STEPS_PER_BAR,
)
from kpop.corpus.compose import song_name
from kpop.evaluation import measures, report
from kpop.evaluation.fidelity import codec_figures, crest_factor_db
from kpop.evaluation.measures import BAR_FRAMES, analyse_song, onset_strength, pulse
from kpop.evaluation.report import (
    COLUMNS,
    GENERATED,
    NOISE,
    REFERENCE,
    excerpts,
    generated,
    sixteenths_shuffled,
    unseen_songs,
)
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.pipeline import Pipeline, codec_copy, decode, invert
from kpop.generation.session import generate
from kpop.model_info import DEFAULT_MODEL, MODELS_DIR, available_models, checkpoint_path, model_info
from kpop.settings import GeneratedSong, Settings
from kpop.similarity.build import analyse_song as analyse_training_song
from kpop.similarity.build import build
from kpop.training.data import corpus_song


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(checkpoint_path(DEFAULT_MODEL))


def pulse_of(waveform: np.ndarray) -> tuple[float, float]:
    """Pulse clarity, and tempo in BPM."""
    return pulse(onset_strength(log_mel_spectrogram(waveform)))


def onset_rate_hz(waveform: np.ndarray) -> float:
    strength = onset_strength(log_mel_spectrogram(waveform))
    return len(find_peaks(strength, 3.0)[0]) / (len(strength) / FRAMES_PER_S)


def after_seed(song: GeneratedSong) -> np.ndarray:
    return song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :]


def make(pipeline: Pipeline, **changes) -> GeneratedSong:
    settings = Settings(**changes)
    return generate(pipeline, settings, built_in_clip(settings.clip))


def test_both_models_are_there_small_enough_and_say_what_they_were_trained_on():
    assert available_models() == (DEFAULT_MODEL, "everything-is-free")
    assert sum(file.stat().st_size for file in MODELS_DIR.glob("*.safetensors")) <= 60e6
    assert "CC0" in model_info("everything-is-free").about


def test_the_lstm_beats_both_baselines_on_held_out_songs(pipeline):
    bits = pipeline.info["bits_per_step"]
    assert bits["lstm"]["all"] < 0.8 * bits["same as one bar ago"]["all"] < bits["unigram"]["all"]


def test_the_codec_keeps_the_sound_of_songs_it_was_not_trained_on(pipeline):
    figures = codec_figures(pipeline.codec, unseen_songs(3))
    assert figures["log_mel_error_db"] <= 2.2  # 2.05: it learnt an earlier corpus
    assert figures["treble_difference_db"] < 1.5
    assert figures["crest_difference_db"] < 2
    assert figures["least_codebook_use"] > 0.3


def test_generated_songs_stand_beside_unseen_ones(pipeline):
    """The bounds are wider than what is measured over 20 songs (models/README.md): these are only eight."""
    rows = excerpts(unseen_songs(8), 31 * SAMPLE_RATE_HZ), generated(pipeline, 8, 31.0)
    unseen, ours = ([analyse_song(*excerpt) for excerpt in each] for each in rows)
    known, mean = (
        {name: np.mean([s.values[name] for s in songs]) for name in ours[0].values} for songs in (unseen, ours)
    )
    assert mean["pulse_clarity"] > 0.9 * known["pulse_clarity"]
    assert mean["key_clarity"] > 0.9 * known["key_clarity"]
    assert mean["progression_bars"] > 0.5
    assert mean["tempo_error_percent"] < 1
    assert abs(mean["crest_db"] - known["crest_db"]) < 2
    balance = [np.mean([song.octaves_db for song in songs], axis=0) for songs in (ours, unseen)]
    assert np.abs(balance[0] - balance[1]).max() < 4  # 3.4: it learnt an earlier corpus


def test_a_training_song_is_found_through_the_codec_at_its_own_tempo_and_an_unseen_one_is_not(pipeline):
    training, unseen = [corpus_song(number) for number in range(40, 46)], unseen_songs(3)
    index = build(list(map(analyse_training_song, training)), list(map(analyse_training_song, unseen[:2])), "songs")
    matches = []
    for waveform, hop in excerpts([training[1], unseen[2]], 20 * SAMPLE_RATE_HZ):
        copy = codec_copy(waveform, pipeline.codec, hop)
        matches.append(index.search(copy, 0, hop * FRAMES_PER_STEP * STEPS_PER_BAR))
    known, unknown = matches
    assert known.song == song_name(41)
    assert unknown.similarity < known.similarity - 0.05


@pytest.mark.parametrize("number", [41, 43])
def test_a_chorus_that_returns_is_told_from_one_with_its_bars_rotated(number):
    song = corpus_song(number)
    waveform, sections = song.waveform / np.float32(32_767), song.labels[:, 0]
    returning = measures.chorus_matches(waveform, song.hop, sections)
    rotated = np.concatenate([measures.chorus_matches(waveform, song.hop, sections, rng(n)) for n in range(5)])
    assert len(returning) >= 2
    assert returning.min() > 0.6
    assert np.quantile(rotated, 0.75) < 0.4
    assert not len(measures.chorus_matches(waveform, song.hop, np.zeros_like(sections)))


def test_snapshots_go_from_noise_to_music(pipeline):
    tensors, _ = read_tensors(MODELS_DIR / "twice4life.snapshots.safetensors")
    first, *_, last = (tensors[name] for name in sorted(tensors, key=lambda name: int(name.removeprefix("codes."))))
    spectra = (decode(pipeline.codec, codes.long().numpy()) for codes in (first, last))
    noise, music = (invert(spectrum, len(first) * STEP_SAMPLES, 0) for spectrum in spectra)
    assert pulse_of(noise)[0] < 0.3 < pulse_of(music)[0]


SONGS = list(product([DEFAULT_MODEL], [info.name for info in built_in_clips()][:3], [0.3, 1.0]))


@pytest.mark.parametrize(("model", "clip", "randomness"), [*SONGS, ("everything-is-free", "first-snow", 0.3)])
def test_what_follows_the_seed_is_music(model, clip, randomness):
    """Noise has a pulse clarity of 0.05, the recordings of everything is free 0.30 to 0.51."""
    song = make(Pipeline.load(checkpoint_path(model)), model=model, clip=clip, randomness=randomness, length_s=25)
    continuation = after_seed(song)
    assert pulse_of(continuation)[0] > (0.35 if model == DEFAULT_MODEL else 0.15)
    assert 1.5 < onset_rate_hz(continuation) < 12
    assert crest_factor_db(continuation) < 18
    assert integrated_loudness(continuation) > -20
    level = log_mel_spectrogram(continuation).mean(0)
    assert level[:20].mean() > level[-20:].mean() + 5, "bass outweighs hiss"


def test_a_song_is_at_level_no_loop_and_does_not_drift_to_silence_or_noise(pipeline):
    song = make(pipeline, length_s=90).waveform
    assert abs(integrated_loudness(song) + 14) < 1
    assert true_peak_db(song) < -1
    first, *_, last = np.array_split(song, 4)
    assert abs(integrated_loudness(first) - integrated_loudness(last)) < 4
    assert pulse_of(last)[0] > 0.6 * pulse_of(first)[0]
    assert 0.5 < onset_rate_hz(last) / onset_rate_hz(first) < 2
    level = log_mel_spectrogram(song)
    bars = level[: len(level) // BAR_FRAMES * BAR_FRAMES].reshape(-1, BAR_FRAMES * level.shape[1])[8:]
    likeness = np.corrcoef(bars)[np.triu_indices(len(bars), 1)]
    assert (likeness > 0.98).mean() < 0.1


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


def grid(waveform: np.ndarray) -> report.Excerpt:
    """At the default tempo."""
    return report.Excerpt(waveform, HOP_LENGTH)


def band(chords, n_bars: int, number: int = 0) -> np.ndarray:
    """A chord per bar over clicks; the number changes key and level."""
    bars = [chord((chords[bar % len(chords)][0] + number) % 12, chords[bar % len(chords)][1]) for bar in range(n_bars)]
    waveform = np.concatenate(bars) * rng(number).uniform(0.7, 1.3)
    return (waveform + clicks(125, n_bars * BAR_SAMPLES / SAMPLE_RATE_HZ)).astype(np.float32)


@pytest.fixture(scope="module")
def table() -> report.Table:
    """Eight bars per song: generated songs differ from the reference by their numbers alone; and three controls."""
    reference = [grid(band(IV_V_III_VI, 8, number)) for number in range(6)]
    rows = {
        GENERATED: [grid(band(IV_V_III_VI, 8, 12 + number)) for number in range(6)],
        REFERENCE: reference,
        report.BARS: [report.bars_shuffled(song, rng(1)) for song in reference],
        report.SIXTEENTHS: [sixteenths_shuffled(song, rng(n)) for n, song in enumerate(reference)],
        NOISE: [grid(report.pink_noise(8 * BAR_SAMPLES, rng(n))) for n in range(6)],
    }
    table = report.Table()
    table.add_features({row: [measures.analyse_song(*song) for song in songs] for row, songs in rows.items()})
    return table


@pytest.mark.parametrize("bpm", [96.0, 125.0, 140.0])
def test_clicks_have_a_clear_pulse_at_their_tempo_and_noise_and_shuffled_clicks_have_less(bpm):
    steady = clicks(bpm)
    clarity, measured_bpm = pulse_of(steady)
    assert measures.tempo_error_percent(measured_bpm, bpm) < 1.5
    assert max(measures.tempo_error_percent(octave * bpm, bpm) for octave in (0.5, 2)) == 0
    assert measures.tempo_error_percent(4 / 3 * bpm, bpm) > 30
    assert clarity > 0.5
    assert pulse_of(sixteenths_shuffled(grid(steady), rng()).waveform)[0] < 0.7 * clarity
    assert pulse_of(report.pink_noise(len(steady), rng()))[0] < 0.3


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
    similar = report.cell_of_draws(draws["similar"], draws["reference"], draws["control"], 12)
    assert abs(similar.normalised) < 0.1
    assert similar.low <= similar.normalised <= similar.high


def test_songs_of_one_kind_are_less_diverse():
    different = [rng(number).standard_normal((10, 30)) + rng(number + 9).standard_normal(30) * 3 for number in range(8)]
    same = [different[0] + rng(number).standard_normal((10, 30)) * 0.1 for number in range(8)]
    project = measures.fit_components(different)
    assert measures.diversity(same, project).mean() < 0.3 * measures.diversity(different, project).mean()


def test_a_cell_is_0_at_the_reference_and_1_at_the_control_and_more_certain_with_more_songs():
    reference, control = np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0])
    at_reference, at_control, between = (
        report.cell(row, reference, control) for row in (reference, control, np.full(3, 3.0))
    )
    assert (at_reference.normalised, at_control.normalised, between.normalised) == (0, 1, 0.25)
    assert at_reference.low < 0 < at_reference.high
    assert between == report.cell(np.full(3, 3.0), reference, control), "the same draws every time"
    assert report.cell(reference, None, control).normalised is None
    few, many = (report.cell(*(rng(n).normal(mean, 1, n) for mean in (1, 0, 5))) for n in (5, 200))
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
        return SimpleNamespace(waveform=np.concatenate([song, end]), seed_end_s=7.68, hop=HOP_LENGTH)

    monkeypatch.setattr(report, "generate", generate)
    monkeypatch.setattr(
        report, "unseen_songs", lambda n: [SimpleNamespace(waveform=32_767 * triads(9), hop=HOP_LENGTH)]
    )
    found = report.check_collapse(SimpleNamespace(positions_per_step=1.0), 1, lines.append)
    assert [song["verdict"] for song in found["songs"]] == [kind for each in kinds.values() for kind in each]
    assert len(lines) == 1 + 9


def test_shuffling_keeps_every_sample_and_the_units():
    ramp = np.arange(4 * BAR_SAMPLES, dtype=np.float32)
    bars, sixteenths = (shuffle(grid(ramp), rng()).waveform for shuffle in (report.bars_shuffled, sixteenths_shuffled))
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
