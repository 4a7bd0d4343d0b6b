"""What a waveform is like as music: pulse, tempo, density, order. Definitions are the field's, named with each."""

import numpy as np

from kpop.audio.stft import log_mel_db, stft
from kpop.constants import FRAMES_PER_S, TEMPO_BPM

SLOWEST_BPM, FASTEST_BPM = 60.0, 200.0
ONSET_DB = 3.0  # mean rise over the mel bands that counts as an onset
TINY = 1e-12


def onset_strength(waveform: np.ndarray) -> np.ndarray:
    """(n_frames,) mean rise in dB over the mel bands from frame to frame (spectral flux; Bello et al. 2005)."""
    return rise(log_mel_db(np.abs(stft(waveform))))


def rise(level_db: np.ndarray) -> np.ndarray:
    """Onset strength (n_frames - 1,) of a mel spectrogram (n_frames, n_mels) in dB."""
    return np.maximum(np.diff(level_db, axis=0), 0).mean(1)


def pulse_clarity(waveform: np.ndarray) -> float:
    """0..1, the highest autocorrelation of the onset strength at a beat's lag (Lartillot et al. 2008, "Multi-feature
    modeling of pulse clarity"): 0 without any pulse, 1 if every beat is like the one before."""
    return pulse(onset_strength(waveform))[0]


def pulse(strength: np.ndarray) -> tuple[float, float]:
    """(pulse clarity, tempo in BPM) of an onset strength (n_frames,), read off the same peak of its autocorrelation.

    The tempo is interpolated between frames by a parabola through the peak.
    """
    lags = np.arange(int(FRAMES_PER_S * 60 / FASTEST_BPM), int(FRAMES_PER_S * 60 / SLOWEST_BPM) + 1)
    around = np.arange(lags[0] - 1, lags[-1] + 2)
    values = _autocorrelation(strength - strength.mean(), around)
    peak = int(values[1:-1].argmax()) + 1
    before, top, after = values[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    shift = 0.5 * (before - after) / bend if bend < -TINY else 0.0
    return float(top), float(FRAMES_PER_S * 60 / (around[peak] + np.clip(shift, -0.5, 0.5)))


def tempo_error_percent(bpm: float, truth_bpm: float = TEMPO_BPM) -> float:
    """How far a tempo is from the truth, half and double time allowed (Gouyon et al. 2006, "Accuracy 2")."""
    return float(min(abs(bpm * factor / truth_bpm - 1) for factor in (0.5, 1.0, 2.0)) * 100)


def onset_rate_hz(waveform: np.ndarray) -> float:
    """Onsets a second: local maxima of the onset strength above ONSET_DB."""
    strength = onset_strength(waveform)
    middle = strength[1:-1]
    peaks = (middle > strength[:-2]) & (middle >= strength[2:]) & (middle > ONSET_DB)
    return float(peaks.sum() / (len(strength) / FRAMES_PER_S))


def spectral_entropy(level_db: np.ndarray) -> float:
    """0..1, entropy of the power over the mel bands as a share of the most it can be, mean over frames (Misra et al.
    2004, "Spectral entropy based feature for robust ASR"): near 0 for a sine, near 1 for white noise."""
    power = 10 ** (level_db.astype(np.float64) / 10)
    share = power / np.maximum(power.sum(1, keepdims=True), TINY)
    entropy = -(share * np.log(np.maximum(share, TINY))).sum(1) / np.log(level_db.shape[1])
    return float(entropy.mean())


def _autocorrelation(signal: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Normalised autocorrelation at the lags, each of equal weight however long the lag."""
    power = np.mean(signal**2)
    return np.array([np.mean(signal[lag:] * signal[:-lag]) for lag in lags]) / max(power, TINY)
