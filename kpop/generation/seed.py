"""The partially random seed: a clip, a share of which is replaced by chance."""

import numpy as np

from kpop.grid import STEPS_PER_BEAT


def chance_mask(n_steps: int, n_layers: int, randomness: float, rng: np.random.Generator) -> np.ndarray:
    """Which parts of a seed are chance: bool (n_steps, n_layers).

    The seed is cut into cells, one beat of one layer each (the chord and every band of frequency are layers). Every
    cell draws one number whatever the randomness, and is chance when that lies below it: 0 keeps all, 1 keeps none,
    and what is chance at some randomness is chance at every higher one.
    """
    n_cells = -(-n_steps // STEPS_PER_BEAT)
    cells = _even_draws(n_cells * n_layers, rng).reshape(n_cells, n_layers) < randomness
    return np.repeat(cells, STEPS_PER_BEAT, axis=0)[:n_steps]


def mix(clip: np.ndarray, chance: np.ndarray, mask: np.ndarray, stream_layers: list[int]) -> np.ndarray:
    """The seed (n_steps, n_streams): chance where the mask (n_steps, n_layers) says so, the clip elsewhere."""
    return np.where(mask[:, stream_layers], chance, clip)


def _even_draws(n: int, rng: np.random.Generator) -> np.ndarray:
    """n numbers in 0..1 in random order, evenly spaced, so that the share below any threshold is that threshold."""
    return (rng.permutation(n) + 0.5) / n
