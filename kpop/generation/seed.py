"""The partially random seed: an encoded clip, a share of which is replaced by unconditioned samples from the LSTM; and
the song's time axis, which depends on the clip."""

from dataclasses import dataclass

import numpy as np

from kpop.constants import (
    BEATS_PER_BAR,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    N_METRE_POSITIONS,
    SAMPLE_RATE_HZ,
    SEED_STEPS,
    STEPS_PER_BAR,
    STEPS_PER_BEAT,
    TEMPO_BPM,
)
from kpop.generation.clips import SeedClip
from kpop.settings import Beat, Settings


@dataclass(frozen=True)
class SongGrid:
    """A song's time axis, known before anything of the song is computed."""

    hop: int  # hop length in samples
    n_samples: int | None  # of the whole song, None if it is endless
    n_steps: int | None  # the same
    n_seed_steps: int  # of its seed, whole beats
    metre_position: int  # of its first step
    positions_per_step: float  # see Pipeline

    @property
    def seed_end_s(self) -> float:
        """Where the seed ends."""
        return self.n_seed_steps * self.hop * FRAMES_PER_STEP / SAMPLE_RATE_HZ

    @property
    def beat(self) -> Beat:
        """The song's beat grid."""
        position_s = self.hop * FRAMES_PER_STEP / SAMPLE_RATE_HZ / self.positions_per_step
        downbeat_s = -self.metre_position % STEPS_PER_BAR * position_s
        return Beat(downbeat_s, STEPS_PER_BEAT * position_s, BEATS_PER_BAR)

    def metre_positions(self, start: int, stop: int) -> np.ndarray:
        """Metre positions int64 (stop - start,) of steps start to stop."""
        positions = self.metre_position + self.positions_per_step * np.arange(start, stop)
        return positions.astype(np.int64) % N_METRE_POSITIONS


def clip_hop(clip: SeedClip, positions_per_step: float = 1.0) -> float:
    """Hop length in samples that puts the clip's beats on the model's metre (positions_per_step: see Pipeline)."""
    return HOP_LENGTH if clip.tempo_bpm is None else HOP_LENGTH * TEMPO_BPM * positions_per_step / clip.tempo_bpm


def song_grid(settings: Settings, clip: SeedClip, positions_per_step: float = 1.0, endless: bool = False) -> SongGrid:
    """A song has its clip's hop length in whole samples, which changes the tempo by 0.3 % at most; its seed is at most
    four bars, half of the song, and the clip. Of an all-random seed's clip, neither tempo nor length remains."""
    exact_hop, n_clip_steps, metre_position = HOP_LENGTH, SEED_STEPS, 0
    if settings.randomness < 1:
        exact_hop, metre_position = clip_hop(clip, positions_per_step), clip.metre_position
        n_clip_steps = int(len(clip.waveform) / (exact_hop * FRAMES_PER_STEP))
    hop = round(exact_hop)
    n_samples = None if endless else round(settings.length_s * SAMPLE_RATE_HZ)
    n_steps = None if endless else -(-n_samples // (hop * FRAMES_PER_STEP))
    n_seed_steps = min(SEED_STEPS, n_clip_steps, SEED_STEPS if endless else n_steps // 2)
    n_seed_steps -= n_seed_steps % STEPS_PER_BEAT
    return SongGrid(hop, n_samples, n_steps, n_seed_steps, metre_position, positions_per_step)


@dataclass
class Seed:
    """The partially random seed of one song. tokens: of the clip alone until insert_random() has been called."""

    tokens: np.ndarray  # (n_steps, n_codebooks) int64
    token_mask: np.ndarray  # bool (n_steps, n_codebooks), which of them are to be random
    log_magnitudes: np.ndarray  # (n_frames, N_BINS) float32, of the clip
    bin_mask: np.ndarray  # bool (n_frames, N_BINS), which of them are to be random

    def insert_random(self, start: int, sampled: np.ndarray) -> None:
        """Replace tokens from step `start` on by sampled ones (n, n_codebooks), where the mask says so."""
        steps = slice(start, start + len(sampled))
        np.copyto(self.tokens[steps], sampled[: len(self.tokens) - start], where=self.token_mask[steps])

    def restore_clip(self, first_frame: int, decoded: np.ndarray) -> np.ndarray:
        """Replace decoded log-magnitudes (n_frames, N_BINS), which begin at first_frame, in place, by the clip's own
        wherever the seed is not random: there, quantization would only add error. Returns `decoded`."""
        kept = self.log_magnitudes[first_frame:][: len(decoded)]
        np.copyto(decoded[: len(kept)], kept, where=~self.bin_mask[first_frame:][: len(decoded)])
        return decoded


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


def fit_rows(table: np.ndarray, n_rows: int) -> np.ndarray:
    """A copy of the first n_rows; if there are fewer, the last one is repeated."""
    return np.pad(table[:n_rows], ((0, max(n_rows - len(table), 0)), (0, 0)), mode="edge")
