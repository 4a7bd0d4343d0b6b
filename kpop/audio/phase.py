"""Phase reconstruction: a waveform from STFT magnitudes, in blocks while they arrive.

Initial phase by phase gradient heap integration (PGHI; Prusa, Balazs & Sondergaard 2017, "A noniterative method for
reconstruction of phase from STFT magnitude"), continued over blocks as in Prusa & Sondergaard (2016, "Real-time
spectrogram inversion using phase gradient heap integration"); refined by fast Griffin-Lim (Perraudin, Balazs &
Sondergaard 2013, "A fast Griffin-Lim algorithm").
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import correlate1d, uniform_filter1d

from kpop.audio.stft import ANALYSIS_WINDOW, SAMPLES_BEFORE_CENTRE, SYNTHESIS_WINDOW, WINDOW, frame_count
from kpop.constants import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE_HZ

N_ITERATIONS = 24
BLOCK_FRAMES = 64  # processed at once; the result must not depend on how the caller cuts the frames
LOOK_AHEAD_FRAMES = 4  # refined with the block before them, and again with their own
MOMENTUM = np.float32(0.99)
GAMMA = 0.25645 * N_FFT**2  # width of the Gaussian nearest to a Hann window, in samples squared (Prusa et al.)
TOLERANCE = 3e-4  # relative to the level; bins below keep a random phase
FLAT_BINS = 15
FLATNESS = 0.85  # geometric over arithmetic mean of power above which a neighbourhood counts as smooth noise
RANKS_PER_NAT = 64  # resolution of the integration order
NO_RANK = EMPTY = -1
CONTEXT_FRAMES = 2  # integration continues from the last finished frame, whose gradient needs the one before it
LEVEL_FALLS_DB_PER_S = 3.0  # decay of the peak level that TOLERANCE is relative to
TINY = np.float32(1e-10)
TWO_PI = 2 * np.pi
SIGNS = np.where(np.arange(N_BINS) % 2, np.float32(-1), np.float32(1))  # phase at a frame's centre, not at its start


def reconstruct(
    magnitude: np.ndarray, n_samples: int, seed: int = 0, n_iterations: int = N_ITERATIONS, hop: int = HOP_LENGTH
) -> np.ndarray:
    """Waveform float32 (n_samples,) whose STFT has nearly the given magnitudes (n_frames, N_BINS).

    n_frames must be 1 + n_samples // hop, and magnitudes finite and not negative: ValueError otherwise. More
    iterations, at least 0, come closer. The same seed gives the same bytes.
    """
    if len(magnitude) != frame_count(n_samples, hop):
        expected = frame_count(n_samples, hop)
        raise ValueError(f"{n_samples} samples have {expected} x {N_BINS} bins, not {magnitude.shape}")
    return StreamingPhase(seed, n_iterations, hop).push(magnitude, last=True)[:n_samples]


class StreamingPhase:
    """Magnitudes in, waveform out, in pieces; working memory depends on the largest piece alone.

    seed: for the phases left to chance. n_iterations: of Griffin-Lim for every block, 0 or more. hop: samples between
    frames. The same seed gives the same bytes, however the frames are cut into pieces: they are processed in blocks of
    BLOCK_FRAMES.
    """

    def __init__(self, seed: int, n_iterations: int, hop: int = HOP_LENGTH) -> None:
        self._seed, self._n_iterations, self._hop = seed, n_iterations, hop
        self._n_blocks, self._level = 0, 0.0
        self._pending = np.zeros((0, N_BINS), np.float32)
        self._context, self._context_phase = self._pending, self._pending
        n_shared = -(-N_FFT // hop) - 1  # how many of a frame's rows the next frame covers, too
        self._overlap = np.zeros((n_shared, hop), np.float32)

    def push(self, magnitude: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32 that are final once these magnitudes (n_frames, N_BINS) are known; perhaps none.

        Over all pushes, of which one is the `last`, one hop of samples a frame. ValueError for magnitudes that are not
        finite or negative.
        """
        magnitude = np.asarray(magnitude, np.float32)
        if magnitude.ndim != 2 or magnitude.shape[1] != N_BINS:
            raise ValueError(f"magnitudes have {N_BINS} bins a frame, these have shape {magnitude.shape}")
        if magnitude.size and not (magnitude.min() >= 0 and magnitude.max() < np.inf):  # false for NaN, too
            raise ValueError("magnitudes must be finite and not negative")
        pending = np.concatenate([self._pending, magnitude])
        samples = [np.zeros(0, np.float32)]
        while len(pending) >= BLOCK_FRAMES + LOOK_AHEAD_FRAMES:
            samples.append(self._finish(pending[: BLOCK_FRAMES + LOOK_AHEAD_FRAMES], BLOCK_FRAMES, last=False))
            pending = pending[BLOCK_FRAMES:]
        if last and len(pending):
            samples.append(self._finish(pending, len(pending), last=True))
        self._pending = pending.copy()
        return np.concatenate(samples)

    def _finish(self, magnitude: np.ndarray, n_final: int, last: bool) -> np.ndarray:
        """Samples of the first n_final frames, refined by fast Griffin-Lim together with the rest, which follows again.

        Overlapping frames are added in rows of one hop: frame t covers rows t to t + n_shared, and row 0 begins half a
        window before the centre of frame 0.
        """
        first, hop = self._n_blocks == 0, self._hop
        weights = _row_weights(len(magnitude), len(self._overlap), hop, first, last)
        spectrum, previous = self._initial(magnitude), None
        for _ in range(self._n_iterations):
            rows = _overlap_add(spectrum, self._overlap) * weights
            # The transform is linear: momentum on samples equals momentum on spectra, on a quarter of the numbers.
            moved = rows if previous is None else rows + MOMENTUM * (rows - previous)
            previous = rows
            frames = sliding_window_view(moved.reshape(-1), N_FFT)[::hop][: len(magnitude)]
            consistent = scipy.fft.rfft(frames * ANALYSIS_WINDOW, axis=1, overwrite_x=True)
            spectrum = consistent * (magnitude / np.maximum(np.abs(consistent), TINY))
        spectrum = spectrum[:n_final]
        rows = _overlap_add(spectrum, self._overlap)
        self._context = magnitude[max(n_final - CONTEXT_FRAMES, 0) : n_final].copy()
        self._context_phase = np.angle(spectrum[-CONTEXT_FRAMES:] * SIGNS)
        self._overlap = rows[n_final:].copy()
        self._n_blocks += 1
        n_begin, n_end = SAMPLES_BEFORE_CENTRE * first, n_final * hop + SAMPLES_BEFORE_CENTRE * last
        return (rows * weights[: len(rows)]).reshape(-1)[n_begin:n_end]

    def _initial(self, magnitude: np.ndarray) -> np.ndarray:
        """Spectrum complex64 with these magnitudes (n_frames, N_BINS), its phase continuing the final frames'."""
        fall = 10 ** (-LEVEL_FALLS_DB_PER_S / 20 * len(magnitude) * self._hop / SAMPLE_RATE_HZ)
        self._level = max(self._level * fall, float(magnitude.max()))
        n_context = len(self._context)
        whole = np.concatenate([self._context, magnitude])
        phase = np.random.default_rng([self._seed, self._n_blocks]).random(whole.shape, np.float32)
        phase = (phase - np.float32(0.5)) * np.float32(TWO_PI)
        phase[:n_context] = self._context_phase
        if self._level > 0:
            _integrate(whole, self._level, phase, n_context, self._hop)
        spectrum, signed = np.empty(magnitude.shape, np.complex64), magnitude * SIGNS
        np.multiply(signed, np.cos(phase[n_context:]), out=spectrum.real)
        np.multiply(signed, np.sin(phase[n_context:]), out=spectrum.imag)
        return spectrum


def _integrate(magnitude: np.ndarray, level: float, phase: np.ndarray, n_context: int, hop: int) -> None:
    """Replace random `phase`, radians float32 (n_frames, N_BINS) at the frames' centres, by one that fits `magnitude`.

    The last of the first n_context frames has its phase already, and the others' continues it. level: recent peak
    magnitude. Near-silence keeps its random phase, and so does smooth noise, of which integration makes impulses.
    """
    log_mag = np.log(np.maximum(magnitude, np.float32(TOLERANCE * level * 0.1)))
    quiet = np.float32(np.log(TOLERANCE * level))
    mean_power = uniform_filter1d(np.exp(2 * log_mag), FLAT_BINS, mode="nearest")
    mean_log = uniform_filter1d(2 * log_mag, FLAT_BINS, mode="nearest")
    stays_random = (mean_log >= np.log(mean_power * np.float32(FLATNESS))) | (log_mag <= quiet)
    rank = np.where(stays_random, NO_RANK, (log_mag - quiet) * RANKS_PER_NAT).astype(np.int16)
    rank[: max(n_context - 1, 0)] = NO_RANK
    ranked = np.flatnonzero(rank != NO_RANK)
    loudest_first = ranked[np.argsort(-rank.reshape(-1)[ranked], kind="stable")]
    first = ranked[: np.searchsorted(ranked, n_context * N_BINS)]  # all of them in the last frame of the context
    own_frequency, pull, delay = TWO_PI * hop / N_FFT, hop * N_FFT / GAMMA, GAMMA / (hop * N_FFT)
    over_bins, over_frames = (correlate1d(log_mag, (-0.5, 0, 0.5), axis, mode="nearest") for axis in (1, 0))
    frame_step = pull * over_bins + own_frequency * np.arange(N_BINS)  # radians a hop
    bin_step = -delay * over_frames  # radians a bin
    heads, links = np.full(int(rank.max()) + 1, EMPTY, np.int32), np.empty(rank.size, np.int32)
    order = np.concatenate([first, loudest_first])
    _propagate(rank, heads, links, order, len(first), frame_step, bin_step, phase)


@njit(cache=True, nogil=True)
def _propagate(rank, heads, links, order, n_first, frame_step, bin_step, phase):
    """Set `phase` of every bin with a rank from a neighbour already set, highest rank first.

    Flat indices in `order` are where integration starts with the phase that is there: the n_first together, each of
    the others if nothing has reached it. Instead of a heap there is a linked list of bins for every rank: `heads` holds
    each list's first index, `links` the index after each.
    """
    ranks, (n_frames, n_bins) = rank.reshape(-1), rank.shape
    top = EMPTY
    for i in range(order.size):
        start = order[i]
        own = ranks[start]
        if own == NO_RANK:
            continue
        links[start], heads[own], ranks[start] = heads[own], start, NO_RANK
        top = max(top, own)
        if i < n_first - 1:
            continue
        while top >= 0:
            index = heads[top]
            if index == EMPTY:
                top -= 1
                continue
            heads[top] = links[index]
            t, k = index // n_bins, index % n_bins
            for u, j in ((t + 1, k), (t - 1, k), (t, k + 1), (t, k - 1)):
                if not (0 <= u < n_frames and 0 <= j < n_bins) or rank[u, j] == NO_RANK:
                    continue
                if u != t:
                    step = (u - t) * 0.5 * (frame_step[t, k] + frame_step[u, k])
                else:
                    step = (j - k) * 0.5 * (bin_step[t, k] + bin_step[t, j])
                turned = phase[t, k] + step
                phase[u, j] = turned - TWO_PI * np.rint(turned / TWO_PI)
                own, near = rank[u, j], u * n_bins + j
                links[near], heads[own], rank[u, j] = heads[own], near, NO_RANK
                top = max(top, own)


def _overlap_add(spectrum: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Rows float32 (n_frames + n_shared, hop) of the windowed frames of a spectrum (n_frames, N_BINS).

    overlap: what frames before give to the first rows, (n_shared, hop); the result's last n_shared rows are that for
    the frames which follow.
    """
    n_frames, (n_shared, hop) = len(spectrum), overlap.shape
    frames = scipy.fft.irfft(spectrum, n=N_FFT, axis=1)
    frames *= SYNTHESIS_WINDOW
    rows = np.zeros((n_frames + n_shared, hop), np.float32)
    rows[:n_shared] = overlap
    for i in reversed(range(n_shared + 1)):
        part = frames[:, i * hop : (i + 1) * hop]
        rows[i : i + n_frames, : part.shape[1]] += part
    return rows


@lru_cache(maxsize=16)
def _row_weights(n_frames: int, n_shared: int, hop: int, first: bool, last: bool) -> np.ndarray:
    """What turns rows of overlapping frames into samples: float32 (n_frames + n_shared, hop).

    One over the sum of the squared windows (Griffin & Lim 1984, "Signal estimation from modified short-time Fourier
    transform"), and 0 outside of the song: before the centre of its `first` frame, and n_frames hops later at its end.
    """
    power = np.zeros((n_frames + n_shared, hop), np.float32)
    for i, part in enumerate(np.pad(np.square(WINDOW), (0, (n_shared + 1) * hop - N_FFT)).reshape(-1, hop)):
        power[i * first : i + n_frames] += part
    weights = 1 / np.maximum(power, np.float32(1e-8))
    weights.reshape(-1)[: SAMPLES_BEFORE_CENTRE * first] = 0
    if last:
        weights.reshape(-1)[SAMPLES_BEFORE_CENTRE + n_frames * hop :] = 0
    return weights
