"""The spectrum has librosa's scale, loudness reads as the standard says, and songs come to -14 LUFS under -1 dBFS."""

import math

import librosa
import numpy as np
import pyloudnorm
import pytest
from scipy.signal import resample_poly

from kpop.audio.io import from_pcm, pcm_bytes
from kpop.audio.loudness import StreamingLimiter, integrated_loudness, normalise, opening_gain_db, true_peak_db
from kpop.audio.stft import (
    LOG_FLOOR,
    from_log_magnitude,
    log_magnitude,
    log_mel_db,
    log_mel_spectrogram,
    mel_centres_hz,
    stft,
    stft_at,
)
from kpop.constants import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE_HZ
from kpop.evaluation.fidelity import band_energy_db, crest_factor_db, log_mel_error_db, spectral_convergence_db


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
    assert name != "band" or 20 * np.log10(np.abs(resample_poly(streamed, 16, 1)).max()) < -1


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


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, n_samples).astype(np.float32)


@pytest.mark.parametrize("n_samples", [N_FFT, N_FFT + 1, 128 * HOP_LENGTH, 50_001])
def test_spectrum_is_librosas_scaled_so_that_a_full_scale_sine_is_one(n_samples):
    waveform = noise(n_samples)
    theirs = librosa.stft(waveform, n_fft=N_FFT, hop_length=HOP_LENGTH, pad_mode="constant").T * 4 / N_FFT
    spectrum = stft(waveform)
    assert spectrum.dtype == np.complex64
    np.testing.assert_allclose(spectrum, theirs, atol=1e-6)
    assert np.array_equal(stft_at(waveform, np.array([n_samples // HOP_LENGTH * HOP_LENGTH])), spectrum[-1:])


def test_logarithm_and_its_inverse_agree_down_to_the_floor():
    logs = log_magnitude(np.array([2.0, 1.0, 1e-3, LOG_FLOOR / 2, 0.0], np.float32))
    assert (logs.dtype, logs.min()) == (np.float32, pytest.approx(np.log(LOG_FLOOR)))
    np.testing.assert_allclose(from_log_magnitude(logs), [2.0, 1.0, 1e-3, 0.0, 0.0], rtol=1e-5)


def test_log_mel_peaks_at_the_sine_is_level_for_white_spectra_and_stops_at_the_floor():
    spectrogram = log_mel_spectrogram(sine(440.0, 1), 80)
    assert abs(mel_centres_hz(80)[spectrogram[30].argmax()] - 440) < 20
    np.testing.assert_allclose(log_mel_db(np.full((2, N_BINS), 0.1, np.float32)), -20.0, atol=0.6)
    np.testing.assert_allclose(log_mel_db(np.zeros((1, N_BINS))), -80.0, atol=1e-4)


@pytest.mark.parametrize("n_samples", [0, 100, 240 * 512, 240 * 1024 + 17])
def test_a_spectrogram_made_in_blocks_is_that_of_the_whole_spectrum(n_samples):
    waveform = 0.1 * noise(n_samples)
    np.testing.assert_allclose(log_mel_spectrogram(waveform, 128), log_mel_db(np.abs(stft(waveform)), 128), atol=1e-3)


def test_measures_of_equal_halved_and_sinusoidal_sounds_and_none_of_different_lengths():
    waveform = 0.5 * noise(SAMPLE_RATE_HZ)
    magnitude = np.abs(stft(waveform))
    assert spectral_convergence_db(magnitude, waveform) == -np.inf
    assert spectral_convergence_db(magnitude, waveform / 2) == pytest.approx(-6.02, abs=0.01)
    assert log_mel_error_db(waveform, waveform / 2) == pytest.approx(6.02, abs=0.05)
    assert crest_factor_db(sine(1000.0, 1)) == pytest.approx(3.01, abs=0.01)
    assert band_energy_db(sine(500.0, 1), 400, 600) > band_energy_db(sine(500.0, 1), 1000, 8000) + 40
    assert (crest_factor_db(np.zeros(100)), band_energy_db(np.zeros(5000), 0, 8000)) == (0.0, -np.inf)
    with pytest.raises(ValueError, match="do not match"):
        spectral_convergence_db(magnitude, waveform[:-HOP_LENGTH])
    with pytest.raises(ValueError, match="differ in length"):
        log_mel_error_db(waveform, waveform[1:])
