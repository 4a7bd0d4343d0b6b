"""The spectrum's scale, its logarithm, mel spectrograms, and the measures made on them."""

import librosa
import numpy as np
import pytest
from test_loudness import sine

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


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, n_samples).astype(np.float32)


@pytest.mark.parametrize("n_samples", [N_FFT, N_FFT + 1, 128 * HOP_LENGTH, 50_001])
def test_spectrum_is_librosas_but_for_its_scale(n_samples):
    waveform = noise(n_samples)
    theirs = librosa.stft(waveform, n_fft=N_FFT, hop_length=HOP_LENGTH, pad_mode="constant").T * 4 / N_FFT
    spectrum = stft(waveform)
    assert spectrum.dtype == np.complex64
    np.testing.assert_allclose(spectrum, theirs, atol=1e-6)
    assert np.array_equal(stft_at(waveform, np.array([n_samples // HOP_LENGTH * HOP_LENGTH])), spectrum[-1:])


def test_full_scale_sine_has_magnitude_one_in_its_bin():
    middle_frame = np.abs(stft(sine(1000.0, 1)))[30]
    assert middle_frame.argmax() == 1000 * N_FFT / SAMPLE_RATE_HZ
    assert middle_frame.max() == pytest.approx(1.0, abs=1e-4)


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


def test_measures_of_equal_halved_and_sinusoidal_sounds():
    waveform = 0.5 * noise(SAMPLE_RATE_HZ)
    magnitude = np.abs(stft(waveform))
    assert spectral_convergence_db(magnitude, waveform) == -np.inf
    assert spectral_convergence_db(magnitude, waveform / 2) == pytest.approx(-6.02, abs=0.01)
    assert log_mel_error_db(waveform, waveform / 2) == pytest.approx(6.02, abs=0.05)
    assert crest_factor_db(sine(1000.0, 1)) == pytest.approx(3.01, abs=0.01)
    assert band_energy_db(sine(500.0, 1), 400, 600) > band_energy_db(sine(500.0, 1), 1000, 8000) + 40
    assert (crest_factor_db(np.zeros(100)), band_energy_db(np.zeros(5000), 0, 8000)) == (0.0, -np.inf)


def test_measures_refuse_sounds_of_different_length():
    with pytest.raises(ValueError, match="do not match"):
        spectral_convergence_db(np.ones((3, N_BINS), np.float32), noise(HOP_LENGTH))
    with pytest.raises(ValueError, match="differ in length"):
        log_mel_error_db(noise(500), noise(501))
