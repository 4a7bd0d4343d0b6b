"""The partially random seed: a clip, a share of which is replaced by chance."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kpop.constants import FRAMES_PER_STEP, HOP_LENGTH, STEPS_PER_BEAT, TEMPO_BPM
from kpop.generation.clips import SEED_STEPS, SeedClip


@dataclass(frozen=True)
class EncodedClip:
    """A clip as the pipeline hears it.

    log_magnitudes: (n_steps * FRAMES_PER_STEP, N_BINS) float32
    streams: (n_steps, n_codebooks) int64, labels (or "not known") and codes
    """

    log_magnitudes: np.ndarray
    streams: np.ndarray


class Seed:
    """The partially random seed of one song.

    n_steps: its length; first_slot: metronome position of its first step
    streams: (n_steps, n_codebooks) int64, of the clip alone until put_chance() has cut in what is chance
    needs_chance: whether any of it is chance
    """

    def __init__(
        self,
        clip: SeedClip,
        heard: EncodedClip,
        n_steps: int,
        randomness: float,
        rng: np.random.Generator,
        layers: list[int],
        edges_bins: tuple[int, ...],
    ) -> None:
        """layers: which layer each stream belongs to; layer 1 + b is the band edges_bins[b] to edges_bins[b + 1]."""
        self.n_steps, self._layers, self._edges_bins = n_steps, layers, edges_bins
        self.first_slot = clip.first_slot if randomness < 1 else 0  # nothing of the clip remains at 1
        self.streams = _first_rows(heard.streams, n_steps)
        self._log_magnitudes = _first_rows(heard.log_magnitudes, n_steps * FRAMES_PER_STEP)
        self._mask = chance_mask(n_steps, max(layers) + 1, randomness, rng)
        self.needs_chance = bool(self._mask.any())

    def put_chance(self, start: int, chance: np.ndarray) -> None:
        """Cut chance (n, n_codebooks) into the steps from `start` on, where the mask wants it."""
        steps = slice(start, min(start + len(chance), self.n_steps))
        chance = chance[: steps.stop - steps.start]
        self.streams[steps] = mix(self.streams[steps], chance, self._mask[steps], self._layers)

    def keep_clip(self, first_frame: int, decoded: np.ndarray) -> np.ndarray:
        """The song's log-magnitudes (n_frames, N_BINS) from first_frame on: where the seed was not given to chance, the
        clip itself instead of its copy. `decoded` is changed and returned."""
        n_frames = min(len(self._log_magnitudes) - first_frame, len(decoded))
        if n_frames <= 0:
            return decoded
        frames = np.arange(first_frame, first_frame + n_frames)
        for band, (low, high) in enumerate(pairwise(self._edges_bins)):
            kept = np.flatnonzero(~self._mask[frames // FRAMES_PER_STEP, 1 + band])
            decoded[kept, low:high] = self._log_magnitudes[first_frame + kept, low:high]
        return decoded


def clip_hop(clip: SeedClip, metronome_rate: float = 1.0) -> float:
    """Samples between a clip's frames that put its beats on the metronome's; metronome_rate: its slots a step."""
    return HOP_LENGTH if clip.tempo_bpm is None else HOP_LENGTH * TEMPO_BPM * metronome_rate / clip.tempo_bpm


def song_hop(clip: SeedClip, randomness: float, metronome_rate: float = 1.0) -> int:
    """Samples between a song's frames: those of its clip, of which only pure chance leaves nothing, to a whole number.

    That is 0.3 % of the tempo at most, and the seed is heard at the song's.
    """
    return round(clip_hop(clip, metronome_rate)) if randomness < 1 else HOP_LENGTH


def seed_length(n_steps: int | None, n_clip_steps: int, randomness: float) -> int:
    """Steps of the seed: four bars, but no more than the clip has (unless all is chance) or half of the song."""
    clip_steps = n_clip_steps if randomness < 1 else SEED_STEPS
    song_steps = SEED_STEPS if n_steps is None else n_steps // 2
    return min(SEED_STEPS, clip_steps, song_steps) // STEPS_PER_BEAT * STEPS_PER_BEAT


def chance_mask(n_steps: int, n_layers: int, randomness: float, rng: np.random.Generator) -> np.ndarray:
    """Which parts of a seed are chance: bool (n_steps, n_layers).

    The seed is cut into cells, one beat of one layer each (the labels and every band of frequency are layers). Every
    cell draws one number whatever the randomness, and is chance when that lies below it: 0 keeps all, 1 keeps none,
    and what is chance at some randomness is chance at every higher one.
    """
    n_cells = -(-n_steps // STEPS_PER_BEAT)
    cells = _even_draws(n_cells * n_layers, rng).reshape(n_cells, n_layers) < randomness
    return np.repeat(cells, STEPS_PER_BEAT, axis=0)[:n_steps]


def mix(clip: np.ndarray, chance: np.ndarray, mask: np.ndarray, stream_layers: list[int]) -> np.ndarray:
    """The seed (n_steps, n_codebooks): chance where the mask (n_steps, n_layers) says so, the clip elsewhere."""
    return np.where(mask[:, stream_layers], chance, clip)


def _first_rows(table: np.ndarray, n_rows: int) -> np.ndarray:
    """A copy of the first rows; a clip that is too short, which only all chance allows, is filled with anything."""
    return np.pad(table[:n_rows], ((0, max(n_rows - len(table), 0)), (0, 0)), mode="edge")


def _even_draws(n: int, rng: np.random.Generator) -> np.ndarray:
    """n numbers in 0..1 in random order, evenly spaced, so that the share below any threshold is that threshold."""
    return (rng.permutation(n) + 0.5) / n
