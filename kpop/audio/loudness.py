"""Loudness and true peak (ITU-R BS.1770-4), and the limiter that brings a song to its level."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import resample_poly, sosfilt

from kpop.grid import SAMPLE_RATE_HZ, exact_div

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
