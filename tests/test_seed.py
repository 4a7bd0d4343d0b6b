"""The partially random seed."""

from itertools import pairwise

import numpy as np
import pytest

from kpop.generation.seed import chance_mask, mix
from kpop.grid import STEPS_PER_BEAT


def mask(randomness: float, seed: int = 5, n_steps: int = 256) -> np.ndarray:
    return chance_mask(n_steps, 5, randomness, np.random.default_rng(seed))


def test_zero_keeps_all_and_one_keeps_nothing():
    assert not mask(0.0).any()
    assert mask(1.0).all()


@pytest.mark.parametrize("randomness", [0.1, 0.25, 0.5, 0.9])
def test_randomness_is_the_share_that_is_chance(randomness):
    assert mask(randomness).mean() == pytest.approx(randomness, abs=0.02)


def test_more_randomness_only_adds_chance():
    masks = [mask(randomness) for randomness in np.linspace(0, 1, 21)]
    for less, more in pairwise(masks):
        assert not (less & ~more).any()


def test_a_cell_lasts_a_beat():
    cells = mask(0.5).reshape(-1, STEPS_PER_BEAT, 5)
    assert (cells == cells[:, :1]).all()


def test_another_seed_number_draws_other_cells():
    assert (mask(0.5, 1) != mask(0.5, 2)).any()


def test_streams_follow_their_layer():
    clip, chance = np.zeros((32, 3), int), np.ones((32, 3), int)
    layers = np.zeros((32, 2), bool)
    layers[:, 1] = True
    assert mix(clip, chance, layers, [0, 1, 1]).tolist() == [[0, 1, 1]] * 32
