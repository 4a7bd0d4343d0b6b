"""Recordings are continued in their own tempo, and training songs are given their metre."""

import io
from functools import partial

import numpy as np
import pytest
import rhythms
import soundfile

from kpop.audio.beat import NO_BEAT, first_metre_position, track_beats, track_pulse
from kpop.constants import FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEPS_PER_BAR, TEMPO_BPM
from kpop.errors import KpopError
from kpop.evaluation.fidelity import log_mel_error_db
from kpop.evaluation.measures import tempo_error_percent
from kpop.generation.clips import SeedClip, built_in_clip, built_in_clips, clip_from_file
from kpop.generation.pipeline import Pipeline
from kpop.generation.seed import clip_hop
from kpop.generation.session import generate
from kpop.model_info import DEFAULT_MODEL, checkpoint_path
from kpop.settings import Settings


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(checkpoint_path(DEFAULT_MODEL))


def uploaded(waveform: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> SeedClip:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate_hz, format="WAV")
    buffer.seek(0)
    return clip_from_file(buffer, "mine.wav")


def distance_ms(time_s: float, bpm: float, beat_s: float) -> float:
    """From a time to the nearest beat."""
    beats = (time_s - beat_s) * bpm / 60
    return abs(beats - round(beats)) * 60_000 / bpm


TIED = partial(rhythms.humming, beats=1.1)
KINDS = [(rhythms.claps, 20), (rhythms.humming, 25), (TIED, 40), (rhythms.counting, 25), (rhythms.song, None)]


@pytest.mark.parametrize(("kind", "max_ms"), KINDS)
def test_tempo_and_beat_of_recordings_are_found(kind, max_ms):
    rng, off_ms = np.random.default_rng(1), []
    for bpm in rng.uniform(80, 170, 25):
        pulse = track_pulse(kind(bpm, rng)[: 12 * SAMPLE_RATE_HZ])
        if pulse is not None and tempo_error_percent(pulse.tempo_bpm, bpm) < 1:
            last_s = rhythms.START_S + int((7.5 - rhythms.START_S) * bpm / 60) * 60 / bpm
            off_ms.append(distance_ms(last_s, pulse.tempo_bpm, pulse.beat_s))
    assert len(off_ms) >= 24
    median, p90 = np.quantile(off_ms + [np.inf] * (25 - len(off_ms)), (0.5, 0.9), method="nearest")
    assert max_ms is None or (median < 20 and p90 < max_ms)


@pytest.mark.parametrize("kind", [rhythms.long_note, rhythms.random_claps, rhythms.rustle])
def test_no_beat_is_found_where_there_is_none(kind):
    rng = np.random.default_rng(2)
    assert np.mean([uploaded(kind(rng)).tempo_bpm is None for _ in range(10)]) >= 0.9


@pytest.mark.parametrize(("clapped", "found"), [(66, 132), (80, 160), (86, 172), (95, 95), (172, 172), (200, 100)])
def test_every_tempo_is_reported_in_the_octave_around_the_models(clapped, found):
    assert uploaded(rhythms.claps(clapped, np.random.default_rng(4))).tempo_bpm == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize("late_steps", [0, 5, 16, 40])
def test_beat_and_bar_of_most_clips_are_found_wherever_they_are_cut(late_steps):
    errors = []
    for clip in (built_in_clip(info.name) for info in built_in_clips()):
        cut = clip.waveform[round(late_steps * clip_hop(clip) * FRAMES_PER_STEP) :]
        errors.append(first_metre_position(cut, track_pulse(cut)) - late_steps)
    errors = np.array(errors)
    assert np.mean(errors % 16 == 0) >= 0.8
    assert np.mean(errors % 64 == 0) >= 0.7


PERFORMANCES = [(rhythms.claps, 100), (rhythms.claps, 148), (rhythms.humming, 112), (rhythms.counting, 92)]


@pytest.mark.parametrize(("kind", "bpm"), PERFORMANCES)
def test_the_song_continues_a_recording_on_its_beats(pipeline, kind, bpm):
    clip = uploaded(kind(bpm, np.random.default_rng(5)))
    song = generate(pipeline, Settings(length_s=24, clip=clip.name), clip)
    rest = track_pulse(song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :][: 12 * SAMPLE_RATE_HZ])
    off_ms = distance_ms(rest.beat_s + song.seed_end_s, 2 * song.beat.tempo_bpm, song.beat.first_downbeat_s)
    assert tempo_error_percent(song.beat.tempo_bpm, bpm) < 1
    assert tempo_error_percent(rest.tempo_bpm, song.beat.tempo_bpm) < 0.2
    assert off_ms < 15


@pytest.mark.parametrize("bpm", [93, 118.4, 170])
def test_a_seed_at_another_tempo_sounds_as_uploaded(tiny_model, bpm):
    clip = uploaded(rhythms.song(bpm, np.random.default_rng(7)))
    song = generate(Pipeline.load(tiny_model), Settings(length_s=24.03, randomness=0.0), clip)
    n_samples = round(song.seed_end_s * SAMPLE_RATE_HZ) // 2  # so early a difference of 0.3 % has not grown
    played, wanted = song.waveform[:n_samples], clip.waveform[:n_samples]
    assert log_mel_error_db(wanted, played * np.float32(np.std(wanted) / np.std(played))) < 2.0
    assert song.beat.tempo_bpm == pytest.approx(bpm, rel=0.004)
    assert len(song.waveform) == round(24.03 * SAMPLE_RATE_HZ)
    assert song.seed_end_s / song.beat.beat_s == pytest.approx(16)


def recording() -> np.ndarray:
    """Claps at 104 BPM from a phone: 48 kHz, quiet, with a DC offset, and silence for 2.8 s before and 3 s after."""
    room = rhythms.ROOM * np.random.default_rng(12).standard_normal(5 * SAMPLE_RATE_HZ)
    claps = rhythms.claps(104, np.random.default_rng(11))
    whole = 0.03 * np.concatenate([room[: 2 * SAMPLE_RATE_HZ], claps, room[2 * SAMPLE_RATE_HZ :]]) + 0.02
    return np.interp(np.arange(0, 13, 1 / 48_000), np.arange(len(whole)) / SAMPLE_RATE_HZ, whole)


def test_a_quiet_recording_is_used_from_its_first_clap_to_its_last():
    clip = uploaded(recording(), 48_000)
    assert clip.tempo_bpm == pytest.approx(104, rel=0.01)
    assert abs(clip.waveform.mean()) < 1e-3
    assert np.abs(clip.waveform[: SAMPLE_RATE_HZ // 10]).max() > 0.1
    assert len(clip.waveform) / SAMPLE_RATE_HZ == pytest.approx(7.2, abs=0.6)
    assert (clip.metre_position + 1) % STEPS_PER_BAR <= 2, "the first clap is a downbeat"


@pytest.mark.parametrize(("seconds", "gain", "words"), [(4, 1, "holds only"), (9, 1e-5, "silent")])
def test_too_short_or_silent_is_one_clear_sentence(seconds, gain, words):
    with pytest.raises(KpopError, match=words) as error:
        uploaded(gain * (recording()[: seconds * 48_000] - 0.02) + 0.02, 48_000)
    assert str(error.value).count(".wav") == 1


def test_a_song_that_keeps_its_tempo_has_exact_beats_and_bars_and_one_without_a_beat_has_none(beat):
    found = track_beats(beat)
    assert (found.tempo_bpm, found.is_steady) == (TEMPO_BPM, True)
    assert abs((found.beats_s[0] + 0.96) % 1.92 - 0.96) < 0.002
    assert track_beats(rhythms.rustle(np.random.default_rng(3))) is NO_BEAT


def test_the_beats_of_a_song_whose_tempo_drifts_are_followed():
    times_s = np.cumsum(60 / (100 + 5 * np.sin(np.arange(150) / 20)))
    found = track_beats(rhythms.clicks(times_s, 800, 92))
    assert not found.is_steady
    assert np.quantile(np.abs(times_s[:, None] - found.beats_s).min(1), 0.9) < 0.03
