"""Short-time Fourier transform, log magnitudes and mel spectrograms.

Spectra are scaled so that a full-scale sine has magnitude 1 in its bin. Time comes first: (n_frames, N_BINS).
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from kpop.constants import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE_HZ, exact_div

LOG_FLOOR = 1e-4  # smallest magnitude that a logarithm tells from silence: -80 dB, full-scale sine = 0 dB
FLOOR_DB = -80.0  # the same, for powers
N_MELS = 80
BIN_WIDTH_HZ = SAMPLE_RATE_HZ / N_FFT

WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)  # periodic Hann
ANALYSIS_WINDOW = WINDOW * np.float32(2 / WINDOW.sum(dtype=np.float64))  # scales a full-scale sine to 1
SYNTHESIS_WINDOW = WINDOW * np.float32(WINDOW.sum(dtype=np.float64) / 2)
SAMPLES_BEFORE_CENTRE = exact_div(N_FFT, 2)
_BLOCK_FRAMES = 128  # a block's spectra stay in the processor's cache


def frame_count(n_samples: int, hop: int = HOP_LENGTH) -> int:
    """Number of STFT frames of a waveform of `n_samples`, `hop` samples apart."""
    return 1 + n_samples // hop


def stft(waveform: np.ndarray) -> np.ndarray:
    """Spectrum complex64 (n_frames, N_BINS) of a mono waveform (n_samples,); n_frames = 1 + n_samples // HOP_LENGTH.

    Periodic Hann window; frame t is centred on sample t * HOP_LENGTH, with zeros beyond both ends.
    """
    return stft_at(waveform, np.arange(0, len(waveform) + 1, HOP_LENGTH))


def stft_at(waveform: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """As `stft`, with frames centred on any samples of the waveform (n_samples,): centres (n_frames,) int64."""
    spectrum = np.empty((len(centres), N_BINS), np.complex64)
    for start, block in _spectrum_blocks(waveform, centres):
        spectrum[start : start + len(block)] = block
    return spectrum


def _spectrum_blocks(waveform: np.ndarray, centres: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Index of the first frame, and spectrum, of each block of frames."""
    frames = sliding_window_view(np.pad(np.asarray(waveform, np.float32), SAMPLES_BEFORE_CENTRE), N_FFT)
    for start in range(0, len(centres), _BLOCK_FRAMES):
        block = frames[centres[start : start + _BLOCK_FRAMES]] * ANALYSIS_WINDOW
        yield start, scipy.fft.rfft(block, axis=1, overwrite_x=True)


def log_magnitude(magnitude: np.ndarray) -> np.ndarray:
    """Natural logarithm, float32, of magnitudes of any shape, those under LOG_FLOOR raised to it."""
    return np.log(np.maximum(magnitude, LOG_FLOOR)).astype(np.float32, copy=False)


def from_log_magnitude(log_magnitudes: np.ndarray) -> np.ndarray:
    """Inverse of `log_magnitude`, float32; values at the floor or below become 0."""
    magnitude = np.exp(log_magnitudes, dtype=np.float32)
    magnitude[magnitude <= LOG_FLOOR * 1.0001] = 0.0
    return magnitude


def log_mel_db(magnitude: np.ndarray, n_mels: int = N_MELS) -> np.ndarray:
    """Mel spectrogram float32 (n_frames, n_mels) in dB of magnitudes (n_frames, N_BINS), not under -80 dB.

    Each band is the weighted mean power of its bins, so a constant magnitude m gives 20 log10 m in every band.
    """
    power = np.square(magnitude) @ (mel_filterbank(n_mels).T * np.float32(BIN_WIDTH_HZ))
    return (10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).astype(np.float32, copy=False)


def log_mel_spectrogram(waveform: np.ndarray, n_mels: int = N_MELS) -> np.ndarray:
    """`log_mel_db` (n_frames, n_mels) of a waveform (n_samples,), without its whole spectrum in memory."""
    blocks = _spectrum_blocks(waveform, np.arange(0, len(waveform) + 1, HOP_LENGTH))
    return np.concatenate([log_mel_db(np.abs(block), n_mels) for _, block in blocks])


@lru_cache(maxsize=8)
def mel_filterbank(n_mels: int = N_MELS) -> np.ndarray:
    """Triangular filters float32 (n_mels, N_BINS), read-only: Slaney's mel scale from 0 to 8 kHz, unit area in Hz."""
    from librosa.filters import mel  # here, because the page must not wait for librosa

    bank = mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=n_mels)
    bank.flags.writeable = False
    return bank


def mel_centres_hz(n_mels: int = N_MELS) -> np.ndarray:
    """Centre frequencies float64 (n_mels,) in Hz of the filters of `mel_filterbank(n_mels)`."""
    from librosa import mel_frequencies

    return mel_frequencies(n_mels + 2, fmin=0.0, fmax=SAMPLE_RATE_HZ / 2)[1:-1]
