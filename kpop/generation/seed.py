"""The partially random seed: an encoded clip, a share of which is replaced by unconditioned samples from the LSTM."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kpop.constants import FRAMES_PER_STEP, HOP_LENGTH, SEED_STEPS, STEPS_PER_BEAT, TEMPO_BPM
from kpop.generation.clips import SeedClip


@dataclass(frozen=True)
class EncodedClip:
    """A clip's spectrum and tokens.

    log_magnitudes: (n_steps * FRAMES_PER_STEP, N_BINS) float32
    tokens: (n_steps, n_codebooks) int64, labels (or mask tokens) and the codec's tokens
    """

    log_magnitudes: np.ndarray
    tokens: np.ndarray


class Seed:
    """The partially random seed of one song.

    n_steps: its length; first_slot: metre position of its first step
    tokens: (n_steps, n_codebooks) int64, of the clip alone until insert_random() has replaced what is to be random
    is_random: whether any of it is
    """

    def __init__(
        self,
        clip: SeedClip,
        encoded: EncodedClip,
        n_steps: int,
        randomness: float,
        rng: np.random.Generator,
        layers: list[int],
        band_edges_bins: tuple[int, ...],
    ) -> None:
        """layers: of each codebook; 0 for labels, 1 + b for the band band_edges_bins[b] to band_edges_bins[b + 1]."""
        self.n_steps, self._layers, self._band_edges_bins = n_steps, layers, band_edges_bins
        self.first_slot = clip.first_slot if randomness < 1 else 0  # nothing of the clip remains at 1
        self.tokens = _first_rows(encoded.tokens, n_steps)
        self._log_magnitudes = _first_rows(encoded.log_magnitudes, n_steps * FRAMES_PER_STEP)
        self._mask = random_mask(n_steps, max(layers) + 1, randomness, rng)
        self.is_random = bool(self._mask.any())

    def insert_random(self, start: int, sampled: np.ndarray) -> None:
        """Replace tokens from step `start` on by sampled ones (n, n_codebooks), where the mask says so."""
        steps = slice(start, min(start + len(sampled), self.n_steps))
        mask = self._mask[steps][:, self._layers]
        self.tokens[steps] = np.where(mask, sampled[: steps.stop - steps.start], self.tokens[steps])

    def restore_clip(self, first_frame: int, decoded: np.ndarray) -> np.ndarray:
        """Replace decoded log-magnitudes (n_frames, N_BINS), which begin at first_frame, in place, by the clip's own
        wherever the seed is not random: there, quantization would only add error. Returns `decoded`."""
        n_frames = min(len(self._log_magnitudes) - first_frame, len(decoded))
        if n_frames <= 0:
            return decoded
        frames = np.arange(first_frame, first_frame + n_frames)
        for band, (low, high) in enumerate(pairwise(self._band_edges_bins)):
            kept = np.flatnonzero(~self._mask[frames // FRAMES_PER_STEP, 1 + band])
            decoded[kept, low:high] = self._log_magnitudes[first_frame + kept, low:high]
        return decoded


def clip_hop(clip: SeedClip, positions_per_step: float = 1.0) -> float:
    """Hop length in samples that puts the clip's beats on the model's metre (positions_per_step: see Pipeline)."""
    return HOP_LENGTH if clip.tempo_bpm is None else HOP_LENGTH * TEMPO_BPM * positions_per_step / clip.tempo_bpm


def song_hop(clip: SeedClip, randomness: float, positions_per_step: float = 1.0) -> int:
    """Hop length of a song in whole samples: that of its clip, rounded, which changes the tempo by 0.3 % at most; the
    default when the seed is all random."""
    return round(clip_hop(clip, positions_per_step)) if randomness < 1 else HOP_LENGTH


def seed_length(n_steps: int | None, n_clip_steps: int, randomness: float) -> int:
    """Steps of the seed, whole beats: at most four bars, half of the song (n_steps; None: endless), and, unless the
    seed is all random, the clip."""
    clip_steps = n_clip_steps if randomness < 1 else SEED_STEPS
    song_steps = SEED_STEPS if n_steps is None else n_steps // 2
    return min(SEED_STEPS, clip_steps, song_steps) // STEPS_PER_BEAT * STEPS_PER_BEAT


def random_mask(n_steps: int, n_layers: int, randomness: float, rng: np.random.Generator) -> np.ndarray:
    """Which parts of a seed are random: bool (n_steps, n_layers).

    The seed is divided into cells of one beat by one layer (the labels, or a frequency band). Every cell is given one
    threshold whatever the randomness, and is random if that is above it: 0 keeps all, 1 nothing, and what is random at
    some randomness is so at every higher one. Thresholds are evenly spaced, so the share of random cells is exact.
    """
    n_cells = -(-n_steps // STEPS_PER_BEAT)
    thresholds = (rng.permutation(n_cells * n_layers) + 0.5) / (n_cells * n_layers)
    cells = thresholds.reshape(n_cells, n_layers) < randomness
    return np.repeat(cells, STEPS_PER_BEAT, axis=0)[:n_steps]


def _first_rows(table: np.ndarray, n_rows: int) -> np.ndarray:
    """A copy of the first rows; the last is repeated where a clip is too short, as only full randomness allows."""
    return np.pad(table[:n_rows], ((0, max(n_rows - len(table), 0)), (0, 0)), mode="edge")
