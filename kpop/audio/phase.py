"""Magnitudes to sound: a phase is made up that fits them.

First guess by phase-gradient heap integration (Prusa, Balazs & Sondergaard 2017, "A noniterative method for
reconstruction of phase from STFT magnitude"), then fast Griffin-Lim.
"""

import numpy as np
from numba import njit

from kpop.audio.griffin_lim import SAMPLES_BEFORE_CENTRE, approach, overlapped, row_weights, shared_rows
from kpop.audio.spectrum import frame_count
from kpop.grid import HOP_LENGTH, N_BINS, N_FFT

N_ITERATIONS = 24
GAMMA = 0.25645 * N_FFT**2  # width of the Gaussian nearest to a Hann window, in samples squared (Prusa et al.)
TOLERANCE = 3e-4  # relative to the level; below, phase is noise and random does as well
FLAT_BINS = 15
FLATNESS = 0.85  # geometric over arithmetic mean of power above which a neighbourhood counts as smooth noise
RANKS_PER_NAT = 64  # how finely loudness decides what comes first
NO_RANK = NOTHING = -1
CENTRED = np.where(np.arange(N_BINS) % 2, np.float32(-1), np.float32(1))  # our frames start, not centre, on phase 0
TWO_PI = 2 * np.pi


def reconstruct(magnitude: np.ndarray, n_samples: int, seed: int = 0, n_iterations: int = N_ITERATIONS) -> np.ndarray:
    """Waveform float32 (n_samples,) whose STFT has nearly the given magnitudes (n_frames, N_BINS).

    n_frames must be 1 + n_samples // HOP_LENGTH, and magnitudes finite and not negative: ValueError otherwise. More
    iterations, at least 0, come closer. The same seed gives the same bytes.
    """
    magnitude = checked(magnitude)
    if len(magnitude) != frame_count(n_samples):
        shape = magnitude.shape
        raise ValueError(f"{n_samples} samples have {frame_count(n_samples)} x {N_BINS} bins, not {shape}")
    phase = random_phase(magnitude.shape, np.random.default_rng(seed))
    integrate(magnitude, float(magnitude.max()), phase)
    spectrum = with_phase(magnitude, phase)
    before = np.zeros((shared_rows(HOP_LENGTH), HOP_LENGTH), np.float32)
    weights = row_weights(len(magnitude), n_samples=n_samples)
    approach(spectrum, magnitude, before, weights, n_iterations)
    samples = (overlapped(spectrum, before) * weights).reshape(-1)
    return samples[SAMPLES_BEFORE_CENTRE:][:n_samples].copy()


def checked(magnitude: np.ndarray) -> np.ndarray:
    """Magnitudes as contiguous float32 (n_frames, N_BINS); ValueError unless they are finite and not negative."""
    magnitude = np.ascontiguousarray(magnitude, np.float32)
    if magnitude.ndim != 2 or magnitude.shape[1] != N_BINS:
        raise ValueError(f"magnitudes have {N_BINS} bins a frame, these have shape {magnitude.shape}")
    if magnitude.size and not (magnitude.min() >= 0 and magnitude.max() < np.inf):  # false for NaN, too
        raise ValueError("magnitudes must be finite and not negative")
    return magnitude


def warm_up() -> None:
    """Compile (or load from numba's cache) what `reconstruct` needs, so that the first song does not wait for it."""
    reconstruct(np.ones((2, N_BINS), np.float32), HOP_LENGTH, n_iterations=1)


def random_phase(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Radians, float32, of that shape."""
    return (rng.random(shape, np.float32) - np.float32(0.5)) * np.float32(TWO_PI)


def integrate(magnitude: np.ndarray, level: float, phase: np.ndarray, n_known: int = 0, hop: int = HOP_LENGTH) -> None:
    """Replace random `phase`, radians float32 (n_frames, N_BINS), by one that fits magnitudes of that shape.

    level: magnitude of the loudest bin there is, or was of late. n_known: so many frames at the start have their phase
    already, from which the others' goes on. hop: samples between frames. Heap integration makes an impulse of a smooth
    noise burst, so smooth places keep their random phase, as near-silence does. Phases are those that `with_phase`
    takes.
    """
    if level <= 0:
        return
    log_mag = np.log(np.maximum(magnitude, np.float32(TOLERANCE * level * 0.1)))
    mean_power, mean_log = np.empty_like(log_mag), np.empty_like(log_mag)
    _neighbourhoods(np.exp(2 * log_mag), 2 * log_mag, mean_power, mean_log)
    rank = np.empty(log_mag.shape, np.int16)
    _rank(log_mag, np.float32(np.log(TOLERANCE * level)), np.log(mean_power * np.float32(FLATNESS)), mean_log, rank)
    _integrate(log_mag, rank, n_known, phase, _slopes(hop))


def _slopes(hop: int) -> tuple[float, float, float]:
    """What phase gradients are made of, at a hop.

    Radians a hop and bin of a bin's own frequency; radians a hop, per nat by which one neighbour in frequency is
    louder; radians a bin, per nat by which one neighbour in time is louder.
    """
    return TWO_PI * hop / N_FFT, hop * N_FFT / GAMMA, GAMMA / (hop * N_FFT)


def with_phase(magnitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Spectrum complex64 with magnitudes and phases float32 (n_frames, N_BINS), in radians at the frames' centres."""
    signed, spectrum = magnitude * CENTRED, np.empty(magnitude.shape, np.complex64)
    np.multiply(signed, np.cos(phase), out=spectrum.real)
    np.multiply(signed, np.sin(phase), out=spectrum.imag)
    return spectrum


def phase_of(spectrum: np.ndarray) -> np.ndarray:
    """Inverse of `with_phase`: radians float32 of a spectrum (n_frames, N_BINS)."""
    phase = np.angle(spectrum)
    phase[:, 1::2] += np.float32(np.pi)
    return phase


@njit(cache=True, nogil=True)
def _neighbourhoods(power, log_power, mean_power, mean_log):
    """Means of power and of its logarithm (n_frames, N_BINS) over FLAT_BINS bins around each."""
    for t in range(power.shape[0]):
        sum_power, sum_log = 0.0, 0.0  # 64 bits: what is added leaves nothing behind when it is taken away again
        for k in range(-FLAT_BINS, N_BINS):
            comes, goes = min(max(k + FLAT_BINS // 2, 0), N_BINS - 1), max(k - FLAT_BINS // 2 - 1, 0)
            sum_power += power[t, comes]
            sum_log += log_power[t, comes]
            if k >= 0:
                sum_power -= power[t, goes]
                sum_log -= log_power[t, goes]
                mean_power[t, k] = sum_power / FLAT_BINS
                mean_log[t, k] = sum_log / FLAT_BINS


@njit(cache=True, nogil=True)
def _rank(log_mag, quiet, smoothest, mean_log, rank):
    """How early a bin's turn comes, louder ones first, or NO_RANK; all (n_frames, N_BINS)."""
    for t in range(rank.shape[0]):
        for k in range(N_BINS):
            left = mean_log[t, k] >= smoothest[t, k] or log_mag[t, k] <= quiet
            rank[t, k] = NO_RANK if left else np.int16((log_mag[t, k] - quiet) * RANKS_PER_NAT)


@njit(cache=True, nogil=True)
def _integrate(log_mag, rank, n_known, phase, slopes):
    """Fill `phase` where there is a rank, highest first, each bin from a neighbour already done; then no rank is left.

    Instead of a heap one list for each rank, linked through the bins: as good, and no sorting.
    """
    heads = np.full(rank.max() + 1, NOTHING, np.int32)
    links = np.empty(rank.size, np.int32)
    if n_known:
        rank[: n_known - 1] = NO_RANK
        for k in range(N_BINS):
            _put(n_known - 1, k, rank, heads, links)
        _drain(log_mag, rank, phase, slopes, heads, links, heads.size - 1)
    for start in _loudest_first(rank):
        t, k = start // N_BINS, start % N_BINS
        if rank[t, k] != NO_RANK:  # its random phase stays: islands owe each other nothing
            top = _put(t, k, rank, heads, links)
            _drain(log_mag, rank, phase, slopes, heads, links, top)


@njit(cache=True, nogil=True)
def _loudest_first(rank):
    """Flat indices int32 of what has a rank, highest first: where new islands start."""
    ranks = rank.reshape(-1)
    ends = np.zeros(max(ranks.max(), 0) + 2, np.int32)
    for own in ranks:
        if own != NO_RANK:
            ends[own] += 1
    for j in range(ends.size - 2, -1, -1):
        ends[j] += ends[j + 1]
    order = np.empty(ends[0], np.int32)
    for i in range(ranks.size - 1, -1, -1):
        if ranks[i] != NO_RANK:
            ends[ranks[i]] -= 1
            order[ends[ranks[i]]] = i
    return order


@njit(cache=True, nogil=True)
def _put(t, k, rank, heads, links):
    """Move bin (t, k) from its rank, which it loses, to the list for that rank; returns the rank."""
    own = rank[t, k]
    if own != NO_RANK:
        index = t * N_BINS + k
        links[index] = heads[own]
        heads[own] = index
        rank[t, k] = NO_RANK
    return own


@njit(cache=True, nogil=True)
def _drain(log_mag, rank, phase, slopes, heads, links, top):
    """Integrate from every bin in the lists, none over `top`, until nothing that has a rank can be reached any more."""
    while top >= 0:
        index = heads[top]
        if index == NOTHING:
            top -= 1
            continue
        heads[top] = links[index]
        t, k = index // N_BINS, index % N_BINS
        for dt, dk in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            u, j = t + dt, k + dk
            if 0 <= u < rank.shape[0] and 0 <= j < N_BINS and rank[u, j] != NO_RANK:
                phase[u, j] = _turned(phase[t, k] + _step(log_mag, slopes, t, k, u, j))
                top = max(top, _put(u, j, rank, heads, links))


@njit(cache=True, nogil=True)
def _turned(phase):
    """The same angle within -pi..pi."""
    return phase - TWO_PI * np.rint(phase * (1 / TWO_PI))


@njit(cache=True, nogil=True)
def _step(log_mag, slopes, t, k, u, j):
    """How much further the phase of bin (u, j) is than that of its neighbour (t, k): the mean of both gradients."""
    if u != t:
        return (u - t) * 0.5 * (_per_frame(log_mag, slopes, t, k) + _per_frame(log_mag, slopes, u, k))
    return (j - k) * 0.5 * (_per_bin(log_mag, slopes, t, k) + _per_bin(log_mag, slopes, t, j))


@njit(cache=True, nogil=True)
def _per_frame(log_mag, slopes, t, k):
    """Phase gradient along time in radians a hop: the bin's own frequency, pulled towards the louder neighbour."""
    low, high = max(k - 1, 0), min(k + 1, N_BINS - 1)
    own, pull, _ = slopes
    return pull * 0.5 * (log_mag[t, high] - log_mag[t, low]) + own * k


@njit(cache=True, nogil=True)
def _per_bin(log_mag, slopes, t, k):
    """Phase gradient along frequency in radians a bin: the delay of the energy from the frame's centre."""
    before, after = max(t - 1, 0), min(t + 1, log_mag.shape[0] - 1)
    return -slopes[2] * 0.5 * (log_mag[after, k] - log_mag[before, k])
