"""Loudness and true peak (ITU-R BS.1770-4), and the limiter that brings a song to -14 LUFS under -1 dBFS.

Powers and peaks are measured, and gains decided, in chunks of one millisecond.
"""

import math

import numpy as np
from scipy.ndimage import correlate1d, maximum_filter1d
from scipy.signal import bilinear, firwin, sosfilt, upfirdn

from kpop.constants import SAMPLE_RATE_HZ, exact_div

TARGET_LUFS = -14.0
CEILING_DB = -1.0
SONG_CEILING_DB = -1.15  # of streamed songs: meters that oversample more often than the standard's four times read more

# The analogue prototype behind the standard's 48 kHz coefficients, recovered by De Man (2014), "Evaluation of
# implementations of the EBU R128 loudness measurement": a shelf for the head, a high-pass for the ear.
SHELF_HZ, SHELF_Q = 1681.974450955533, 0.7071752369554196
SHELF_GAIN_DB, SHELF_MIDDLE = 3.999843853973347, 0.4996667741545416
HIGH_PASS_HZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
POWER_TO_LUFS_DB = -0.691  # makes a 997 Hz sine at full scale read -3.01 LUFS
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0

CHUNK_SAMPLES = exact_div(SAMPLE_RATE_HZ, 1000)
HALF_CHUNK = exact_div(CHUNK_SAMPLES, 2)
CHUNKS_PER_HOP, HOPS_PER_BLOCK = 100, 4  # gating blocks of 400 ms that overlap by 75 %
OVERSAMPLING = 4
FILTER_REACH = 10  # input samples on either side that an interpolated one depends on
_FILTER = firwin(2 * FILTER_REACH * OVERSAMPLING + 1, 1 / OVERSAMPLING, window=("kaiser", 5.0))  # as resample_poly's
INTERPOLATION = (_FILTER * OVERSAMPLING).astype(np.float32)

LOOK_AHEAD_CHUNKS = 6  # slow enough not to click
SMOOTHING = np.convolve(np.ones(LOOK_AHEAD_CHUNKS + 1), np.ones(LOOK_AHEAD_CHUNKS + 1)) / (LOOK_AHEAD_CHUNKS + 1) ** 2
HOLD_CHUNKS = LOOK_AHEAD_CHUNKS + 1  # one more than the smoothing needs: samples lie between the chunks' centres
DELAY_CHUNKS = LOOK_AHEAD_CHUNKS + HOLD_CHUNKS
GRID_DB = 2.0**-40  # sums of its multiples are exact, so that it makes no difference where a song is cut
RELEASE_DB_PER_CHUNK = round(0.05 / GRID_DB) * GRID_DB  # 50 dB/s: too slow to follow the waveform of a bass note
MARGIN_DB = 0.05  # interpolating and then limiting is not quite limiting and then interpolating
MAX_PASSES, CLOSE_ENOUGH_LU = 12, 0.02  # as close as it matters for a whole; less will do for a gain that moves on
MAX_COMPENSATION_DB = 9.0  # beyond this the limiter would be heard: rather stay too quiet

FADE_SAMPLES = exact_div(SAMPLE_RATE_HZ * 3, 100)  # at the very end, against a click
OPENING_SHARE, MAX_OPENING_DB = 0.5, 6.0  # most songs grow louder after their first second
SLOW_DB_PER_CHUNK, MAX_SLOW_DB = 0.001, 15.0  # 1 dB/s: too slow to be heard as a movement
CHUNKS_PER_DECISION, RECENT_CHUNKS = 500, 5_000
HISTORY_CHUNKS, CATCH_UP_CHUNKS = 30_000, 8_000  # what the first are too loud or quiet by, the second make up for
MAX_CATCH_UP = 2.0  # factor of power


def _k_weighting() -> np.ndarray:
    """Second-order sections (2, 6) at our rate, of (high s^2 + band s/Q + low) / (s^2 + s/Q + 1), s in units of the
    corner frequency."""
    top, sections = 10 ** (SHELF_GAIN_DB / 20), []
    shelf_gains, high_pass_gains = (top, top**SHELF_MIDDLE, 1.0), (1.0, 0.0, 0.0)
    for hz, q, gains in ((SHELF_HZ, SHELF_Q, shelf_gains), (HIGH_PASS_HZ, HIGH_PASS_Q, high_pass_gains)):
        w = 2 * SAMPLE_RATE_HZ * math.tan(math.pi * hz / SAMPLE_RATE_HZ)
        scale = np.array([1, w / q, w * w])
        sections.append(np.concatenate(bilinear(gains * scale, scale, SAMPLE_RATE_HZ)))
    sections[1][:3] = 1.0, -2.0, 1.0  # the standard's numerator, a little more than unit gain
    return np.stack(sections)


K_WEIGHTING = _k_weighting()


def integrated_loudness(waveform: np.ndarray) -> float:
    """Gated loudness in LUFS of a mono waveform (n_samples,) at 16 kHz; -inf for silence (everything under -70 LUFS).

    BS.1770-4: K-weighting, 400 ms blocks, gates at -70 LUFS and at 10 LU under the mean. A waveform shorter than one
    block is measured as one block. ValueError for anything not one-dimensional and finite.
    """
    return _loudness(_Meter().powers(_checked(waveform), last=True))


def true_peak_db(waveform: np.ndarray) -> float:
    """Largest absolute value in dBFS of a waveform (n_samples,), read at four times the rate; -inf for silence."""
    peak = float(np.max(_Meter().peaks(_checked(waveform), last=True), initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def normalise(waveform: np.ndarray, target_lufs: float = TARGET_LUFS, ceiling_db: float = CEILING_DB) -> np.ndarray:
    """Copy of a mono waveform (n_samples,), float32, at `target_lufs` with its true peak under `ceiling_db`.

    One gain for the whole, then a look-ahead limiter; since limiting costs loudness, both are repeated. Within 1 LU
    of the target unless that takes more than 9 dB of limiting. Silence stays silent. ValueError for NaN or infinity.
    """
    waveform = _checked(waveform)
    if not waveform.size:
        return waveform
    peaks, powers = _Meter().peaks(waveform, last=True), _Meter().powers(waveform, last=True)
    gains = _limiter_gains(peaks, _gain_to_target_db(peaks, powers, target_lufs, ceiling_db), ceiling_db)
    ramp = _ramp(np.concatenate([gains[:1], gains, gains[-1:]]))[HALF_CHUNK:]
    waveform = waveform * ramp[: waveform.size]
    # What the margin did not hold is a few hundredths of a decibel: take it off the whole, which cannot click.
    excess_db = true_peak_db(waveform) - (ceiling_db - MARGIN_DB / 5)
    return waveform if excess_db <= 0 else waveform * np.float32(10 ** (-excess_db / 20))


def _gain_to_target_db(
    peaks: np.ndarray, powers: np.ndarray, target_lufs: float, ceiling_db: float, close_lu: float = CLOSE_ENOUGH_LU
) -> float:
    """Gain in dB before the limiter that gives the target after it; 0 for silence.

    The limiter's gain moves slowly beside the waveform, so its effect on loudness is read off the chunks' powers.
    """
    loudness = _loudness(powers)
    if not math.isfinite(loudness):
        return 0.0
    gain_db = target_lufs - loudness
    max_db = gain_db + MAX_COMPENSATION_DB
    for _ in range(MAX_PASSES):
        gains = _limiter_gains(peaks, gain_db, ceiling_db)
        missing_lu = target_lufs - _loudness(powers * gains**2)
        if missing_lu < close_lu:
            break
        gain_db = min(gain_db + 1.3 * missing_lu, max_db)  # 1.3: a limited signal gains less than its gain
    return gain_db


def _limiter_gains(peaks: np.ndarray, gain_db: float, ceiling_db: float) -> np.ndarray:
    """Linear gains (n_chunks,) float64: `gain_db` less the limiter's reduction."""
    return 10 ** ((gain_db - _Reduction().push(_excess_db(peaks, gain_db, ceiling_db), last=True)) / 20)


def _excess_db(peaks: np.ndarray, gain_db: float | np.ndarray, ceiling_db: float) -> np.ndarray:
    """How far the chunks' peaks are over the ceiling after the gain."""
    return 20 * np.log10(np.maximum(peaks / 10 ** ((ceiling_db - MARGIN_DB - gain_db) / 20), 1.0))


def opening_gain_db(waveform: np.ndarray) -> float:
    """Slow gain at the start of a song that begins with this waveform (n_samples,)."""
    peaks, powers = _Meter().peaks(waveform, last=True), _Meter().powers(waveform, last=True)
    gain_db = OPENING_SHARE * _gain_to_target_db(peaks, powers, TARGET_LUFS, SONG_CEILING_DB)
    return float(np.clip(gain_db, -MAX_OPENING_DB, MAX_OPENING_DB))


class StreamingLimiter:
    """A song's samples in, the song near -14 LUFS with its true peak under -1 dBFS out, in pieces, 45 ms later.

    A slow gain moves by at most 1 dB/s towards what `normalise` would give the last five seconds, corrected by what the
    last thirty were too loud or too quiet by; gain_db: where it starts. The limiter of `normalise` follows. The end is
    faded out. The same bytes however the song is cut into pieces.
    """

    def __init__(self, gain_db: float = 0.0) -> None:
        self._meter, self._reduction = _Meter(), _Reduction()
        self._tail = np.zeros(0, np.float32)  # what is faded if the song ends here
        self._samples = np.zeros(0, np.float32)  # whose gain is not final
        self._powers = np.zeros(0)  # of chunks whose peaks are not known
        self._recent = np.zeros((2, 0))  # peaks and powers of chunks, before any gain
        self._pending = np.zeros((2, 0))  # powers and slow gains of chunks whose reduction is not final
        self._final_powers = np.zeros(0)  # of chunks after all gains
        self._last_gain = np.zeros(0)  # of the last final chunk
        self._n_chunks, self._slow_db, self._target_db = 0, gain_db, gain_db  # slow gain at a decision, and its aim

    def push(self, waveform: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32 within -1..1 that are final by now; after the `last` push as many as went in."""
        samples = np.concatenate([self._tail, waveform], dtype=np.float32)
        n_fade = min(len(samples), FADE_SAMPLES)
        if last:
            samples[len(samples) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
        samples, self._tail = np.split(samples, [len(samples) - n_fade * (not last)])
        self._samples = np.concatenate([self._samples, samples])
        self._powers = np.concatenate([self._powers, self._meter.powers(samples, last)])
        gains, is_first = self._gains(self._meter.peaks(samples, last), last), not self._last_gain.size
        knots = np.concatenate([gains[:1] if is_first else self._last_gain, gains])
        self._last_gain = knots[-1:]
        ramp = _ramp(np.append(knots, knots[-1:]) if last else knots)[HALF_CHUNK * is_first :]
        final, self._samples = np.split(self._samples, [min(len(ramp), len(self._samples))])
        return final * ramp[: len(final)]

    def _gains(self, peaks: np.ndarray, last: bool) -> np.ndarray:
        """Linear gains of the chunks that are final once these peaks are known."""
        gains = [np.zeros(0)]
        while len(peaks):
            n_since = self._n_chunks % CHUNKS_PER_DECISION
            if n_since == 0:
                self._slow_db, self._target_db = float(self._slow_gain_db(CHUNKS_PER_DECISION)), self._decided_db()
            part, peaks = np.split(peaks, [CHUNKS_PER_DECISION - n_since])
            powers, self._powers = np.split(self._powers, [len(part)])
            self._recent = np.concatenate([self._recent, [part, powers]], axis=1)[:, -RECENT_CHUNKS:]
            slow_gains_db = self._slow_gain_db(n_since + np.arange(1, len(part) + 1))
            self._pending = np.concatenate([self._pending, [powers, slow_gains_db]], axis=1)
            gains.append(self._final_gains(_excess_db(part, slow_gains_db, SONG_CEILING_DB), last=False))
            self._n_chunks += len(part)
        return np.concatenate([*gains, self._final_gains(peaks, last=True)] if last else gains)

    def _slow_gain_db(self, n_since: int | np.ndarray) -> np.ndarray:
        """So many chunks after the last decision."""
        limit_db = SLOW_DB_PER_CHUNK * n_since
        return self._slow_db + np.clip(self._target_db - self._slow_db, -limit_db, limit_db)

    def _decided_db(self) -> float:
        """Where the slow gain is to go, by the chunks so far."""
        self._final_powers = self._final_powers[-HISTORY_CHUNKS:]
        loudness = _loudness(self._final_powers)
        if not math.isfinite(loudness):
            return self._target_db
        too_little = 1 - 10 ** ((loudness - TARGET_LUFS) / 10)
        catch_up = np.clip(1 + too_little * len(self._final_powers) / CATCH_UP_CHUNKS, 1 / MAX_CATCH_UP, MAX_CATCH_UP)
        target_lufs = TARGET_LUFS + 10 * math.log10(catch_up)
        wanted_db = _gain_to_target_db(*self._recent, target_lufs, SONG_CEILING_DB, 10 * CLOSE_ENOUGH_LU)
        return float(np.clip(wanted_db, -MAX_SLOW_DB, MAX_SLOW_DB))

    def _final_gains(self, excess_db: np.ndarray, last: bool) -> np.ndarray:
        reduction_db = self._reduction.push(excess_db, last)
        (powers, slow_gains_db), self._pending = np.split(self._pending, [len(reduction_db)], axis=1)
        gains = 10 ** ((slow_gains_db - reduction_db) / 20)
        self._final_powers = np.concatenate([self._final_powers, powers * gains**2])
        return gains


class _Meter:
    """Powers and true peaks of the chunks of a waveform that arrives in pieces; zeros fill the last chunk."""

    def __init__(self) -> None:
        self._filter_state, self._squares = np.zeros((2, 2)), np.zeros(0)
        self._samples = np.zeros(FILTER_REACH, np.float32)

    def powers(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        """Mean squares, float64, of the K-weighted chunks that these samples complete."""
        squares = self._squares
        if waveform.size:
            weighted, self._filter_state = sosfilt(K_WEIGHTING, waveform.astype(np.float64), zi=self._filter_state)
            squares = np.concatenate([squares, weighted**2])
        if last:
            squares = np.pad(squares, (0, -len(squares) % CHUNK_SAMPLES))
        whole, self._squares = np.split(squares, [len(squares) // CHUNK_SAMPLES * CHUNK_SAMPLES])
        return whole.reshape(-1, CHUNK_SAMPLES).mean(axis=1)

    def peaks(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        """Largest absolute values, float64, of the interpolated chunks; they come a little later than the powers."""
        samples = np.concatenate([self._samples, waveform], dtype=np.float32)
        if last:
            n_missing = (FILTER_REACH - len(samples)) % CHUNK_SAMPLES
            samples = np.pad(samples, (0, n_missing + FILTER_REACH))
        n_chunks = max(len(samples) - 2 * FILTER_REACH, 0) // CHUNK_SAMPLES
        n_used, n_fine = n_chunks * CHUNK_SAMPLES, CHUNK_SAMPLES * OVERSAMPLING
        fine = upfirdn(INTERPOLATION, samples[: n_used + 2 * FILTER_REACH], OVERSAMPLING)
        fine = fine[2 * FILTER_REACH * OVERSAMPLING :][: n_chunks * n_fine]
        self._samples = samples[n_used:]
        return np.abs(fine).reshape(n_chunks, n_fine).max(axis=1).astype(np.float64)


class _Reduction:
    """Limiter's gain reduction in dB, chunk by chunk: ahead of each peak, never less than its excess, slow to go."""

    def __init__(self) -> None:
        self._excess_db, self._held_db, self._released_db = np.zeros(DELAY_CHUNKS), np.zeros(0), np.zeros(1)

    def push(self, excess_db: np.ndarray, last: bool) -> np.ndarray:
        """Excess of the next chunks' peaks -> reduction of those that are final, DELAY_CHUNKS later."""
        excess_db = np.concatenate([self._excess_db, excess_db, np.zeros(DELAY_CHUNKS * last)])
        held_db = maximum_filter1d(excess_db, 2 * HOLD_CHUNKS + 1)[HOLD_CHUNKS:-HOLD_CHUNKS]
        # A line that falls from every peak: the running maximum after tilting time upwards by the same slope.
        held_db = np.concatenate([self._released_db, np.rint(held_db / GRID_DB) * GRID_DB])
        tilt_db = np.arange(len(held_db)) * RELEASE_DB_PER_CHUNK
        released_db = np.maximum.accumulate(held_db + tilt_db) - tilt_db
        self._excess_db, self._released_db = excess_db[-2 * HOLD_CHUNKS :], released_db[-1:]
        held_db = np.concatenate([self._held_db, np.maximum(released_db[1:], 0)])
        self._held_db = held_db[-2 * LOOK_AHEAD_CHUNKS :]
        if len(held_db) <= 2 * LOOK_AHEAD_CHUNKS:
            return np.zeros(0)
        return correlate1d(held_db, SMOOTHING)[LOOK_AHEAD_CHUNKS:-LOOK_AHEAD_CHUNKS]


def _ramp(knots: np.ndarray) -> np.ndarray:
    """Straight lines from each chunk's centre to the next one's: float32 ((n_knots - 1) * CHUNK_SAMPLES,)."""
    shares = (0.5 + np.arange(CHUNK_SAMPLES)) / CHUNK_SAMPLES
    return (knots[:-1, None] + np.diff(knots)[:, None] * shares).astype(np.float32).reshape(-1)


def _loudness(chunk_powers: np.ndarray) -> float:
    """Gated loudness in LUFS, -inf for silence; what does not fill a block is left out, unless there is no other."""
    n_hops = chunk_powers.size // CHUNKS_PER_HOP
    if n_hops < HOPS_PER_BLOCK:
        blocks = np.array([chunk_powers.sum() / max(chunk_powers.size, 1)])
    else:
        hops = chunk_powers[: n_hops * CHUNKS_PER_HOP].reshape(n_hops, CHUNKS_PER_HOP).mean(axis=1)
        n_blocks = len(hops) - HOPS_PER_BLOCK + 1
        blocks = sum(hops[i : i + n_blocks] for i in range(HOPS_PER_BLOCK)) / HOPS_PER_BLOCK
    blocks = blocks[blocks > 10 ** ((ABSOLUTE_GATE_LUFS - POWER_TO_LUFS_DB) / 10)]
    if not blocks.size:
        return -math.inf
    blocks = blocks[blocks > blocks.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
    return float(POWER_TO_LUFS_DB + 10 * np.log10(blocks.mean()))


def _checked(waveform: np.ndarray) -> np.ndarray:
    """The waveform as float32; ValueError unless it is mono and finite."""
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1:
        raise ValueError(f"a mono waveform has one axis, this one has shape {waveform.shape}")
    if not np.isfinite(waveform).all():
        raise ValueError("the waveform holds NaN or infinity")
    return waveform
