"""Temperature and chance."""

import numpy as np
import pytest
import torch

from kpop.lstm.sampler import Sampler

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])


def shares(temperature: float, n: int = 20_000) -> np.ndarray:
    sampler = Sampler(temperature, [np.random.default_rng(0)])
    drawn = [int(sampler(0, LOGITS)) for _ in range(n)]
    return np.bincount(drawn, minlength=4) / n


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_probabilities_are_raised_to_one_over_temperature(temperature):
    expected = torch.softmax(LOGITS[0] / temperature, 0).numpy()
    assert np.abs(shares(temperature) - expected).max() < 0.015


def test_temperature_zero_takes_the_likeliest():
    assert Sampler(0, [np.random.default_rng(0)])(0, LOGITS).tolist() == [0]


def test_a_tiny_temperature_is_nearly_zero_and_breaks_nothing():
    assert shares(1e-6, 50)[0] == 1


def test_negative_temperature_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Sampler(-0.1, [])


def test_what_is_much_less_likely_than_the_likeliest_is_never_drawn():
    sampler = Sampler(2.0, [np.random.default_rng(0)], least=0.1)
    drawn = {int(sampler(0, LOGITS)) for _ in range(2_000)}
    assert drawn == {0, 1, 2}, "e^-2 is 0.14 of the likeliest, e^-3 only 0.05, whatever the temperature"
    assert Sampler(0, [np.random.default_rng(0)], least=0.1)(0, LOGITS).tolist() == [0]


def test_labels_are_drawn_more_surely():
    sampler = Sampler(1.0, [np.random.default_rng(0)], n_labels=1)
    label, code = (np.mean([int(sampler(stream, LOGITS)) == 0 for _ in range(4_000)]) for stream in (0, 1))
    assert abs(code - torch.softmax(LOGITS[0], 0)[0].item()) < 0.03
    assert abs(label - torch.softmax(2 * LOGITS[0], 0)[0].item()) < 0.03


def test_each_row_has_a_random_stream_of_its_own():
    together = Sampler(1.0, [np.random.default_rng(s) for s in (1, 2, 3)])
    alone = Sampler(1.0, [np.random.default_rng(2)])
    for _ in range(50):
        assert together(0, LOGITS.expand(3, -1))[1] == alone(0, LOGITS)[0]
