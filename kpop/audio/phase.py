"""Magnitudes to sound: a phase is made up that fits them.

First guess by phase-gradient heap integration (Prusa, Balazs & Sondergaard 2017, "A noniterative method for
reconstruction of phase from STFT magnitude"), then fast Griffin-Lim.

Fast Griffin-Lim (Perraudin, Balazs & Sondergaard 2013, "A fast Griffin-Lim algorithm") over a stretch of frames.

Frames lie on rows of one hop of samples: frame t covers rows t to t + shared_rows(hop), and row 0 begins half a window
before the centre of frame 0. What earlier frames give to the first rows is fixed, so that a song can
be done stretch by stretch. The hop is the width of the rows that are given.

Magnitudes to sound while they arrive: `reconstruct`, stretch by stretch.

After Prusa & Sondergaard (2016, "Real-time spectrogram inversion using phase gradient heap integration"): phases that
are given out stay, and heap integration goes on from them. Griffin-Lim then polishes what is new, beside what stays.
"""

import numpy as np
import scipy.fft
from numba import njit

from kpop.audio.stft import ANALYSIS_WINDOW, WINDOW, frame_count, log_mel_db, stft
from kpop.constants import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE_HZ, exact_div

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


LEVEL_FALLS_DB_PER_S = 3.0  # what is faint beside the loudest moment of late is left to chance
KNOWN_FRAMES = 2  # heap integration starts from the last one, whose gradient needs the one before
PICTURE_FRAMES = 512
HOPS_BEFORE_CENTRE = exact_div(SAMPLES_BEFORE_CENTRE, HOP_LENGTH)


class StreamingPhase:
    """Magnitudes in, waveform out, in pieces; working memory depends on the largest piece alone.

    seed: for the phases left to chance. n_iterations: of Griffin-Lim for every piece, 0 or more. hop: samples between
    frames. The same seed and the same pieces give the same bytes.
    """

    LOOK_AHEAD_FRAMES = 4  # polished with the frames before them, but done again once more is known

    def __init__(self, seed: int, n_iterations: int, hop: int = HOP_LENGTH) -> None:
        self._seed, self._n_iterations, self._hop = seed, n_iterations, hop
        self._n_stretches, self._level = 0, 0.0
        self._known = np.zeros((0, N_BINS), np.float32)
        self._known_phase = np.zeros(N_BINS, np.float32)
        self._pending = np.zeros((0, N_BINS), np.float32)
        self._before = np.zeros((shared_rows(hop), hop), np.float32)

    def push(self, magnitude: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32 that are settled once these magnitudes (n_frames, N_BINS) are known, too; perhaps none.

        Over all pushes, of which one is the `last`, one hop of samples a frame. ValueError for magnitudes that are not
        finite or negative.
        """
        pending = np.concatenate([self._pending, checked(magnitude)])
        self._pending = pending
        n_fixed = len(pending) if last else len(pending) - self.LOOK_AHEAD_FRAMES
        if n_fixed <= (0 if last else len(self._before)):
            return np.zeros(0, np.float32)
        first, hop = self._n_stretches == 0, self._hop
        weights = row_weights(len(pending), first, len(pending) * hop if last else None, hop)
        spectrum = self._first_guess(pending)
        approach(spectrum, pending, self._before, weights, self._n_iterations)
        rows = overlapped(spectrum[:n_fixed], self._before)
        self._fix(spectrum[:n_fixed], rows)
        given = slice(SAMPLES_BEFORE_CENTRE * first, n_fixed * hop + SAMPLES_BEFORE_CENTRE * last)
        return rows.reshape(-1)[given] * weights.reshape(-1)[given]

    def _first_guess(self, pending: np.ndarray) -> np.ndarray:
        """Spectrum of the pending magnitudes by heap integration from the frames that are fixed."""
        fall = 10 ** (-LEVEL_FALLS_DB_PER_S / 20 * len(pending) * self._hop / SAMPLE_RATE_HZ)
        self._level = max(self._level * fall, float(pending.max()))
        magnitude = np.concatenate([self._known, pending])
        phase = random_phase(magnitude.shape, np.random.default_rng([self._seed, self._n_stretches]))
        n_known = len(self._known)
        phase[n_known - 1 : n_known] = self._known_phase
        integrate(magnitude, self._level, phase, n_known, self._hop)
        return with_phase(pending, phase[n_known:])

    def _fix(self, spectrum: np.ndarray, rows: np.ndarray) -> None:
        """The frames of `spectrum`, with their rows, are never touched again."""
        n_fixed = len(spectrum)
        self._known = self._pending[max(n_fixed - KNOWN_FRAMES, 0) : n_fixed].copy()
        self._known_phase = phase_of(spectrum[-1:])
        self._pending = self._pending[n_fixed:].copy()
        self._before = rows[n_fixed:].copy()
        self._n_stretches += 1


def picture_db(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """`log_mel_db` of a waveform (n_samples,), float32 (n_frames, n_mels), without its whole spectrum in memory."""
    picture = np.empty((frame_count(waveform.size), n_mels), np.float32)
    for start in range(0, len(picture), PICTURE_FRAMES):
        stop = min(start + PICTURE_FRAMES, len(picture))
        begin = max(start - HOPS_BEFORE_CENTRE, 0)
        spectrum = stft(waveform[begin * HOP_LENGTH : (stop - 1 + HOPS_BEFORE_CENTRE) * HOP_LENGTH])
        picture[start:stop] = log_mel_db(np.abs(spectrum[start - begin :][: stop - start]), n_mels)
    return picture
