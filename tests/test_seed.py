"""The partially random seed."""

from itertools import pairwise

import numpy as np
import pytest

from kpop.constants import HOP_LENGTH, STEPS_PER_BEAT
from kpop.generation.clips import SeedClip
from kpop.generation.seed import chance_mask, clip_hop, mix, seed_length, song_hop


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


def clip(tempo_bpm: float | None) -> SeedClip:
    return SeedClip("x", "X", np.zeros(100_000, np.float32), 0, None, tempo_bpm)


def test_a_clips_tempo_is_the_distance_of_its_frames():
    assert clip_hop(clip(None)) == song_hop(clip(None), 0.3) == HOP_LENGTH
    assert clip_hop(clip(100.0)) == pytest.approx(300)
    assert song_hop(clip(104.0), 0.3) == 288
    assert song_hop(clip(100.0), 1.0) == HOP_LENGTH, "pure chance knows no clip"


def test_a_seed_is_four_bars_but_no_more_than_the_clip_or_half_the_song():
    assert seed_length(10_000, 300, 0.3) == 256
    assert seed_length(None, 300, 0.3) == 256
    assert seed_length(10_000, 100, 0.3) == 96
    assert seed_length(10_000, 100, 1.0) == 256
    assert seed_length(140, 300, 0.3) == 64
