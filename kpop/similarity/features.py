"""Features of a song's bars (bass and melody by pitch class, drums); vectors whose products are similarities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from kpop.constants import SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR, STEP_SAMPLES, STEPS_PER_BAR

N_PITCH_CLASSES = 12
BASS_SLOTS, MELODY_SLOTS = 4, 8  # a bar's beats and eighths
BASS_WINDOW, MELODY_WINDOW = 8192, 4096  # samples: they separate semitones from 50 and from 200 Hz up
BASS_RANGE_HZ, MELODY_RANGE_HZ = (50, 260), (200, 2200)
DRUM_BANDS_HZ = ((20, 170), (170, 2000), (2000, 8000))
N_RHYTHM = SIXTEENTHS_PER_BAR * 2 * len(DRUM_BANDS_HZ)
N_CHROMA = (BASS_SLOTS + MELODY_SLOTS) * N_PITCH_CLASSES
N_FEATURES = N_CHROMA + N_RHYTHM
MAGNITUDE_GAIN, BAND_GAIN = 1000, 100  # before the logarithm, which is linear below -60 (-40) dBFS
N_DIMENSIONS = 76  # 59,000 bars in 5 MB
PART_ENDS = BASS_SLOTS * N_PITCH_CLASSES, N_CHROMA  # a bar's parts: bass, melody and rhythm
PART_WEIGHTS = 0.5, 1.0, 0.8  # listeners recognise a song by its melody
FIT_BARS = 3_000
SOFT_FLOOR = 0.25  # of its usual norm, below which a part of a bar loses its weight
WHITENING = 0.5  # exponent: 0 weights components by their variance, 0.5 all equally
SHRINKAGE = 0.01  # of the largest variance, added to all
_BLOCK_FRAMES = 128


def analyse_bars(waveform: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Features (n_bars, N_FEATURES) float32 of the bars between edges (n_bars + 1,) in samples of a waveform float32.

    First the N_CHROMA: the slots of bass and melody, each less its mean over pitch classes; then in each sixteenth the
    sharpest rise of three bands from step to step, and their mean levels.
    """

    def centres(n_slots: int) -> np.ndarray:
        within = (np.arange(n_slots) + 0.5) / n_slots
        return np.round(edges[:-1, None] + np.diff(edges)[:, None] * within).astype(int).reshape(-1)

    bass = chroma(waveform, centres(BASS_SLOTS), BASS_WINDOW, BASS_RANGE_HZ)
    melody = chroma(waveform, centres(MELODY_SLOTS), MELODY_WINDOW, MELODY_RANGE_HZ)
    slots = [(each - each.mean(1, keepdims=True)).reshape(len(edges) - 1, -1) for each in (bass, melody)]
    level = _band_levels(waveform)
    rise = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0)
    steps = np.minimum(centres(STEPS_PER_BAR) // STEP_SAMPLES, len(level) - 1)
    shape = -1, SIXTEENTHS_PER_BAR, STEPS_PER_BAR // SIXTEENTHS_PER_BAR, len(DRUM_BANDS_HZ)
    rhythm = np.stack([rise[steps].reshape(shape).max(2), level[steps].reshape(shape).mean(2)], 2)
    return np.concatenate([*slots, rhythm.reshape(-1, N_RHYTHM)], 1)


def _band_levels(waveform: np.ndarray) -> np.ndarray:
    """Log levels (n_steps, len(DRUM_BANDS_HZ)) float32."""
    n_steps = max(len(waveform) // STEP_SAMPLES, 1)
    frames = np.resize(np.pad(waveform, (0, STEP_SAMPLES)), n_steps * STEP_SAMPLES).reshape(n_steps, STEP_SAMPLES)
    power = np.abs(scipy.fft.rfft(frames, axis=1) * (2 / STEP_SAMPLES)) ** 2
    bins_hz = np.arange(power.shape[1]) * SAMPLE_RATE_HZ / STEP_SAMPLES
    in_band = np.array([(low <= bins_hz) & (bins_hz < high) for low, high in DRUM_BANDS_HZ])
    return np.log1p(BAND_GAIN * np.sqrt(power @ in_band.T.astype(np.float32))).astype(np.float32)


def chroma(
    waveform: np.ndarray,
    centres: np.ndarray,
    n_fft: int,
    range_hz: tuple[float, float],
    compress: Callable[[np.ndarray], np.ndarray] = lambda magnitude: np.log1p(MAGNITUDE_GAIN * magnitude),
    weight: Callable[[np.ndarray], np.ndarray] = lambda semitones: np.cos(np.pi * semitones) ** 2,
) -> np.ndarray:
    """Pitch class profiles (n_centres, 12) float32 from C on (Fujishima 1999, "Realtime chord recognition of musical
    sound") of frames of n_fft samples around the centres.

    compress: magnitudes (n_frames, n_bins), 1 for a full-scale sine, to strengths; weight: of bins by their distance
    from the nearest semitone, -0.5 to 0.5.
    """
    frames = sliding_window_view(np.pad(np.asarray(waveform, np.float32), n_fft // 2), n_fft)
    window = np.hanning(n_fft).astype(np.float32)
    window *= 2 / window.sum()
    first, stop = (int(np.ceil(edge_hz * n_fft / SAMPLE_RATE_HZ)) for edge_hz in range_hz)
    pitch = 69 + 12 * np.log2(np.arange(first, stop) * (SAMPLE_RATE_HZ / n_fft / 440))  # MIDI number of each bin
    nearest = np.round(pitch).astype(int)
    fold = np.zeros((stop - first, N_PITCH_CLASSES), np.float32)
    fold[np.arange(stop - first), nearest % N_PITCH_CLASSES] = weight(pitch - nearest)
    profiles = np.empty((len(centres), N_PITCH_CLASSES), np.float32)
    for start in range(0, len(centres), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        magnitude = np.abs(scipy.fft.rfft(frames[centres[block]] * window, axis=1))
        profiles[block] = compress(magnitude)[:, first:stop] @ fold
    return profiles


@dataclass(frozen=True)
class Projection:
    """Whitened principal components of bars in all twelve keys: what most songs share counts less. All float32."""

    rhythm_mean: np.ndarray  # (N_RHYTHM,)
    lengths: np.ndarray  # (3,), usual norms of a bar's bass, melody and rhythm
    mean: np.ndarray  # (N_FEATURES,)
    matrix: np.ndarray  # (N_FEATURES, N_DIMENSIONS)

    @classmethod
    def fit(cls, bars: np.ndarray) -> "Projection":
        """To a corpus: partial whitening of shrunken principal components (Jegou & Chum 2012, "Negative evidences
        and co-occurences in image retrieval")."""
        bars = bars[np.random.default_rng(0).permutation(len(bars))[:FIT_BARS]]
        bass, melody, rhythm = np.split(bars, PART_ENDS, axis=1)
        rhythm_mean = rhythm.mean(0)
        parts = bass, melody, rhythm - rhythm_mean
        lengths = np.array([np.sqrt(np.square(part).sum() / len(bars)) for part in parts], np.float32)
        identity = cls(rhythm_mean, lengths, np.zeros(N_FEATURES, np.float32), np.eye(N_FEATURES, dtype=np.float32))
        features = identity.project(bars, range(N_PITCH_CLASSES)).reshape(-1, N_FEATURES)
        variances, components = np.linalg.eigh(np.cov(features.T))
        variances, components = variances[::-1][:N_DIMENSIONS], components[:, ::-1][:, :N_DIMENSIONS]
        matrix = components * (variances + SHRINKAGE * variances[0]) ** -WHITENING
        return cls(rhythm_mean, lengths, features.mean(0).astype(np.float32), matrix.astype(np.float32))

    def project(self, bars: np.ndarray, semitones: range = range(1)) -> np.ndarray:
        """Unit vectors (n_bars, len(semitones), n_dimensions) float32 of the bars, transposed up by each of semitones.

        A silent bar is the zero vector, which is similar to nothing.
        """
        slots = bars[:, :N_CHROMA].reshape(-1, BASS_SLOTS + MELODY_SLOTS, N_PITCH_CLASSES)
        rhythm = bars[:, N_CHROMA:]
        transposed = [np.roll(slots, shift, 2).reshape(len(bars), N_CHROMA) for shift in semitones]
        shifts = np.stack([np.concatenate([chroma, rhythm - self.rhythm_mean], 1) for chroma in transposed], 1)
        parts = np.split(shifts, PART_ENDS, axis=2)
        softened = [
            weight * (part / np.sqrt(np.linalg.norm(part, axis=2, keepdims=True) ** 2 + (SOFT_FLOOR * length) ** 2))
            for part, length, weight in zip(parts, self.lengths, PART_WEIGHTS, strict=True)
        ]
        is_silent = rhythm.max(1, initial=0.0) <= 1e-3
        vectors = unit((np.concatenate(softened, 2) - self.mean) @ self.matrix)
        return np.where(is_silent[:, None, None], np.float32(0), vectors)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors over the last axis, each of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
