"""Products in eight bits, and curves without the C library."""

import math

import numpy as np
import pytest
from numba import njit

from kpop.lstm import curves
from kpop.lstm.products import ARITHMETICS, LARGEST, SPARE_SONGS, PackedMatrices, in_eight_bits


def products(arithmetic, weight: np.ndarray, bias: np.ndarray, x: np.ndarray, n_songs: int) -> np.ndarray:
    """x (n_songs, n_columns) in eight bits times a matrix that lies behind another one."""
    packed = PackedMatrices()
    packed.add(np.ones((5, 7), np.float32))
    packed.add(weight, bias)
    weights, scales, biases, matrices = packed.arrays()
    rows = np.zeros((n_songs + SPARE_SONGS, -(-x.shape[1] // 16) * 16), np.int8)
    rows[:n_songs, : x.shape[1]] = x
    out = np.zeros((n_songs + SPARE_SONGS, -(-len(weight) // 32) * 32), np.float32)
    x_scale, x_sum = np.linspace(0.01, 0.02, len(rows)).astype(np.float32), rows.sum(1, dtype=np.int32)
    arithmetic(weights, scales, biases, tuple(map(int, matrices[1])), rows, x_scale, x_sum, n_songs, out)
    return out[:n_songs, : len(weight)]


@pytest.mark.parametrize("n_songs", [1, 2, 3, 5, 6, 10, 13, 20])
@pytest.mark.parametrize("shape", [(32, 16), (61, 28), (40, 768)])
def test_products_are_exact_and_the_same_in_all_arithmetics(n_songs, shape):
    rng = np.random.default_rng(n_songs)
    weight, bias = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape[0]).astype(np.float32)
    x = rng.integers(-LARGEST, LARGEST + 1, (n_songs, shape[1])).astype(np.int8)
    rounded, scales = in_eight_bits(weight)
    sums = (x.astype(np.int64) @ rounded.T.astype(np.int64)).astype(np.float32)
    expected = sums * scales * np.linspace(0.01, 0.02, n_songs + SPARE_SONGS).astype(np.float32)[:n_songs, None] + bias
    for arithmetic in ARITHMETICS.values():
        assert np.array_equal(products(arithmetic, weight, bias, x, n_songs), expected)


def test_the_largest_weights_and_activations_do_not_overflow():
    weight, x = np.full((32, 1024), -1, np.float32), np.full((1, 1024), -LARGEST, np.int8)
    for arithmetic in ARITHMETICS.values():
        product = products(arithmetic, weight, np.zeros(32, np.float32), x, 1)
        assert np.allclose(product, 1024 * LARGEST * 0.01)


X = np.concatenate([np.linspace(-12, 12, 100_001), np.geomspace(1e-6, 1e4, 500), -np.geomspace(1e-6, 1e4, 500)])
EXACT = {
    curves.tanh: np.tanh,
    curves.sigmoid: lambda x: 0.5 + 0.5 * np.tanh(x / 2),
    curves.gelu: lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def along(curve, x: np.ndarray) -> np.ndarray:
    @njit
    def each(x, out):
        for i in range(len(x)):
            out[i] = curve(x[i])

    out = np.empty_like(x)
    each(x, out)
    return out


@pytest.mark.parametrize("curve", EXACT, ids=lambda curve: curve.__name__)
def test_curves_are_within_their_stated_error(curve):
    x = X.astype(np.float32)
    error = along(curve, x).astype(np.float64) - EXACT[curve](x.astype(np.float64))
    assert np.abs(error / np.maximum(1, np.abs(x))).max() < 4e-7


def test_exponentials_are_within_their_stated_error():
    x = -np.geomspace(1e-9, 708, 2_000)
    assert np.abs(along(curves.exp, x) / np.exp(x) - 1).max() < 1e-13
    assert curves.exp(0.0) == 1
    assert 0 <= curves.exp(-np.inf) < 1e-300
