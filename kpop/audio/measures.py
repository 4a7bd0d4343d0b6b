"""How near one sound is to another, and what one sound is like, in decibels."""

import math

import numpy as np

from kpop.audio.stft import BIN_WIDTH_HZ, N_BINS, frame_count, log_mel_db, stft


def spectral_convergence_db(reference_magnitude: np.ndarray, waveform: np.ndarray) -> float:
    """20 log10 of || |STFT(waveform)| - M || / || M ||, Frobenius norms; lower is nearer, -inf is equal.

    M is `reference_magnitude` (n_frames, N_BINS); the waveform must have as many frames, ValueError otherwise.
    """
    if reference_magnitude.shape != (frame_count(waveform.size), N_BINS):
        raise ValueError(f"the waveform's frames do not match magnitudes of shape {reference_magnitude.shape}")
    error = _norm(np.abs(stft(waveform)) - reference_magnitude)
    return _ratio_db(error, _norm(reference_magnitude))


def log_mel_error_db(reference_waveform: np.ndarray, waveform: np.ndarray) -> float:
    """Mean absolute difference in dB of the 80-band log-mel spectrograms (floor -80 dB) of two equally long sounds."""
    if reference_waveform.shape != waveform.shape:
        raise ValueError(f"the waveforms differ in length: {reference_waveform.size} and {waveform.size}")
    reference, other = (log_mel_db(np.abs(stft(sound))) for sound in (reference_waveform, waveform))
    return float(np.mean(np.abs(reference - other), dtype=np.float64))


def crest_factor_db(waveform: np.ndarray) -> float:
    """Peak over root mean square in dB: 3 for a sine, some 15 for a song, over 20 for clicks; 0 for silence."""
    if not np.any(waveform):
        return 0.0
    rms = math.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    return _ratio_db(float(np.max(np.abs(waveform))), rms)


def band_energy_db(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Mean over frames of the power summed over bins from `low_hz` up to but not including `high_hz`; -inf if none.

    In dB on the scale of `stft`, so bands can be compared with each other and between sounds.
    """
    bins_hz = np.arange(N_BINS) * BIN_WIDTH_HZ
    inside = (bins_hz >= low_hz) & (bins_hz < high_hz)
    power = np.square(np.abs(stft(waveform)[:, inside]), dtype=np.float64).sum(axis=1).mean()
    return 10 * math.log10(power) if power > 0 else -math.inf


def _norm(values: np.ndarray) -> float:
    return math.sqrt(np.sum(np.square(values, dtype=np.float64)))


def _ratio_db(numerator: float, denominator: float) -> float:
    if numerator == 0:
        return -math.inf
    return 20 * math.log10(numerator / denominator) if denominator > 0 else math.inf
