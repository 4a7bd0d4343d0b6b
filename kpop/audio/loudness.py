"""Loudness and true peak (ITU-R BS.1770-4), and the limiter that brings a song to its level.

Loudness and limiting of a song that arrives in pieces, by the law of `kpop.audio.loudness`.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import firwin, resample_poly, sosfilt

from kpop.constants import SAMPLE_RATE_HZ, exact_div

TARGET_LUFS = -14.0
CEILING_DB = -1.0

# The analogue prototype behind the standard's 48 kHz coefficients, recovered by De Man (2014), "Evaluation of
# implementations of the EBU R128 loudness measurement": a shelf for the head, a high-pass for the ear.
SHELF_HZ, SHELF_Q = 1681.974450955533, 0.7071752369554196
SHELF_GAIN_DB, SHELF_MIDDLE = 3.999843853973347, 0.4996667741545416
HIGH_PASS_HZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773

CHUNK_SAMPLES = exact_div(SAMPLE_RATE_HZ, 1000)  # powers and peaks are kept once a millisecond
BLOCK_CHUNKS = 400  # 400 ms
BLOCK_HOP_CHUNKS = 100  # blocks overlap by 75 %
POWER_TO_LUFS_DB = -0.691  # makes a 997 Hz sine at full scale read -3.01 LUFS
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0

OVERSAMPLING = 4
LOOK_AHEAD_CHUNKS = 6  # slow enough not to click
RELEASE_DB_PER_CHUNK = 0.05  # 50 dB/s: slow enough not to follow the waveform of a bass note
MARGIN_DB = 0.05  # interpolating and then limiting is not quite limiting and then interpolating
MAX_PASSES = 12
CLOSE_ENOUGH_LU = 0.02
MAX_COMPENSATION_DB = 9.0  # beyond this the limiter would be heard: rather stay too quiet


def integrated_loudness(waveform: np.ndarray) -> float:
    """Gated loudness in LUFS of a mono waveform (n_samples,) at 16 kHz; -inf for silence (everything under -70 LUFS).

    BS.1770-4: K-weighting, 400 ms blocks, gates at -70 LUFS and at 10 LU under the mean. A waveform shorter than one
    block is measured as one block. ValueError for anything not one-dimensional and finite.
    """
    return _gated_loudness(_chunk_powers(_checked(waveform)))


def true_peak_db(waveform: np.ndarray) -> float:
    """Largest absolute value in dB relative to full scale, read at four times the rate; -inf for silence."""
    waveform = _checked(waveform)
    peak = float(np.max(_chunk_peaks(waveform), initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def normalise(waveform: np.ndarray, target_lufs: float = TARGET_LUFS, ceiling_db: float = CEILING_DB) -> np.ndarray:
    """Copy of a mono waveform (n_samples,), float32, at `target_lufs` with its true peak under `ceiling_db`.

    One gain for the whole, then a look-ahead limiter; since limiting costs loudness, both are repeated. Within 1 LU
    of the target unless that takes more than 9 dB of limiting. Silence stays silent. ValueError for NaN or infinity.
    """
    waveform = _checked(waveform).astype(np.float32)
    peaks, powers = _chunk_peaks(waveform), _chunk_powers(waveform)
    gain_db = _gain_to_target_db(peaks, powers, target_lufs, ceiling_db)
    waveform = waveform * _per_sample(_limiter_gains(peaks, gain_db, ceiling_db), waveform.size)
    # What the margin did not hold is a few hundredths of a decibel: take it off the whole, which cannot click.
    excess_db = true_peak_db(waveform) - (ceiling_db - MARGIN_DB / 5)
    return waveform if excess_db <= 0 else waveform * np.float32(10 ** (-excess_db / 20))


def _gain_to_target_db(peaks: np.ndarray, powers: np.ndarray, target_lufs: float, ceiling_db: float) -> float:
    """Gain in dB before the limiter that gives the target after it; 0 for silence.

    The limiter's gain moves slowly beside the waveform, so its effect on loudness is read off the chunks' powers.
    """
    loudness = _gated_loudness(powers)
    if not math.isfinite(loudness):
        return 0.0
    gain_db = target_lufs - loudness
    most_db = gain_db + MAX_COMPENSATION_DB
    for _ in range(MAX_PASSES):
        gains = _limiter_gains(peaks, gain_db, ceiling_db)
        missing_lu = target_lufs - _gated_loudness(powers * gains.astype(np.float64) ** 2)
        if missing_lu < CLOSE_ENOUGH_LU:
            break
        # A limited signal answers a gain by less than that gain, hence the longer stride.
        gain_db = min(gain_db + 1.3 * missing_lu, most_db)
    return gain_db


def _limiter_gains(peaks: np.ndarray, gain_db: float, ceiling_db: float) -> np.ndarray:
    """Linear gains (n_chunks,), `gain_db` times a smooth reduction that keeps the peaks under the ceiling."""
    ceiling = 10 ** ((ceiling_db - MARGIN_DB - gain_db) / 20)
    reduction_db = _smooth_reduction_db(20 * np.log10(np.maximum(peaks / ceiling, 1.0)))
    return 10 ** ((gain_db - reduction_db) / 20)


def _smooth_reduction_db(too_loud_db: np.ndarray) -> np.ndarray:
    """Reduction never less than asked: it is there before the peak (look-ahead) and goes away slowly after."""
    # One chunk more than the boxes below reach, because samples lie between the chunks' centres.
    held_db = maximum_filter1d(too_loud_db, 2 * (LOOK_AHEAD_CHUNKS + 1) + 1)
    # A line that falls from every peak: the running maximum after tilting time upwards by the same slope.
    tilt_db = np.arange(held_db.size) * RELEASE_DB_PER_CHUNK
    held_db = np.maximum.accumulate(held_db + tilt_db) - tilt_db
    for _ in range(2):
        held_db = uniform_filter1d(np.maximum(held_db, 0.0), LOOK_AHEAD_CHUNKS + 1, mode="nearest")
    return held_db


def _per_sample(chunk_values: np.ndarray, n_samples: int) -> np.ndarray:
    """Straight lines between the chunks' centres: (n_chunks,) to float32 (n_samples,)."""
    centres = (np.arange(chunk_values.size) + 0.5) * CHUNK_SAMPLES - 0.5
    return np.interp(np.arange(n_samples), centres, chunk_values).astype(np.float32) if n_samples else np.zeros(0, "f4")


def _chunk_peaks(waveform: np.ndarray) -> np.ndarray:
    """Largest absolute value (n_chunks,) of the interpolated waveform in each chunk, the last one perhaps not full."""
    fine = resample_poly(waveform.astype(np.float32), OVERSAMPLING, 1) if waveform.size else np.zeros(0, np.float32)
    padded = np.zeros(-(-fine.size // (CHUNK_SAMPLES * OVERSAMPLING)) * CHUNK_SAMPLES * OVERSAMPLING, np.float32)
    np.abs(fine, out=padded[: fine.size])
    return padded.reshape(-1, CHUNK_SAMPLES * OVERSAMPLING).max(axis=1).astype(np.float64)


def _chunk_powers(waveform: np.ndarray) -> np.ndarray:
    """Mean square (n_chunks,) of the K-weighted waveform in each chunk, the last one perhaps not full."""
    if not waveform.size:
        return np.zeros(0)
    squares = sosfilt(_K_WEIGHTING, waveform.astype(np.float64)) ** 2
    starts = np.arange(0, squares.size, CHUNK_SAMPLES)
    return np.add.reduceat(squares, starts) / np.minimum(CHUNK_SAMPLES, squares.size - starts)


def _gated_loudness(chunk_powers: np.ndarray) -> float:
    powers = _block_powers(chunk_powers)
    powers = powers[powers > _power_of(ABSOLUTE_GATE_LUFS)]
    if not powers.size:
        return -math.inf
    gate = powers.mean() * 10 ** (RELATIVE_GATE_LU / 10)
    return float(POWER_TO_LUFS_DB + 10 * np.log10(powers[powers > gate].mean()))


def _block_powers(chunk_powers: np.ndarray) -> np.ndarray:
    """Mean squares (n_blocks,) of the overlapping 400 ms blocks; what does not fill a block is left out."""
    if chunk_powers.size < BLOCK_CHUNKS:
        return chunk_powers.mean(keepdims=True) if chunk_powers.size else chunk_powers
    n_hops = chunk_powers.size // BLOCK_HOP_CHUNKS
    quarters = chunk_powers[: n_hops * BLOCK_HOP_CHUNKS].reshape(n_hops, -1).mean(axis=1)
    return sliding_window_view(quarters, exact_div(BLOCK_CHUNKS, BLOCK_HOP_CHUNKS)).mean(axis=1)


def _k_weighting() -> np.ndarray:
    """Second-order sections (2, 6) at our rate, by bilinear transform with each corner frequency kept in place."""
    top, middle = 10 ** (SHELF_GAIN_DB / 20), 10 ** (SHELF_GAIN_DB / 20 * SHELF_MIDDLE)
    shelf = _second_order(SHELF_HZ, SHELF_Q, (top, middle, 1.0))
    high_pass = _second_order(HIGH_PASS_HZ, HIGH_PASS_Q, (1.0, 0.0, 0.0))
    # The standard leaves the high-pass's numerator at 1, -2, 1, which is a little more than unit gain.
    high_pass[:3] = 1.0, -2.0, 1.0
    return np.stack([shelf, high_pass])


def _second_order(corner_hz: float, q: float, gains: tuple[float, float, float]) -> np.ndarray:
    """Section (6,) of (high s^2 + band s/Q + low) / (s^2 + s/Q + 1), s in units of the corner frequency."""
    high, band, low = gains
    k = math.tan(math.pi * corner_hz / SAMPLE_RATE_HZ)
    numerator = [high + band * k / q + low * k * k, 2 * (low * k * k - high), high - band * k / q + low * k * k]
    denominator = [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    return np.array(numerator + denominator) / denominator[0]


def _power_of(lufs: float) -> float:
    return 10 ** ((lufs - POWER_TO_LUFS_DB) / 10)


def _checked(waveform: np.ndarray) -> np.ndarray:
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise ValueError(f"a mono waveform has one axis, this one has shape {waveform.shape}")
    if not np.isfinite(waveform).all():
        raise ValueError("the waveform holds NaN or infinity")
    return waveform


_K_WEIGHTING = _k_weighting()


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
            weighted, self._filter_state = sosfilt(_K_WEIGHTING, waveform, zi=self._filter_state)
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
        gain_db = _gain_to_target_db(peaks, powers, TARGET_LUFS, CEILING_DB)
        peak = _amplify(waveform, _limiter_gains(peaks, gain_db, CEILING_DB))
        ceiling = 10 ** ((CEILING_DB - MARGIN_DB / 5) / 20)
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
        most_db = MAX_COMPENSATION_DB
        return heard_s / (heard_s + TRUST_S) * min(max(TARGET_LUFS - measured_lufs, -most_db), most_db)

    def _chunk_gains(self, peaks: np.ndarray, last: bool) -> np.ndarray:
        """Linear gains of the chunks that are done, once these peaks are known, too."""
        moves_db = np.arange(1, len(peaks) + 1) * (FASTEST_DB_PER_S * CHUNK_SAMPLES / SAMPLE_RATE_HZ)
        gains_db = self._gain_db + np.clip(self._wanted_db - self._gain_db, -moves_db, moves_db)
        self._gain_db = float(gains_db[-1]) if gains_db.size else self._gain_db
        self._gains_db = np.concatenate([self._gains_db, gains_db])
        ceiling = 10 ** ((CEILING_DB - MARGIN_DB - gains_db) / 20)
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
        boxes = [LOOK_AHEAD_CHUNKS + 1] * 2
        self._hold = _Sliding(2 * (LOOK_AHEAD_CHUNKS + 1) + 1, np.max)
        self._boxes = [_Sliding(size, np.mean) for size in boxes]
        self._released_db = 0.0

    def push(self, too_loud_db: np.ndarray, last: bool) -> np.ndarray:
        """What the next chunks are too loud by -> the reduction, never less, of those that are done."""
        held_db = self._hold.push(too_loud_db, last)
        tilt_db = np.arange(1, held_db.size + 1) * RELEASE_DB_PER_CHUNK
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
    blocks = blocks[blocks > _power_of(ABSOLUTE_GATE_LUFS)]
    if not blocks.size:
        return -math.inf
    blocks = blocks[blocks > blocks.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
    return float(POWER_TO_LUFS_DB + 10 * np.log10(blocks.mean()))


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
