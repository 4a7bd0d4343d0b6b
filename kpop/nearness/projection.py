"""From what a bar is like to a short vector whose products are similarities."""

from dataclasses import dataclass

import numpy as np

from kpop.nearness.bars import BASS_SLOTS, CHROMA_SLOTS, N_PITCH_CLASSES, N_RHYTHM, Bars

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
