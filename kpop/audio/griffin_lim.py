"""Fast Griffin-Lim (Perraudin, Balazs & Sondergaard 2013, "A fast Griffin-Lim algorithm") over a stretch of frames.

Frames lie on rows of one hop of samples: frame t covers rows t to t + shared_rows(hop), and row 0 begins half a window
before the centre of frame 0. What earlier frames give to the first rows is fixed, so that a song can
be done stretch by stretch. The hop is the width of the rows that are given.
"""

import numpy as np
import scipy.fft
from numba import njit

from kpop.audio.spectrum import ANALYSIS_WINDOW, WINDOW
from kpop.grid import HOP_LENGTH, N_FFT, exact_div

MOMENTUM = np.float32(0.99)
TINY_POWER = np.float32(1e-20)
SAMPLES_BEFORE_CENTRE = exact_div(N_FFT, 2)
SYNTHESIS_WINDOW = WINDOW * np.float32(WINDOW.sum(dtype=np.float64) / 2)
BLOCK_FRAMES = 144  # few enough for a block to stay in the processor's cache on its way through both transforms


def shared_rows(hop: int) -> int:
    """How many rows of a frame the next frame covers, too."""
    return -(-N_FFT // hop) - 1


def row_weights(n_frames: int, first: bool = True, n_samples: int | None = None, hop: int = HOP_LENGTH) -> np.ndarray:
    """What turns rows of overlapping frames into samples: float32 (n_frames + shared_rows(hop), hop).

    One over the sum of the squared windows (Griffin & Lim 1984), and 0 outside of the song: before the centre of frame
    0 if that is the song's `first`, and from `n_samples` after that centre on if the song ends there.
    """
    n_shared = shared_rows(hop)
    power = np.zeros((n_frames + n_shared, hop), np.float32)
    for i, part in enumerate(np.pad(np.square(WINDOW), (0, (n_shared + 1) * hop - N_FFT)).reshape(-1, hop)):
        power[i * first : i + n_frames] += part
    weights = 1 / np.maximum(power, np.float32(1e-8))
    weights.reshape(-1)[: SAMPLES_BEFORE_CENTRE * first] = 0
    if n_samples is not None:
        weights.reshape(-1)[SAMPLES_BEFORE_CENTRE + n_samples :] = 0
    return weights


def approach(
    spectrum: np.ndarray, magnitude: np.ndarray, before: np.ndarray, weights: np.ndarray, n_iterations: int
) -> None:
    """Bring `spectrum` complex64 (n_frames, N_BINS), in place, nearer to one that a waveform can have.

    magnitude: float32 of that shape, which the spectrum keeps. before: see `overlapped`. weights: see `row_weights`.
    """
    n_frames, previous, hop = len(spectrum), np.zeros(weights.size, np.float32), weights.shape[1]
    n_shared = shared_rows(hop)
    for iteration in range(n_iterations):
        rows = _rows(n_frames, before)
        momentum = MOMENTUM if iteration else np.float32(0)
        done = 0
        for start in range(0, n_frames, BLOCK_FRAMES):
            frames = scipy.fft.irfft(spectrum[start : start + BLOCK_FRAMES], n=N_FFT, axis=1)
            last = start + len(frames) == n_frames
            ready = n_frames if last else start + len(frames) - n_shared  # frames all of whose rows are complete
            cut = np.empty((ready - done, N_FFT), np.float32)
            _lay(frames, start * hop, hop, SYNTHESIS_WINDOW, rows)
            stop = start + len(frames) + n_shared * last
            _settle(rows, weights.reshape(-1), previous, momentum, start * hop, stop * hop)
            _cut(rows, done * hop, hop, ANALYSIS_WINDOW, cut)
            _rescale(scipy.fft.rfft(cut, axis=1), magnitude[done:ready], spectrum[done:ready])
            done = ready


def overlapped(spectrum: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Rows float32 (n_frames + shared_rows(hop), hop) of the windowed frames of a spectrum (n_frames, N_BINS).

    before: what earlier frames give to the first rows, (shared_rows(hop), hop); the result's last rows are that for the
    frames which follow.
    """
    rows, hop = _rows(len(spectrum), before), before.shape[1]
    for start in range(0, len(spectrum), BLOCK_FRAMES):
        frames = scipy.fft.irfft(spectrum[start : start + BLOCK_FRAMES], n=N_FFT, axis=1)
        _lay(frames, start * hop, hop, SYNTHESIS_WINDOW, rows)
    return rows.reshape(-1, hop)


def _rows(n_frames: int, before: np.ndarray) -> np.ndarray:
    """Rows one after the other, as far as earlier frames fill them."""
    rows = np.zeros(n_frames * before.shape[1] + before.size, np.float32)
    rows[: before.size] = before.reshape(-1)
    return rows


@njit(cache=True, nogil=True)
def _lay(frames, start, hop, window, rows):
    """Add frames (n, N_FFT), windowed, to the rows; frame 0 begins at sample `start`."""
    for i in range(frames.shape[0]):
        row = rows[start + i * hop :]
        for j in range(N_FFT):
            row[j] += frames[i, j] * window[j]


@njit(cache=True, nogil=True)
def _settle(rows, weights, previous, momentum, start, stop):
    """From start to stop rows become samples, and go on in the direction in which they moved since the last iteration.

    The transform is linear: momentum here does what it does on spectra, on a quarter of the numbers.
    """
    for i in range(start, stop):
        sample = rows[i] * weights[i]
        rows[i] = sample + momentum * (sample - previous[i])
        previous[i] = sample


@njit(cache=True, nogil=True)
def _cut(rows, start, hop, window, frames):
    """Windowed frames (n, N_FFT) of the rows, the first one from sample `start` on."""
    for i in range(frames.shape[0]):
        row = rows[start + i * hop :]
        for j in range(N_FFT):
            frames[i, j] = row[j] * window[j]


@njit(cache=True, nogil=True, fastmath=True)
def _rescale(consistent, magnitude, spectrum):
    """spectrum = magnitude with the phase of consistent; one shape for all."""
    for t in range(magnitude.shape[0]):
        for k in range(magnitude.shape[1]):
            real, imag = consistent[t, k].real, consistent[t, k].imag
            scale = magnitude[t, k] / np.sqrt(real * real + imag * imag + TINY_POWER)
            spectrum[t, k] = complex(real * scale, imag * scale)
