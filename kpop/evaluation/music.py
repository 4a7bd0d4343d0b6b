"""What a waveform is like as music: level, pulse, density. Definitions are the field's, named with each."""

import numpy as np

from kpop.audio.spectrum import log_mel_db, stft
from kpop.grid import FRAMES_PER_S

SLOWEST_BPM, FASTEST_BPM = 60.0, 200.0
ONSET_DB = 3.0  # mean rise over the mel bands that counts as an onset


def onset_strength(waveform: np.ndarray) -> np.ndarray:
    """(n_frames,) mean rise in dB over the mel bands from frame to frame (spectral flux; Bello et al. 2005)."""
    return np.maximum(np.diff(log_mel_db(np.abs(stft(waveform))), axis=0, prepend=-80.0), 0).mean(1)[1:]


def pulse_clarity(waveform: np.ndarray) -> float:
    """0..1, the highest autocorrelation of the onset strength at a beat's lag (Lartillot et al. 2008, "Multi-feature
    modeling of pulse clarity"): 0 without any pulse, 1 if every beat is like the one before."""
    strength = onset_strength(waveform)
    strength = strength - strength.mean()
    lags = np.arange(int(FRAMES_PER_S * 60 / FASTEST_BPM), int(FRAMES_PER_S * 60 / SLOWEST_BPM) + 1)
    return float(_autocorrelation(strength, lags).max())


def onset_rate_hz(waveform: np.ndarray) -> float:
    """Onsets a second: local maxima of the onset strength above ONSET_DB."""
    strength = onset_strength(waveform)
    middle = strength[1:-1]
    peaks = (middle > strength[:-2]) & (middle >= strength[2:]) & (middle > ONSET_DB)
    return float(peaks.sum() / (len(strength) / FRAMES_PER_S))


def _autocorrelation(signal: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Normalised autocorrelation at the lags, each of equal weight however long the lag."""
    power = np.mean(signal**2)
    return np.array([np.mean(signal[lag:] * signal[:-lag]) for lag in lags]) / max(power, 1e-12)
