"""Temperature and chance."""

import numpy as np
import pytest
import torch

from kpop.lstm.choice import choose
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.places import LABEL_CALM, Places, Stride

HEIGHTS = np.array([2.0, 1.0, 0.0, -1.0], np.float32)


def drawn(temperature: float, least: float = 0.0, n: int = 20_000, heights: np.ndarray = HEIGHTS) -> np.ndarray:
    """n values, drawn by chance from logits that stand in the second row, behind which there is nothing to choose."""
    n_vectors = -(-len(heights) // 16)
    logits = np.full((2, n_vectors * 16), -np.inf, np.float32)
    logits[1, : len(heights)] = heights
    room, places = np.zeros(n_vectors * 16), np.zeros(n_vectors * 16, np.int64)
    log_least = np.log(least) if least else -np.inf
    draws = np.random.default_rng(0).random(n)
    return np.array([choose(logits, 1, n_vectors, temperature, log_least, draw, room, places) for draw in draws])


def softmax(heights: np.ndarray) -> np.ndarray:
    powers = np.exp(heights - heights.max())
    return powers / powers.sum()


def shares(values: np.ndarray, n: int = 4) -> np.ndarray:
    return np.bincount(values, minlength=n) / len(values)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_probabilities_are_raised_to_one_over_temperature(temperature):
    assert np.abs(shares(drawn(temperature)) - softmax(HEIGHTS / temperature)).max() < 0.015


def test_many_values_are_each_drawn_as_often_as_they_are_likely():
    heights = np.random.default_rng(1).standard_normal(61).astype(np.float32)
    assert np.abs(shares(drawn(1.0, heights=heights, n=40_000), 61) - softmax(heights)).max() < 0.006


def test_temperature_zero_takes_the_likeliest():
    assert set(drawn(0, n=50)) == {0}
    assert set(drawn(0, n=50, heights=HEIGHTS[::-1])) == {3}


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_a_tiny_temperature_is_nearly_zero_and_breaks_nothing(temperature):
    assert set(drawn(temperature, n=50)) == {0}


def test_what_is_much_less_likely_than_the_likeliest_is_never_drawn():
    assert set(drawn(2.0, least=0.1, n=2_000)) == {0, 1, 2}, (
        "e^-2 is 0.14 of the likeliest, e^-3 only 0.05, whatever the temperature"
    )
    assert set(drawn(0, least=0.1, n=50)) == {0}


def test_what_is_forbidden_is_never_drawn_whatever_the_draw():
    logits = np.full((1, 16), -np.inf, np.float32)
    logits[0, [3, 5]] = 1, 1
    for draw, expected in ((0.0, 3), (0.4999, 3), (0.5001, 5), (np.nextafter(1, 0), 5)):
        assert choose(logits, 0, 1, 1.0, -np.inf, draw, np.zeros(16), np.zeros(16, np.int64)) == expected


def test_a_network_that_gives_no_numbers_still_gives_a_value():
    stale = np.full(16, 15)
    assert choose(np.full((1, 16), np.nan, np.float32), 0, 1, 1.0, -1.0, 0.5, np.zeros(16), stale) == 0


def test_places_draw_with_the_networks_probabilities_and_labels_more_surely():
    torch.manual_seed(0)
    network = TokenLstm(
        LstmConfig(codebook_sizes=(4, 4), n_labels=1, lag_steps=(2,), embed=8, hidden=8, head_width=8)
    )
    for logits in network.heads.output_layers:
        logits.weight.data.zero_()
        logits.bias.data = torch.from_numpy(HEIGHTS.copy())
    draws = np.random.default_rng(0).random((20_000, 2))
    values = Places(network, 1).run([Stride(0, np.zeros(20_000, np.int64), draws=draws, temperature=0.8)])[0]
    assert np.abs(shares(values[:, 0]) - softmax(HEIGHTS / (0.8 * LABEL_CALM))).max() < 0.015
    assert np.abs(shares(values[:, 1]) - softmax(HEIGHTS / 0.8)).max() < 0.015
