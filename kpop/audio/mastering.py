"""Loudness and limiting of a song that arrives in pieces, by the law of `kpop.audio.loudness`."""

import math
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import firwin, sosfilt

from kpop.audio import loudness as law
from kpop.audio.loudness import BLOCK_CHUNKS, BLOCK_HOP_CHUNKS, CEILING_DB, CHUNK_SAMPLES, OVERSAMPLING, TARGET_LUFS
from kpop.grid import SAMPLE_RATE_HZ, exact_div

FADE_SAMPLES = exact_div(SAMPLE_RATE_HZ * 3, 100)  # at the very end, against a click
PEAK_REACH = 10  # samples on either side that an interpolated one depends on: scipy's resample_poly
LIVE_FADE_SAMPLES = 12 * CHUNK_SAMPLES  # the same, but no more than is always still in hand
BLOCK_SAMPLES = 1024 * CHUNK_SAMPLES
CACHED_SAMPLES = 64 * CHUNK_SAMPLES  # so many at a time stay in the processor's nearest cache
FASTEST_DB_PER_S = 1.0  # the live gain moves slowly enough not to be heard
TRUST_S = 8.0  # after so long, what was measured counts as much as that songs begin at their clip's loudness
CHUNKS_PER_S = exact_div(SAMPLE_RATE_HZ, CHUNK_SAMPLES)
MEMORY_HOPS = 3000  # five minutes: as far back as the live gain hears
EVEN = 0.5 + np.arange(CHUNK_SAMPLES)


class Meter:
    """Powers and true peaks of the chunks of a waveform that arrives in pieces: as of the whole, but for rounding."""

    def __init__(self) -> None:
        self._filter_state = np.zeros((2, 2))
        self._squares = np.zeros(0)
        self._samples = np.zeros(PEAK_REACH, np.float32)  # before the song there is silence

    def push(self, waveform: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Powers and peaks, float64 each, of the chunks that these samples float32 complete.

        Peaks come a little later than powers. The `last` chunk is perhaps not full.
        """
        return self._powers(waveform, last), self.peaks(waveform, last)

    def peaks(self, waveform: np.ndarray, last: bool = False) -> np.ndarray:
        """As push(), for who wants peaks alone."""
        samples = np.concatenate([self._samples, waveform], dtype=np.float32)
        n_samples = len(samples) - (PEAK_REACH if last else 2 * PEAK_REACH)
        n_chunks = -(-n_samples // CHUNK_SAMPLES) if last else n_samples // CHUNK_SAMPLES
        if n_chunks <= 0:
            self._samples = samples
            return np.zeros(0)
        peaks = np.empty(n_chunks)
        after = np.zeros(CHUNK_SAMPLES + PEAK_REACH, np.float32) if last else np.zeros(0, np.float32)
        n_read = min(n_samples, n_chunks * CHUNK_SAMPLES)
        _read_peaks(np.concatenate([samples, after]), _INTERPOLATION, n_read, peaks)
        self._samples = samples[n_chunks * CHUNK_SAMPLES :].copy()
        return peaks

    def _powers(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        squares = self._squares
        if waveform.size:
            waveform = waveform.astype(np.float64)
            weighted, self._filter_state = sosfilt(law._K_WEIGHTING, waveform, zi=self._filter_state)
            squares = np.concatenate([squares, np.square(weighted)])
        n_whole = len(squares) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._squares = squares[n_whole:].copy()
        powers = squares[:n_whole].reshape(-1, CHUNK_SAMPLES).mean(axis=1)
        return np.append(powers, self._squares.mean()) if last and self._squares.size else powers


class SongMaster:
    """Raw pieces of a whole song in, the finished song out: `normalise` after a short fade at the end.

    Beside the song itself it needs little memory, and most of its work is done while the pieces arrive.
    """

    def __init__(self) -> None:
        self._pieces: list[np.ndarray] = []
        self._tail = np.zeros(0, np.float32)  # not measured yet, since it may be what fades
        self._meter, self._measured = Meter(), []

    def push(self, waveform: np.ndarray) -> None:
        """The song's next samples, float32."""
        self._pieces.append(waveform.astype(np.float32))
        tail = np.concatenate([self._tail, self._pieces[-1]])
        n_measured = max(len(tail) - FADE_SAMPLES, 0)
        self._measured.append(self._meter.push(tail[:n_measured]))
        self._tail = tail[n_measured:].copy()

    def finish(self) -> np.ndarray:
        """The song (n_samples,) float32: -14 LUFS, true peak below -1 dBFS, ending in silence without a click.

        ValueError if it holds NaN or infinity.
        """
        faded = self._tail * np.linspace(1, 0, len(self._tail), dtype=np.float32)
        self._measured.append(self._meter.push(faded, last=True))
        powers, peaks = (np.concatenate(values) for values in zip(*self._measured, strict=True))
        if not (np.isfinite(powers).all() and np.isfinite(peaks).all()):
            raise ValueError("the waveform holds NaN or infinity")
        waveform = self._joined()
        waveform[len(waveform) - len(faded) :] = faded
        gain_db = law._gain_to_target_db(peaks, powers, TARGET_LUFS, CEILING_DB)
        peak = _amplify(waveform, law._limiter_gains(peaks, gain_db, CEILING_DB))
        ceiling = 10 ** ((CEILING_DB - law.MARGIN_DB / 5) / 20)
        if peak > ceiling:  # what the margin did not hold
            waveform *= np.float32(ceiling / peak)
        return waveform

    def _joined(self) -> np.ndarray:
        """All pieces in one, each forgotten as soon as it is copied."""
        waveform = np.empty(sum(map(len, self._pieces)), np.float32)
        start = 0
        for i, piece in enumerate(self._pieces):
            waveform[start : start + len(piece)] = piece
            start, self._pieces[i] = start + len(piece), np.zeros(0, np.float32)
        return waveform


def finished_master(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """The finished song (n_samples,) float32 of its raw pieces: see SongMaster."""
    song = SongMaster()
    for piece in pieces:
        song.push(piece)
    return song.finish()


class LiveMaster:
    """Raw pieces of a song in, pieces near -14 LUFS under -1 dBFS out, before anyone knows the whole.

    The gain starts at 0 dB, since a song begins with a clip that is at -14 LUFS, and moves by at most FASTEST_DB_PER_S
    towards what the song so far wants. A limiter with the law of `loudness` follows. How the song is cut into pieces
    makes no difference, and there is no click between them. Samples come out less than 20 ms after they went in.
    """

    def __init__(self) -> None:
        self._meter, self._limiter = Meter(), _Limiter()
        self._raw = np.zeros(0, np.float32)  # samples not given out yet
        self._knot: np.ndarray | None = None  # gain at the centre of the last chunk that is done
        self._gain_db, self._wanted_db, self._n_chunks = 0.0, 0.0, 0
        self._gains_db = np.zeros(0)  # of chunks whose reduction is not known yet
        self._powers = np.zeros(0)  # the same chunks' and later ones', before any gain
        self._limited_powers = np.zeros(0)  # not yet a whole hop
        self._hops: deque[float] = deque(maxlen=MEMORY_HOPS)

    def push(self, waveform: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32 within -1..1 that are ready by now; after the `last` push as many as went in."""
        powers, peaks = self._meter.push(waveform, last)
        self._raw = np.concatenate([self._raw, waveform], dtype=np.float32)
        self._powers = np.concatenate([self._powers, powers])
        gains = [self._chunk_gains(part, False) for part in self._second_by_second(peaks)]
        if last:
            gains.append(self._chunk_gains(np.zeros(0), True))
        ready = self._apply(np.concatenate([*gains, np.zeros(0)]), last)
        if last:
            n_fade = min(len(ready), LIVE_FADE_SAMPLES)
            ready[len(ready) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
        return ready

    def _second_by_second(self, peaks: np.ndarray) -> Iterable[np.ndarray]:
        """The peaks in parts; before each second of the song it is decided where the gain is to go."""
        while len(peaks):
            if self._n_chunks % CHUNKS_PER_S == 0:
                self._wanted_db = self._gain_wanted_db()
            n = CHUNKS_PER_S - self._n_chunks % CHUNKS_PER_S
            self._n_chunks += len(peaks[:n])
            yield peaks[:n]
            peaks = peaks[n:]

    def _gain_wanted_db(self) -> float:
        """What brings the song so far to its target after the limiter; at first, when little is known, nearer to 0."""
        per_block = exact_div(BLOCK_CHUNKS, BLOCK_HOP_CHUNKS)
        if len(self._hops) < per_block:
            return self._wanted_db
        blocks = sliding_window_view(np.array(self._hops), per_block).mean(axis=1)
        measured_lufs = _gated_lufs(blocks)
        if not math.isfinite(measured_lufs):
            return self._wanted_db
        heard_s = len(self._hops) * BLOCK_HOP_CHUNKS * CHUNK_SAMPLES / SAMPLE_RATE_HZ
        most_db = law.MAX_COMPENSATION_DB
        return heard_s / (heard_s + TRUST_S) * min(max(TARGET_LUFS - measured_lufs, -most_db), most_db)

    def _chunk_gains(self, peaks: np.ndarray, last: bool) -> np.ndarray:
        """Linear gains of the chunks that are done, once these peaks are known, too."""
        moves_db = np.arange(1, len(peaks) + 1) * (FASTEST_DB_PER_S * CHUNK_SAMPLES / SAMPLE_RATE_HZ)
        gains_db = self._gain_db + np.clip(self._wanted_db - self._gain_db, -moves_db, moves_db)
        self._gain_db = float(gains_db[-1]) if gains_db.size else self._gain_db
        self._gains_db = np.concatenate([self._gains_db, gains_db])
        ceiling = 10 ** ((CEILING_DB - law.MARGIN_DB - gains_db) / 20)
        reduction_db = self._limiter.push(20 * np.log10(np.maximum(peaks / ceiling, 1.0)), last)
        n = len(reduction_db)
        self._remember(self._powers[:n] * 10 ** (-reduction_db / 10))
        done_db, self._gains_db, self._powers = self._gains_db[:n], self._gains_db[n:], self._powers[n:]
        return 10 ** ((done_db - reduction_db) / 20)

    def _remember(self, limited_powers: np.ndarray) -> None:
        powers = np.concatenate([self._limited_powers, limited_powers])
        n_whole = len(powers) // BLOCK_HOP_CHUNKS * BLOCK_HOP_CHUNKS
        self._hops.extend(powers[:n_whole].reshape(-1, BLOCK_HOP_CHUNKS).mean(axis=1))
        self._limited_powers = powers[n_whole:]

    def _apply(self, gains: np.ndarray, last: bool) -> np.ndarray:
        if not gains.size and not last:
            return np.zeros(0, np.float32)
        first = self._knot is None
        knots = np.concatenate([gains[:1] if first else self._knot, gains])
        self._knot = knots[-1:]
        if last:
            knots = np.append(knots, knots[-1:])
        ramp = _ramp(knots)[exact_div(CHUNK_SAMPLES, 2) * first :][: len(self._raw)]
        ready, self._raw = self._raw[: len(ramp)] * ramp, self._raw[len(ramp) :].copy()
        return np.clip(ready, -1, 1)


class _Limiter:
    """Smooth reduction in dB by the law of `loudness`, of chunks that arrive bit by bit; some milliseconds late."""

    def __init__(self) -> None:
        boxes = [law.LOOK_AHEAD_CHUNKS + 1] * 2
        self._hold = _Sliding(2 * (law.LOOK_AHEAD_CHUNKS + 1) + 1, np.max)
        self._boxes = [_Sliding(size, np.mean) for size in boxes]
        self._released_db = 0.0

    def push(self, too_loud_db: np.ndarray, last: bool) -> np.ndarray:
        """What the next chunks are too loud by -> the reduction, never less, of those that are done."""
        held_db = self._hold.push(too_loud_db, last)
        tilt_db = np.arange(1, held_db.size + 1) * law.RELEASE_DB_PER_CHUNK
        reduction_db = np.maximum(np.maximum.accumulate(held_db + tilt_db), self._released_db) - tilt_db
        self._released_db = float(reduction_db[-1]) if reduction_db.size else self._released_db
        for box in self._boxes:
            reduction_db = box.push(reduction_db, last)
        return reduction_db


class _Sliding:
    """A measure over a centred window of `size`, odd; beyond both ends values are as the first and the last one."""

    def __init__(self, size: int, measure: Callable) -> None:
        self._size, self._measure = size, measure
        self._values: np.ndarray | None = None

    def push(self, values: np.ndarray, last: bool) -> np.ndarray:
        if self._values is None:
            if not values.size:
                return values
            self._values = np.repeat(values[:1], self._size // 2)
        values = np.concatenate([self._values, values])
        if last:
            values = np.append(values, np.repeat(values[-1:], self._size // 2))
        n_done = max(len(values) - self._size + 1, 0)
        self._values = values[n_done:].copy()
        return self._measure(sliding_window_view(values, n_done), axis=0) if n_done else np.zeros(0)


def _gated_lufs(blocks: np.ndarray) -> float:
    """Loudness of the powers of 400 ms blocks (BS.1770-4)."""
    blocks = blocks[blocks > law._power_of(law.ABSOLUTE_GATE_LUFS)]
    if not blocks.size:
        return -math.inf
    blocks = blocks[blocks > blocks.mean() * 10 ** (law.RELATIVE_GATE_LU / 10)]
    return float(law.POWER_TO_LUFS_DB + 10 * np.log10(blocks.mean()))


def _amplify(waveform: np.ndarray, gains: np.ndarray) -> float:
    """Multiply, in place, by gains at the chunks' centres and straight lines between; returns the true peak after."""
    knots, meter, peak = np.concatenate([gains[:1], gains, gains[-1:]]), Meter(), 0.0
    for start in range(0, len(waveform), BLOCK_SAMPLES):
        block = waveform[start : start + BLOCK_SAMPLES]
        first, n_chunks = start // CHUNK_SAMPLES, -(-len(block) // CHUNK_SAMPLES)
        block *= _ramp(knots[first : first + n_chunks + 2])[exact_div(CHUNK_SAMPLES, 2) :][: len(block)]
        peak = max(peak, meter.peaks(block, last=start + len(block) == len(waveform)).max(initial=0.0))
    return peak


def _ramp(knots: np.ndarray) -> np.ndarray:
    """Straight lines from each chunk's centre to the next one's: float32 ((n_knots - 1) * CHUNK_SAMPLES,)."""
    shares = EVEN / CHUNK_SAMPLES
    return (knots[:-1, None] + np.diff(knots)[:, None] * shares).astype(np.float32).reshape(-1)


def _interpolation() -> np.ndarray:
    """What scipy.signal.resample_poly weighs neighbours with, float32 (OVERSAMPLING, 2 * PEAK_REACH + 1)."""
    n_taps = 2 * PEAK_REACH * OVERSAMPLING + 1
    taps = np.zeros(n_taps + OVERSAMPLING)
    taps[:n_taps] = firwin(n_taps, 1 / OVERSAMPLING, window=("kaiser", 5.0)) * OVERSAMPLING
    places = np.arange(OVERSAMPLING)[:, None] + OVERSAMPLING * np.arange(2 * PEAK_REACH, -1, -1)
    return taps[places].astype(np.float32)


@njit(cache=True, nogil=True, fastmath=True)
def _read_peaks(samples, weights, n_samples, peaks):
    """Largest absolute value in each chunk of the interpolated samples, the first of which is samples[PEAK_REACH]."""
    fine, loudest = np.empty(CACHED_SAMPLES, np.float32), np.empty(CACHED_SAMPLES, np.float32)
    for start in range(0, n_samples, CACHED_SAMPLES):
        n = min(CACHED_SAMPLES, n_samples - start)
        loudest[:] = 0
        for phase in range(weights.shape[0]):
            fine[:] = 0
            for j in range(weights.shape[1]):
                weight, near = weights[phase, j], samples[start + j : start + j + n]
                for i in range(n):
                    fine[i] += weight * near[i]
            for i in range(n):
                loudest[i] = max(loudest[i], abs(fine[i]))
        for first in range(0, n, CHUNK_SAMPLES):
            peaks[(start + first) // CHUNK_SAMPLES] = loudest[first : min(first + CHUNK_SAMPLES, n)].max()


_INTERPOLATION = _interpolation()
