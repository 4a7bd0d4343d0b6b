"""Short-time Fourier transform and its inverse, log-magnitude and mel scales: what everything here sees of a sound.

Spectra are scaled so that a full-scale sine has magnitude 1 in its bin. Time comes first: (n_frames, N_BINS).
"""

from functools import lru_cache

import numpy as np
import scipy.fft

from kpop.constants import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE_HZ, exact_div

LOG_FLOOR = 1e-4  # smallest magnitude that a logarithm tells from silence: -80 dB, full-scale sine = 0 dB
FLOOR_DB = -80.0  # the same, for powers
N_MELS = 80
BIN_WIDTH_HZ = SAMPLE_RATE_HZ / N_FFT

WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)  # periodic Hann
ANALYSIS_WINDOW = WINDOW * np.float32(2 / WINDOW.sum(dtype=np.float64))  # scales a full-scale sine to 1
_SYNTHESIS_WINDOW = WINDOW * np.float32(WINDOW.sum(dtype=np.float64) / 2)
_HALF = exact_div(N_FFT, 2)
_HOPS_PER_WINDOW = exact_div(N_FFT, HOP_LENGTH)
_BLOCK_FRAMES = 128


def frame_count(n_samples: int, hop: int = HOP_LENGTH) -> int:
    """Number of STFT frames of a waveform of `n_samples`, `hop` samples apart."""
    return 1 + n_samples // hop


def stft(waveform: np.ndarray) -> np.ndarray:
    """Spectrum complex64 (n_frames, N_BINS) of a mono waveform (n_samples,); n_frames = 1 + n_samples // HOP_LENGTH.

    Periodic Hann window; frame t is centred on sample t * HOP_LENGTH, with zeros beyond both ends.
    """
    padded = np.zeros(waveform.size + N_FFT, np.float32)
    padded[_HALF : _HALF + waveform.size] = waveform
    frames = _frames(padded)
    spectrum = np.empty((len(frames), N_BINS), np.complex64)
    for block in _blocks(len(frames)):
        spectrum[block] = scipy.fft.rfft(frames[block] * ANALYSIS_WINDOW, axis=1)
    return spectrum


def stft_at(waveform: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """As `stft`, with frames centred on any samples of the waveform (n_samples,): centres (n_frames,) int64."""
    padded = np.pad(np.asarray(waveform, np.float32), _HALF)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)
    spectrum = np.empty((len(centres), N_BINS), np.complex64)
    for block in _blocks(len(centres)):
        spectrum[block] = scipy.fft.rfft(frames[centres[block]] * ANALYSIS_WINDOW, axis=1)
    return spectrum


def istft(spectrum: np.ndarray, n_samples: int) -> np.ndarray:
    """Waveform float32 (n_samples,) of a spectrum (n_frames, N_BINS); exact inverse of `stft`.

    Overlap-add with the window that is best in the least-squares sense (Griffin & Lim 1984). Samples that no frame
    reaches are zero.
    """
    hops = np.zeros((len(spectrum) + _HOPS_PER_WINDOW - 1, HOP_LENGTH), np.float32)
    for block in _blocks(len(spectrum)):
        frames = scipy.fft.irfft(spectrum[block].astype(np.complex64, copy=False), n=N_FFT, axis=1)
        frames *= _SYNTHESIS_WINDOW
        _overlap_add(frames, hops[block.start :])
    whole = hops.reshape(-1)
    whole *= _inverse_window_power(len(spectrum))
    waveform = np.zeros(n_samples, np.float32)
    covered = whole[_HALF : _HALF + n_samples]
    waveform[: covered.size] = covered
    return waveform


def log_magnitude(magnitude: np.ndarray) -> np.ndarray:
    """Natural logarithm, float32, of magnitudes of any shape, those under LOG_FLOOR raised to it."""
    return np.log(np.maximum(magnitude, LOG_FLOOR)).astype(np.float32, copy=False)


def from_log_magnitude(log_magnitudes: np.ndarray) -> np.ndarray:
    """Inverse of `log_magnitude`, float32; what lies on the floor or under it becomes silence."""
    magnitude = np.exp(log_magnitudes, dtype=np.float32)
    magnitude[magnitude <= LOG_FLOOR * 1.0001] = 0.0
    return magnitude


def log_mel_db(magnitude: np.ndarray, n_mels: int = N_MELS) -> np.ndarray:
    """Mel spectrogram float32 (n_frames, n_mels) in dB of magnitudes (n_frames, N_BINS), not under -80 dB.

    Each band is the weighted mean power of its bins, so a constant magnitude m gives 20 log10 m in every band.
    """
    power = np.square(magnitude) @ (mel_filterbank(n_mels).T * np.float32(BIN_WIDTH_HZ))
    return (10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def mel_filterbank(n_mels: int = N_MELS, min_hz: float = 0.0, max_hz: float = SAMPLE_RATE_HZ / 2) -> np.ndarray:
    """Triangles float32 (n_mels, N_BINS), read-only: Slaney's scale (1998, Auditory Toolbox) and unit area in Hz.

    Equal to `librosa.filters.mel`, which training must not need.
    """
    edges_hz = _mel_edges_hz(n_mels, min_hz, max_hz)
    bins_hz = np.arange(N_BINS) * BIN_WIDTH_HZ
    rising = (bins_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz) / np.diff(edges_hz)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    bank = (triangles * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]).astype(np.float32)
    bank.flags.writeable = False
    return bank


def mel_centres_hz(n_mels: int = N_MELS) -> np.ndarray:
    """Frequencies float64 (n_mels,) in Hz at which the bands of `mel_filterbank(n_mels)` peak."""
    return _mel_edges_hz(n_mels, 0.0, SAMPLE_RATE_HZ / 2)[1:-1]


def _mel_edges_hz(n_mels: int, min_hz: float, max_hz: float) -> np.ndarray:
    low, high = _hz_to_mel(min_hz), _hz_to_mel(max_hz)
    return _mel_to_hz(np.linspace(low, high, n_mels + 2))


# Slaney's scale: linear up to 1 kHz (15 mel), then 27 mel for every factor of 6.4.
_HZ_PER_MEL, _BEND_HZ, _BEND_MEL, _LOG_STEP = 200 / 3, 1000.0, 15.0, np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _HZ_PER_MEL if hz < _BEND_HZ else _BEND_MEL + np.log(hz / _BEND_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _BEND_MEL, mel * _HZ_PER_MEL, _BEND_HZ * np.exp((mel - _BEND_MEL) * _LOG_STEP))


def _frames(padded: np.ndarray) -> np.ndarray:
    """Overlapping view (n_frames, N_FFT) of the padded waveform, without a copy."""
    return np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_LENGTH]


def _blocks(n_frames: int) -> list[slice]:
    """Slices over the frames, small enough for a block's spectra to stay in the processor's cache."""
    return [slice(start, min(start + _BLOCK_FRAMES, n_frames)) for start in range(0, n_frames, _BLOCK_FRAMES)]


def _overlap_add(frames: np.ndarray, hops: np.ndarray) -> None:
    """Add windowed frames (n_frames, N_FFT), laid HOP_LENGTH apart, to `hops` (at least n_frames + 3, HOP_LENGTH)."""
    columns = frames.reshape(len(frames), _HOPS_PER_WINDOW, HOP_LENGTH)
    for i in range(_HOPS_PER_WINDOW):
        hops[i : i + len(frames)] += columns[:, i]


@lru_cache(maxsize=2)
def _inverse_window_power(n_frames: int) -> np.ndarray:
    """One over what the squared windows sum to at each sample."""
    hops = np.zeros((n_frames + _HOPS_PER_WINDOW - 1, HOP_LENGTH), np.float32)
    _overlap_add(np.broadcast_to(np.square(WINDOW), (n_frames, N_FFT)), hops)
    return 1 / np.maximum(hops.reshape(-1), np.float32(1e-8))
