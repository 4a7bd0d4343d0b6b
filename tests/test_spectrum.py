"""Analysis and synthesis are one pair, and the mel scale is everybody's."""

import librosa
import numpy as np
import pytest

from kpop.audio.measures import band_energy_db, crest_factor_db, log_mel_error_db, spectral_convergence_db
from kpop.audio.stft import (
    LOG_FLOOR,
    from_log_magnitude,
    istft,
    log_magnitude,
    log_mel_db,
    mel_centres_hz,
    mel_filterbank,
    stft,
)
from kpop.constants import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE_HZ


def _noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, n_samples).astype(np.float32)


def _sine(hz: float, n_samples: int = SAMPLE_RATE_HZ) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(n_samples) / SAMPLE_RATE_HZ).astype(np.float32)


@pytest.mark.parametrize("n_samples", [0, 1, HOP_LENGTH - 1, N_FFT + 1, 128 * HOP_LENGTH, 50_001])
def test_analysis_then_synthesis_gives_the_sound_back(n_samples):
    sound = _noise(n_samples)
    spectrum = stft(sound)
    back = istft(spectrum, n_samples)
    assert (spectrum.shape, spectrum.dtype) == ((1 + n_samples // HOP_LENGTH, N_BINS), np.complex64)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, sound, atol=2e-6)


def test_spectrum_is_librosas_but_for_its_scale():
    sound = _noise(40_000)
    theirs = librosa.stft(sound, n_fft=N_FFT, hop_length=HOP_LENGTH, pad_mode="constant").T
    np.testing.assert_allclose(stft(sound), theirs * 4 / N_FFT, atol=1e-6)


def test_full_scale_sine_has_magnitude_one_in_its_bin():
    middle_frame = np.abs(stft(_sine(1000.0)))[30]
    assert middle_frame.argmax() == 1000 * N_FFT / SAMPLE_RATE_HZ
    assert middle_frame.max() == pytest.approx(1.0, abs=1e-4)


def test_logarithm_and_its_inverse_agree_down_to_the_floor():
    magnitude = np.array([[2.0, 1.0, 1e-3, LOG_FLOOR / 2, 0.0]], np.float32)
    logs = log_magnitude(magnitude)
    assert logs.dtype == np.float32
    assert logs.min() == pytest.approx(np.log(LOG_FLOOR))
    np.testing.assert_allclose(from_log_magnitude(logs), [[2.0, 1.0, 1e-3, 0.0, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("bands", [(80, 0, 8000), (40, 50, 4000), (128, 0, 8000)])
def test_mel_filterbank_equals_librosas(bands):
    n_mels, low_hz, high_hz = bands
    theirs = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=n_mels, fmin=low_hz, fmax=high_hz)
    np.testing.assert_allclose(mel_filterbank(n_mels, low_hz, high_hz), theirs, atol=1e-7)


def test_log_mel_peaks_where_the_sine_is_and_stops_at_the_floor():
    spectrogram = log_mel_db(np.abs(stft(_sine(440.0))))
    assert abs(mel_centres_hz(80)[spectrogram[30].argmax()] - 440) < 20
    assert log_mel_db(np.zeros((1, N_BINS))).min() == pytest.approx(-80.0, abs=1e-4)
    assert spectrogram.min() >= -80.001
    assert spectrogram.dtype == np.float32


def test_constant_magnitude_reads_alike_in_every_mel_band():
    levels_db = log_mel_db(np.full((2, N_BINS), 0.1, np.float32))
    np.testing.assert_allclose(levels_db, -20.0, atol=0.6)


def test_measures_know_equal_halved_and_sinusoidal_sounds():
    sound = 0.5 * _noise(SAMPLE_RATE_HZ)
    magnitude = np.abs(stft(sound))
    assert spectral_convergence_db(magnitude, sound) == -np.inf
    assert spectral_convergence_db(magnitude, sound / 2) == pytest.approx(-6.02, abs=0.01)
    assert log_mel_error_db(sound, sound / 2) == pytest.approx(6.02, abs=0.05)
    assert crest_factor_db(_sine(1000.0)) == pytest.approx(3.01, abs=0.01)
    assert crest_factor_db(np.zeros(100, np.float32)) == 0.0


def test_band_energy_is_found_in_the_sines_band_alone():
    sine = _sine(500.0)
    assert band_energy_db(sine, 400, 600) > band_energy_db(sine, 1000, 8000) + 40
    assert band_energy_db(np.zeros(5000, np.float32), 0, 8000) == -np.inf


def test_measures_refuse_sounds_of_different_length():
    with pytest.raises(ValueError, match="do not match"):
        spectral_convergence_db(np.ones((3, N_BINS), np.float32), _noise(HOP_LENGTH))
    with pytest.raises(ValueError, match="differ in length"):
        log_mel_error_db(_noise(500), _noise(501))
