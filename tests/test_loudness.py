"""Loudness reads as the standard says; songs come to -14 LUFS under -1 dBFS, at once or while they arrive."""

import math

import numpy as np
import pyloudnorm
import pytest

from kpop.audio.io import from_pcm, pcm_bytes
from kpop.audio.loudness import StreamingLimiter, integrated_loudness, normalise, opening_gain_db, true_peak_db
from kpop.constants import SAMPLE_RATE_HZ


def sine(hz: float, duration_s: float = 5.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def band(duration_s: float, gain: float = 1.0) -> np.ndarray:
    """Chords under drum hits with a quiet middle; about -14 LUFS."""
    t, middle = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ, duration_s * 0.45
    chords = sum(sine(hz, duration_s) for hz in (110, 277.2, 329.6, 440)) * 0.12
    hits = np.random.default_rng(4).standard_normal(t.size) * np.exp(-(t % 0.48) * 25) * 0.2
    return (gain * np.where(np.abs(t - middle) < 0.05 * duration_s, 0.2, 1.0) * (chords + hits)).astype(np.float32)


def limited(waveform: np.ndarray, gain_db: float = 0.0) -> np.ndarray:
    """As it is streamed, in 16 bits."""
    return from_pcm(pcm_bytes(StreamingLimiter(gain_db).push(waveform, last=True)))


@pytest.mark.parametrize("hz", [40.0, 200.0, 997.0, 3000.0, 7000.0])
def test_k_weighting_agrees_with_the_standard_and_pyloudnorm(hz):
    # Its default filters are another reading of the curve (cookbook shelf at 1500 Hz); "DeMan" is the standard's.
    meter = pyloudnorm.Meter(SAMPLE_RATE_HZ, filter_class="DeMan")
    assert integrated_loudness(sine(hz)) == pytest.approx(meter.integrated_loudness(sine(hz)), abs=0.05)
    assert integrated_loudness(sine(997.0)) == pytest.approx(-3.01, abs=0.05)


def test_music_with_a_pause_agrees_with_pyloudnorms_default_filters_too():
    sound = np.concatenate([band(8), 1e-3 * band(4), band(8)])
    loudness = integrated_loudness(sound)
    assert loudness == pytest.approx(pyloudnorm.Meter(SAMPLE_RATE_HZ).integrated_loudness(sound), abs=0.2)
    assert loudness == pytest.approx(integrated_loudness(band(8)), abs=0.4)


def test_true_peak_sees_between_the_samples():
    wave = np.sin(np.pi / 4 + np.pi / 2 * np.arange(4000))[8:-8]  # every sample 3 dB under the crest
    assert true_peak_db(wave) == pytest.approx(0.0, abs=0.6)


@pytest.mark.parametrize("n_samples", [0, 1, 15, 5000])
def test_silence_has_no_loudness_and_stays_silent(n_samples):
    silence = np.zeros(n_samples, np.float32)
    assert integrated_loudness(silence) == true_peak_db(silence) == -math.inf
    assert np.array_equal(normalise(silence), silence)
    assert np.array_equal(limited(silence, opening_gain_db(silence)), silence)


@pytest.mark.parametrize("gain", [0.01, 0.3, 1.0, 10.0])
def test_normalise_brings_any_level_to_the_target(gain):
    assert integrated_loudness(normalise(band(8, gain))) == pytest.approx(-14, abs=0.3)


def test_the_limiter_only_scales_what_is_under_the_ceiling_and_turns_the_rest_down_smoothly():
    ratio = normalise(0.05 * sine(440.0), target_lufs=-23)[1:100] / (0.05 * sine(440.0))[1:100]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    hot = 0.2 * sine(200.0)
    hot[30_000:30_400] *= 20
    gain = normalise(hot)[8:] / np.where(np.abs(hot[8:]) > 0.05, hot[8:], np.nan)
    assert np.nanmin(gain) < 0.5 * np.nanmax(gain)
    assert np.nanmax(np.abs(np.diff(gain))) < 0.02 * np.nanmax(gain)


@pytest.mark.parametrize("bad", [[0.0, np.nan], [0.0, np.inf], [[0.0]]])
def test_what_is_no_mono_waveform_is_refused(bad):
    with pytest.raises(ValueError, match=r"NaN or infinity|one axis"):
        normalise(np.array(bad))


NOISE = np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE_HZ)
HARD_SOUNDS = {
    "band": band(10, 4),
    "clicks": np.where(np.arange(NOISE.size) % 8000 == 0, 0.9, 0.0),
    "noise": NOISE,
    "bursts": NOISE * (sine(40.0) > 0.5),
    "nearly Nyquist": sine(7900.0) * (sine(3.0) > 0),
    "square": 3 * np.sign(sine(440.0)),
}


@pytest.mark.parametrize("name", HARD_SOUNDS)
def test_the_ceiling_holds_in_16_bits_and_the_end_is_silent(name):
    assert true_peak_db(normalise(HARD_SOUNDS[name], target_lufs=-6)) < -1
    streamed = limited(HARD_SOUNDS[name], gain_db=6.0)
    assert true_peak_db(streamed) < -1
    assert streamed[-1] == 0


@pytest.mark.parametrize("gain", [0.6, 1.0, 2.0])
def test_a_streamed_song_comes_to_the_target(gain):
    raw = band(30, gain)
    assert abs(integrated_loudness(raw) + 14) > 1 or gain == 1
    assert integrated_loudness(limited(raw, opening_gain_db(raw[:16_000]))) == pytest.approx(-14, abs=1)


def test_the_slow_gain_moves_by_no_more_than_a_decibel_a_second():
    tone = np.repeat([0.05, 0.2, 0.1], 12 * SAMPLE_RATE_HZ) * sine(1000.0, 36)
    levels = (np.abs(sound).reshape(-1, 1600).max(1) for sound in (limited(tone), tone))
    gain_db = 20 * np.log10(np.divide(*levels))[:-1]
    assert np.abs(gain_db[10:] - gain_db[:-10]).max() < 1.02
    assert np.ptp(gain_db) > 8
