"""The weights that we ship: do they make music, in time, from a fresh clone?"""

import time
from pathlib import Path

import numpy as np
import pytest

from kpop.audio.inversion_report import report
from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.audio.measures import crest_factor_db
from kpop.audio.stft import log_mel_db, stft
from kpop.checkpoint import read_tensors
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.corpus.compose import song_name
from kpop.evaluation import rows
from kpop.evaluation.figures import codec_figures, unheard_songs
from kpop.evaluation.hearing import Heard, hear
from kpop.evaluation.music import onset_rate_hz, pulse_clarity
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.pipeline import Pipeline, codec_copy, decode, sound
from kpop.generation.session import generate
from kpop.model_info import DEFAULT_MODEL, available_models, checkpoint_path, index_path, voice
from kpop.settings import GeneratedSong, Settings
from kpop.similarity.index import SimilarityIndex
from kpop.training.data import corpus_song

LEAST_PROGRESSION = 0.5
MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(checkpoint_path(DEFAULT_MODEL))


def make(pipeline: Pipeline, **changes) -> GeneratedSong:
    settings = Settings(**changes)
    return generate(pipeline, settings, built_in_clip(settings.clip))


@pytest.fixture(scope="module")
def long_song(pipeline) -> GeneratedSong:
    return make(pipeline, length_s=90)


def test_the_weights_are_there_and_small_enough():
    assert available_models()[0] == DEFAULT_MODEL
    assert sum(file.stat().st_size for file in MODELS.glob("*.safetensors")) <= 60e6


def test_the_lstm_beats_both_baselines_on_songs_it_was_not_trained_on(pipeline):
    bits = pipeline.info["bits_per_step"]
    assert bits["lstm"]["all"] < 0.8 * bits["same as one bar ago"]["all"] < bits["unigram"]["all"]


def test_the_codec_keeps_what_is_heard_of_songs_it_has_never_heard(pipeline):
    figures = codec_figures(pipeline.codec, unheard_songs(3))
    assert figures["log_mel_error_db"] <= 1.4
    assert abs(figures["treble_difference_db"]) < 1.5
    assert abs(figures["crest_difference_db"]) < 2
    assert figures["least_codebook_use"] > 0.4


def test_generated_songs_stand_beside_unheard_ones(pipeline):
    """The bounds are wider than what is measured over 20 songs (models/README.md): these are only eight."""
    plan = rows.Plan(n_songs=8, seconds=31.0)
    unheard = [hear(waveform) for waveform in rows.unheard(unheard_songs(8), plan.n_samples)]
    ours = [hear(waveform) for waveform in rows.generated(pipeline, 8, plan.seconds, 1.0, 0.3)]

    def mean(songs: list[Heard], name: str) -> float:
        return float(np.mean([song.values[name] for song in songs]))

    assert mean(ours, "pulse_clarity") > 0.9 * mean(unheard, "pulse_clarity")
    assert mean(ours, "key_clarity") > 0.9 * mean(unheard, "key_clarity")
    assert mean(ours, "progression_bars") > LEAST_PROGRESSION
    assert mean(ours, "tempo_error_percent") < 1
    balance = [np.mean([song.octaves_db for song in songs], axis=0) for songs in (ours, unheard)]
    assert np.abs(balance[0] - balance[1]).max() < 2.5
    assert abs(mean(ours, "crest_db") - mean(unheard, "crest_db")) < 2


def test_the_second_voice_plays_real_music_and_says_what_it_learnt_from(pipeline):
    assert available_models() == (DEFAULT_MODEL, "everything-is-free")
    assert "CC0" in voice("everything-is-free").about
    other = Pipeline.load(checkpoint_path("everything-is-free"))
    song = generate(other, Settings(length_s=25, model="everything-is-free"), built_in_clip("first-snow"))
    dreamt = song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :]
    assert pulse_clarity(dreamt) > 0.15, "noise has 0.05, the recordings themselves 0.30 to 0.51"
    assert crest_factor_db(dreamt) < 18
    assert integrated_loudness(dreamt) > -20


def test_a_training_song_is_found_and_an_unheard_one_is_not(pipeline):
    index = SimilarityIndex.load(index_path(DEFAULT_MODEL))
    held_out = set(pipeline.info["held_out"])
    number = next(n for n in range(40, 60) if song_name(n) not in held_out)
    known = corpus_song(number).waveform[16 * BAR_SAMPLES : 28 * BAR_SAMPLES] / np.float32(32_767)
    match = index.nearest(codec_copy(known, pipeline.codec))
    assert match.song == song_name(number)
    unknown = unheard_songs(1)[0].waveform[16 * BAR_SAMPLES : 28 * BAR_SAMPLES] / np.float32(32_767)
    assert index.nearest(codec_copy(unknown, pipeline.codec)).similarity < match.similarity - 0.05


def test_the_answer_to_how_new_a_song_is_comes_at_once(long_song):
    index = SimilarityIndex.load(index_path(DEFAULT_MODEL))
    assert index_path(DEFAULT_MODEL).stat().st_size <= 5e6
    index.nearest(long_song.waveform[: 30 * SAMPLE_RATE_HZ])
    started = time.process_time()
    index.nearest(long_song.waveform[: 30 * SAMPLE_RATE_HZ])
    assert time.process_time() - started < 0.6, "0.3 s are wanted, on one core; the machine may be busy"


def test_snapshots_go_from_noise_to_music(pipeline):
    tensors, _ = read_tensors(MODELS / "twice4life.snapshots.safetensors")
    by_step = [tensors[name] for name in sorted(tensors, key=lambda name: int(name.removeprefix("codes.")))]
    assert len(by_step) == 10
    songs = [sound(decode(pipeline.codec, codes.long().numpy()), len(codes) * STEP_SAMPLES, 0) for codes in by_step]
    assert pulse_clarity(songs[0]) < 0.3 < pulse_clarity(songs[-1])


@pytest.mark.parametrize(("seed_number", "clip"), list(enumerate(info.name for info in built_in_clips()))[:3])
@pytest.mark.parametrize("randomness", [0.3, 1.0])
def test_what_follows_the_seed_is_music(pipeline, seed_number, clip, randomness):
    song = make(pipeline, clip=clip, randomness=randomness, seed_number=seed_number, length_s=25)
    dreamt = song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :]
    assert pulse_clarity(dreamt) > 0.35
    assert 1.5 < onset_rate_hz(dreamt) < 12
    assert crest_factor_db(dreamt) < 18
    level = log_mel_db(np.abs(stft(dreamt))).mean(0)
    assert level[:20].mean() > level[-20:].mean() + 5, "bass outweighs hiss"


def test_a_song_is_at_level_and_does_not_drift_to_silence_or_noise(long_song):
    assert abs(integrated_loudness(long_song.waveform) + 14) < 1
    assert true_peak_db(long_song.waveform) < -1
    quarter = len(long_song.waveform) // 4
    first, last = long_song.waveform[:quarter], long_song.waveform[-quarter:]
    assert abs(integrated_loudness(first) - integrated_loudness(last)) < 4
    assert pulse_clarity(last) > 0.6 * pulse_clarity(first)
    assert 0.5 < onset_rate_hz(last) / onset_rate_hz(first) < 2


def test_a_song_is_no_loop(long_song):
    level = log_mel_db(np.abs(stft(long_song.waveform)))
    bar = 128
    bars = level[: len(level) // bar * bar].reshape(-1, bar * level.shape[1])[8:]
    likeness = np.corrcoef(bars)[np.triu_indices(len(bars), 1)]
    assert (likeness > 0.98).mean() < 0.1


def test_the_seed_sounds_less_and_less_like_the_clip(pipeline):
    clip = built_in_clip("first-snow").waveform
    picture = log_mel_db(np.abs(stft(clip)))[:500]

    def distance_db(randomness: float) -> float:
        own = log_mel_db(np.abs(stft(make(pipeline, randomness=randomness, length_s=16).waveform)))[:500]
        difference = own - picture
        return float(np.abs(difference - np.median(difference)).mean())

    distances = [distance_db(randomness) for randomness in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert distances[0] < 1.5
    assert (np.diff(distances) > 0.3).all()


def test_inversion_is_better_and_faster_than_librosas_griffin_lim(long_song):
    figures = report(long_song.waveform[: 20 * SAMPLE_RATE_HZ])
    assert figures["ours_db"] < -26
    assert figures["ours_db"] < figures["librosa_db"] - 3.5
    assert figures["ours_s"] < figures["librosa_s"]
