"""Magnitudes to sound: a phase is made up that fits them.

First guess by phase-gradient heap integration (Prusa, Balazs & Sondergaard 2017, "A noniterative method for
reconstruction of phase from STFT magnitude"), then fast Griffin-Lim (Perraudin, Balazs & Sondergaard 2013).
"""

import numpy as np
from numba import njit
from scipy.ndimage import uniform_filter1d

from kpop.audio.spectrum import frame_count, istft, stft
from kpop.grid import HOP_LENGTH, N_BINS, N_FFT

N_ITERATIONS = 24
MOMENTUM = 0.99
GAMMA = 0.25645 * N_FFT**2  # width of the Gaussian nearest to a Hann window, in samples squared (Prusa et al.)
TOLERANCE = 3e-4  # relative to the largest magnitude; below, phase is noise and random does as well
FLAT_BINS = 15
FLATNESS = 0.85  # geometric over arithmetic mean of power above which a neighbourhood counts as smooth noise
TINY = np.float32(1e-10)


def reconstruct(magnitude: np.ndarray, n_samples: int, seed: int = 0, n_iterations: int = N_ITERATIONS) -> np.ndarray:
    """Waveform float32 (n_samples,) whose STFT has nearly the given magnitudes (n_frames, N_BINS).

    n_frames must be 1 + n_samples // HOP_LENGTH, and magnitudes finite and not negative: ValueError otherwise. More
    iterations, at least 0, come closer. The same seed gives the same bytes.
    """
    magnitude = _checked(magnitude, n_samples)
    spectrum = magnitude * np.exp(1j * first_phase(magnitude, seed)).astype(np.complex64)
    return istft(_griffin_lim(spectrum, magnitude, n_samples, n_iterations), n_samples)


def first_phase(magnitude: np.ndarray, seed: int) -> np.ndarray:
    """Phase in radians, float32 (n_frames, N_BINS), of magnitudes of that shape, without any iteration.

    Heap integration makes an impulse of a smooth noise burst, so smooth places get random phase, as near-silence does.
    """
    phase = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitude.shape).astype(np.float32)
    level = magnitude.max(initial=0.0)
    if level > 0:
        log_mag = np.log(np.maximum(magnitude, TOLERANCE * level * 0.1))
        todo = (magnitude > TOLERANCE * level) & (_flatness(log_mag) < FLATNESS)
        order = np.flatnonzero(todo)
        order = order[np.argsort(-log_mag.ravel()[order], kind="stable")]
        _integrate(log_mag, todo, order.astype(np.int32), phase)
        phase[:, 1::2] += np.float32(np.pi)  # our frames start, not centre, on the sample that phase 0 refers to
    return phase


def warm_up() -> None:
    """Compile (or load from numba's cache) what `reconstruct` needs, so that the first song does not wait for it."""
    reconstruct(np.ones((2, N_BINS), np.float32), HOP_LENGTH, n_iterations=1)


def _flatness(log_mag: np.ndarray) -> np.ndarray:
    """Geometric over arithmetic mean of power (n_frames, N_BINS) over FLAT_BINS bins around each."""
    arithmetic = uniform_filter1d(np.exp(2 * log_mag), FLAT_BINS, axis=1, mode="nearest")
    geometric = uniform_filter1d(2 * log_mag, FLAT_BINS, axis=1, mode="nearest")
    return np.exp(geometric) / arithmetic


def _griffin_lim(spectrum: np.ndarray, magnitude: np.ndarray, n_samples: int, n_iterations: int) -> np.ndarray:
    """Spectrum with these magnitudes, `n_iterations` nearer to one that a waveform can have; `spectrum` is reused."""
    previous = None
    for _ in range(n_iterations):
        consistent = stft(istft(spectrum, n_samples))
        before = consistent if previous is None else previous
        _accelerate(consistent, before, magnitude, np.float32(MOMENTUM), spectrum)
        previous = consistent
    return spectrum


@njit(cache=True)
def _accelerate(consistent, previous, magnitude, momentum, spectrum):
    """spectrum = magnitude with the phase of consistent + momentum * (consistent - previous); one shape for all."""
    for t in range(magnitude.shape[0]):
        for k in range(magnitude.shape[1]):
            new, old = consistent[t, k], previous[t, k]
            real = new.real + momentum * (new.real - old.real)
            imag = new.imag + momentum * (new.imag - old.imag)
            scale = magnitude[t, k] / (np.sqrt(real * real + imag * imag) + TINY)
            spectrum[t, k] = complex(real * scale, imag * scale)


@njit(cache=True)
def _integrate(log_mag, todo, order, phase):
    """Fill `phase` where `todo`, loudest first, each bin from a neighbour already done; `todo` ends up all False.

    `order` (n,) int32 holds the flat indices of what is to do, loudest first: where a new island starts.
    """
    n_bins = log_mag.shape[1]
    heap = np.empty(order.size + 1, np.int32)
    for start in order:
        if not todo[start // n_bins, start % n_bins]:
            continue
        todo[start // n_bins, start % n_bins] = False  # its random phase stays: islands owe each other nothing
        size = _push(heap, 0, start, log_mag)
        while size:
            index = heap[0]
            size = _pop(heap, size, log_mag)
            size = _spread(index // n_bins, index % n_bins, heap, size, log_mag, todo, phase)


@njit(cache=True)
def _spread(t, k, heap, size, log_mag, todo, phase):
    """Integrate from bin (t, k) to its four neighbours; returns the size of the heap."""
    n_frames, n_bins = log_mag.shape
    for dt, dk in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        u, j = t + dt, k + dk
        if u < 0 or u >= n_frames or j < 0 or j >= n_bins or not todo[u, j]:
            continue
        if dt:
            step = dt * 0.5 * (_per_frame(log_mag, t, k) + _per_frame(log_mag, u, k))
        else:
            step = dk * 0.5 * (_per_bin(log_mag, t, k) + _per_bin(log_mag, t, j))
        phase[u, j] = (phase[t, k] + step) % (2 * np.pi)
        todo[u, j] = False
        size = _push(heap, size, u * n_bins + j, log_mag)
    return size


@njit(cache=True)
def _per_frame(log_mag, t, k):
    """Phase gradient along time in radians a hop: the bin's own frequency, pulled towards the louder neighbour."""
    low, high = max(k - 1, 0), min(k + 1, log_mag.shape[1] - 1)
    slope = (log_mag[t, high] - log_mag[t, low]) * 0.5
    return HOP_LENGTH * N_FFT / GAMMA * slope + 2 * np.pi * HOP_LENGTH * k / N_FFT


@njit(cache=True)
def _per_bin(log_mag, t, k):
    """Phase gradient along frequency in radians a bin: the delay of the energy from the frame's centre."""
    before, after = max(t - 1, 0), min(t + 1, log_mag.shape[0] - 1)
    return -GAMMA / (HOP_LENGTH * N_FFT) * (log_mag[after, k] - log_mag[before, k]) * 0.5


@njit(cache=True)
def _push(heap, size, index, log_mag):
    """Add a flat index to the binary heap, loudest on top; returns the new size."""
    keys = log_mag.reshape(-1)
    key, place = keys[index], size
    while place and keys[heap[(place - 1) >> 1]] < key:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = index
    return size + 1


@njit(cache=True)
def _pop(heap, size, log_mag):
    """Remove the loudest from the heap; returns the new size."""
    keys = log_mag.reshape(-1)
    size -= 1
    last, place, child = heap[size], 0, 1
    while child < size:
        if child + 1 < size and keys[heap[child + 1]] > keys[heap[child]]:
            child += 1
        if keys[heap[child]] <= keys[last]:
            break
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    heap[place] = last
    return size


def _checked(magnitude: np.ndarray, n_samples: int) -> np.ndarray:
    magnitude = np.ascontiguousarray(magnitude, np.float32)
    if magnitude.shape != (frame_count(n_samples), N_BINS):
        raise ValueError(f"{n_samples} samples have {frame_count(n_samples)} x {N_BINS} bins, not {magnitude.shape}")
    if not (np.isfinite(magnitude) & (magnitude >= 0)).all():
        raise ValueError("magnitudes must be finite and not negative")
    return magnitude
