"""What each bar of a song is like: bass, harmony and tune by pitch class, and the pattern of its drums.

From what a bar is like to a short vector whose products are similarities.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft

from kpop.constants import N_METRE_POSITIONS, SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR, STEP_SAMPLES, STEPS_PER_BAR

N_PITCH_CLASSES = 12
BASS_SLOTS, TUNE_SLOTS = 4, 8  # a bar's beats and eighths
CHROMA_SLOTS = BASS_SLOTS + TUNE_SLOTS
BASS_WINDOW, TUNE_WINDOW = 8192, 4096  # samples: long enough to tell semitones apart from 50 and from 200 Hz up
BASS_RANGE_HZ, TUNE_RANGE_HZ = (50, 260), (200, 2200)
DRUM_BANDS_HZ = ((20, 170), (170, 2000), (2000, 8000))
N_RHYTHM = SIXTEENTHS_PER_BAR * 2 * len(DRUM_BANDS_HZ)
CONCERT_PITCH_HZ, CONCERT_PITCH_MIDI = 440.0, 69
MAGNITUDE_GAIN, BAND_GAIN = 1000, 100  # before the logarithm: what is 60 (40) dB under full scale begins to count
_BLOCK_FRAMES = 128


@dataclass(frozen=True)
class Bars:
    """The bars of a song, or of many.

    chroma: (n_bars, CHROMA_SLOTS, 12) float32, without the mean over pitch classes
    rhythm: (n_bars, N_RHYTHM) float32, onsets and levels of three bands in each sixteenth
    """

    chroma: np.ndarray
    rhythm: np.ndarray

    def __len__(self) -> int:
        return len(self.chroma)


def bar_edges(slots: np.ndarray) -> np.ndarray:
    """Where the bars of a song begin, and where its last whole one ends, in samples (n_bars + 1,) float64.

    slots: (n_steps,) metronome position of each step.
    """
    path = np.unwrap(slots.astype(float), period=N_METRE_POSITIONS)
    rate = np.median(np.diff(path)) if len(path) > 1 else 1.0
    path = np.append(path, path[-1] + rate)
    bars = np.arange(np.ceil(path[0] / STEPS_PER_BAR), np.floor(path[-1] / STEPS_PER_BAR) + 1)
    return np.interp(bars * STEPS_PER_BAR, path, np.arange(len(path))) * STEP_SAMPLES


def regular_edges(n_samples: int, first_sample: int, bar_samples: float) -> np.ndarray:
    """As bar_edges(), of a song of n_samples whose bars are all as long and one of which begins at first_sample."""
    n_bars = max(0, int((n_samples - first_sample) // bar_samples))
    return first_sample + np.arange(n_bars + 1) * bar_samples


def describe(waveform: np.ndarray, edges: np.ndarray) -> Bars:
    """The bars between the edges (n_bars + 1,) in samples of a waveform (n_samples,) float32 at 16 kHz."""
    chroma = [
        _chroma(waveform, _slot_centres(edges, BASS_SLOTS), BASS_WINDOW, BASS_RANGE_HZ),
        _chroma(waveform, _slot_centres(edges, TUNE_SLOTS), TUNE_WINDOW, TUNE_RANGE_HZ),
    ]
    slots = (BASS_SLOTS, TUNE_SLOTS)
    by_bar = [part.reshape(-1, n, N_PITCH_CLASSES) for part, n in zip(chroma, slots, strict=True)]
    return Bars(np.concatenate(by_bar, 1), _rhythm(waveform, edges))


def _slot_centres(edges: np.ndarray, n_slots: int) -> np.ndarray:
    """Middle of each of the n_slots of each bar, in samples (n_bars * n_slots,)."""
    within = (np.arange(n_slots) + 0.5) / n_slots
    return np.round(edges[:-1, None] + np.diff(edges)[:, None] * within).astype(int).reshape(-1)


def _chroma(waveform: np.ndarray, centres: np.ndarray, n_fft: int, range_hz: tuple[float, float]) -> np.ndarray:
    """Log-magnitudes around the centres, folded into pitch classes, (n_centres, 12), each row's mean removed."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, n_fft // 2), n_fft)
    window = np.hanning(n_fft).astype(np.float32)
    bins, fold = _fold(n_fft, range_hz)
    chroma = np.empty((len(centres), N_PITCH_CLASSES), np.float32)
    for start in range(0, len(centres), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        spectrum = scipy.fft.rfft(frames[centres[block]] * window, axis=1)[:, bins]
        chroma[block] = np.log1p(np.abs(spectrum) * (MAGNITUDE_GAIN * 2 / window.sum())) @ fold
    return chroma - chroma.mean(1, keepdims=True)


def _fold(n_fft: int, range_hz: tuple[float, float]) -> tuple[slice, np.ndarray]:
    """The bins of a range, and the weights (n_bins, 12) with which they count: 1 on a semitone, 0 half way between."""
    low, high = (int(np.ceil(edge_hz * n_fft / SAMPLE_RATE_HZ)) for edge_hz in range_hz)
    frequencies_hz = np.arange(low, high) * SAMPLE_RATE_HZ / n_fft
    midi = CONCERT_PITCH_MIDI + 12 * np.log2(frequencies_hz / CONCERT_PITCH_HZ)
    nearest = np.round(midi)
    fold = np.zeros((high - low, N_PITCH_CLASSES), np.float32)
    fold[np.arange(high - low), nearest.astype(int) % N_PITCH_CLASSES] = np.cos(np.pi * (midi - nearest)) ** 2
    return slice(low, high), fold


def _rhythm(waveform: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(n_bars, N_RHYTHM): in each sixteenth the sharpest rise of each band from step to step, and its mean level."""
    level = _band_levels(waveform)
    rise = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0)
    centres = _slot_centres(edges, STEPS_PER_BAR) // STEP_SAMPLES
    steps = np.stack([rise, level], 1)[np.minimum(centres, len(level) - 1)]  # (n_bars * 64, 2, n_bands)
    sixteenths = steps.reshape(-1, SIXTEENTHS_PER_BAR, STEPS_PER_BAR // SIXTEENTHS_PER_BAR, *steps.shape[1:])
    return np.stack([sixteenths[..., 0, :].max(2), sixteenths[..., 1, :].mean(2)], 2).reshape(-1, N_RHYTHM)


def _band_levels(waveform: np.ndarray) -> np.ndarray:
    """Logarithmic level of the drum bands in each step, (n_steps, n_bands) float32."""
    n_steps = max(len(waveform) // STEP_SAMPLES, 1)
    steps = np.resize(np.pad(waveform, (0, STEP_SAMPLES)), n_steps * STEP_SAMPLES).reshape(n_steps, STEP_SAMPLES)
    power = np.abs(scipy.fft.rfft(steps, axis=1) * (2 / STEP_SAMPLES)) ** 2
    bins_hz = np.arange(power.shape[1]) * SAMPLE_RATE_HZ / STEP_SAMPLES
    in_band = np.array([(low <= bins_hz) & (bins_hz < high) for low, high in DRUM_BANDS_HZ])
    return np.log1p(BAND_GAIN * np.sqrt(power @ in_band.T.astype(np.float32))).astype(np.float32)


N_DIMENSIONS = 76  # 59,000 bars in 5 MB
BASS_WEIGHT, TUNE_WEIGHT, RHYTHM_WEIGHT = 0.5, 1.0, 0.8  # the tune is what a listener knows a song by
FIT_BARS = 3_000
QUIETEST = 0.25  # of its usual length, below which a part of a bar fades out of the comparison
EVENNESS = 0.5  # 0: directions count by their variance; 0.5: all count alike
LEAST_VARIANCE = 0.01  # of the largest, added to all, so that no direction of mere noise is drawn out


@dataclass(frozen=True)
class Projection:
    """Principal components of bars in all twelve keys, evened out, so that what most music shares counts less.

    rhythm_mean: (N_RHYTHM,) float32
    lengths: (3,) float32, usual lengths of a bar's bass, tune and rhythm
    mean: (n_numbers,) float32; matrix: (n_numbers, N_DIMENSIONS) float32
    """

    rhythm_mean: np.ndarray
    lengths: np.ndarray
    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, bars: Bars) -> "Projection":
        """Of a corpus: partial whitening of shrunken principal components (Jegou & Chum 2012, "Negative evidences
        and co-occurences in image retrieval")."""
        some = np.random.default_rng(0).permutation(len(bars))[:FIT_BARS]
        bars = Bars(bars.chroma[some], bars.rhythm[some])
        rhythm_mean = bars.rhythm.mean(0)
        parts = (bars.chroma[:, :BASS_SLOTS], bars.chroma[:, BASS_SLOTS:], bars.rhythm - rhythm_mean)
        lengths = np.array([np.sqrt(np.mean(_length(part) ** 2)) for part in parts], np.float32)
        n_numbers = CHROMA_SLOTS * N_PITCH_CLASSES + N_RHYTHM
        plain = cls(rhythm_mean, lengths, np.zeros(n_numbers, np.float32), np.eye(n_numbers, dtype=np.float32))
        numbers = plain.project(bars, range(N_PITCH_CLASSES)).reshape(-1, n_numbers)
        mean = numbers.mean(0)
        variances, directions = np.linalg.eigh(np.cov(numbers.T))
        variances, directions = variances[::-1][:N_DIMENSIONS], directions[:, ::-1][:, :N_DIMENSIONS]
        matrix = directions * (variances + LEAST_VARIANCE * variances[0]) ** -EVENNESS
        return cls(rhythm_mean, lengths, mean.astype(np.float32), matrix.astype(np.float32))

    def project(self, bars: Bars, semitones: range = range(1)) -> np.ndarray:
        """Unit vectors (n_bars, len(semitones), n_dimensions) float32 of the bars, transposed up by each of semitones.

        A silent bar is the zero vector, which is like nothing.
        """
        rhythm = np.repeat((bars.rhythm - self.rhythm_mean)[:, None], len(semitones), 1)
        chroma = np.stack([np.roll(bars.chroma, shift, 2) for shift in semitones], 1)  # (n_bars, n_shifts, slots, 12)
        parts = (chroma[:, :, :BASS_SLOTS], chroma[:, :, BASS_SLOTS:], rhythm)
        weights = (BASS_WEIGHT, TUNE_WEIGHT, RHYTHM_WEIGHT)
        numbers = [
            weight * _faded(part.reshape(*rhythm.shape[:2], -1), usual)
            for part, usual, weight in zip(parts, self.lengths, weights, strict=True)
        ]
        return unit((np.concatenate(numbers, 2) - self.mean) @ self.matrix) * _sounds(bars)[:, None, None]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors over the last axis, each of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _length(part: np.ndarray) -> np.ndarray:
    return np.linalg.norm(part.reshape(len(part), -1), axis=1)


def _faded(part: np.ndarray, usual_length: float) -> np.ndarray:
    """Of length 1, or less where there is hardly anything."""
    lengths = np.linalg.norm(part, axis=-1, keepdims=True)
    return part / np.sqrt(lengths**2 + (QUIETEST * usual_length) ** 2)


def _sounds(bars: Bars) -> np.ndarray:
    """1 for a bar with any level in it, 0 for a silent one; (n_bars,) float32."""
    return (bars.rhythm.max(1, initial=0.0) > 1e-3).astype(np.float32)
