"""Loudness reads as the standard says, and the limiter holds its ceiling without being heard."""

import math

import numpy as np
import pyloudnorm
import pytest

from kpop.audio.loudness import integrated_loudness, normalise, true_peak_db
from kpop.constants import SAMPLE_RATE_HZ


def _sine(hz: float, duration_s: float = 4.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def _drums(duration_s: int = 8) -> np.ndarray:
    """Noise hits twice a second over a bass note, rms near -20 dB."""
    t = np.arange(duration_s * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    hits = np.random.default_rng(4).standard_normal(t.size) * np.exp(-(t % 0.5) * 20)
    return (0.15 * hits + 0.1 * np.sin(2 * np.pi * 80 * t)).astype(np.float32)


def test_full_scale_sine_near_1_khz_reads_as_the_standard_says():
    assert integrated_loudness(_sine(997.0)) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("hz", [40.0, 200.0, 1000.0, 3000.0, 7000.0])
def test_k_weighting_agrees_with_pyloudnorm(hz):
    # Its default filters are another reading of the curve (cookbook shelf at 1500 Hz); "DeMan" is the standard's.
    meter = pyloudnorm.Meter(SAMPLE_RATE_HZ, filter_class="DeMan")
    assert integrated_loudness(_sine(hz)) == pytest.approx(meter.integrated_loudness(_sine(hz)), abs=0.05)


def test_music_agrees_with_pyloudnorms_default_filters_too():
    sound = _drums()
    theirs = pyloudnorm.Meter(SAMPLE_RATE_HZ).integrated_loudness(sound)
    assert integrated_loudness(sound) == pytest.approx(theirs, abs=0.2)


def test_pauses_are_gated_out():
    tone = 0.1 * _sine(997.0)
    with_pause = np.concatenate([tone, 1e-3 * tone, tone])
    assert integrated_loudness(with_pause) == pytest.approx(integrated_loudness(tone), abs=0.4)


def test_silence_and_nothing_have_no_loudness():
    assert integrated_loudness(np.zeros(20_000)) == -math.inf
    assert integrated_loudness(np.zeros(0)) == -math.inf


def test_true_peak_sees_between_the_samples():
    sine = np.sin(np.pi / 4 + np.pi / 2 * np.arange(4000))  # every sample 3 dB under the crest
    assert np.abs(sine).max() < 0.71
    assert true_peak_db(sine[8:-8]) == pytest.approx(0.0, abs=0.6)


@pytest.mark.parametrize("gain", [0.01, 0.3, 1.0, 10.0])
def test_any_level_comes_to_the_target_under_the_ceiling(gain):
    result = normalise(_drums() * gain)
    assert result.dtype == np.float32
    assert integrated_loudness(result) == pytest.approx(-14, abs=0.3)
    assert true_peak_db(result) < -1.0


def test_ceiling_holds_even_where_the_target_cannot_be_reached():
    clicks = np.zeros(5 * SAMPLE_RATE_HZ, np.float32)
    clicks[::8000] = 0.9
    result = normalise(clicks, target_lufs=-6)
    assert true_peak_db(result) < -1.0
    assert np.isfinite(result).all()


def test_limiter_turns_down_smoothly():
    hot = 0.2 * _sine(200.0)
    hot[30_000:30_400] *= 20
    gain = normalise(hot)[8:] / np.where(np.abs(hot[8:]) > 0.05, hot[8:], np.nan)
    steps = np.abs(np.diff(gain))[~np.isnan(np.diff(gain))]
    assert np.nanmin(gain) < 0.5 * np.nanmax(gain)
    assert steps.max() < 0.02 * np.nanmax(gain)


def test_sound_that_needs_no_limiting_is_only_scaled():
    sound = 0.05 * _sine(440.0)
    ratio = normalise(sound, target_lufs=-23)[1:100] / sound[1:100]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_silence_stays_silent():
    assert not normalise(np.zeros(30_000)).any()
    assert normalise(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        normalise(np.array([0.0, bad]))
