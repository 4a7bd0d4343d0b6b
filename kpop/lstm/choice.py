"""Choosing by chance: the network's probabilities, sharpened or flattened by a temperature, without their dregs."""

import numpy as np
from numba import njit

from kpop.lstm.curves import exp
from kpop.lstm.vectors import LANES, at_least, largest, lowest_bit

FORBIDDEN = np.float32(-np.inf)  # the logit of a value that may not be
COLDEST = 1e-9  # temperature; what is colder comes to the same
LOWEST = np.finfo(np.float32).min


@njit(error_model="numpy")
def choose(logits, row, n_vectors, temperature, log_least, draw, chances, candidates):
    """One of a row's values with probability proportional to p^(1/temperature); temperature 0 takes the likeliest.

    log_least: values whose probability at temperature 1 is less than e^log_least of the likeliest one's are never drawn
    (min-p sampling; Nguyen et al. 2024, "Turning up the heat"). draw: 0..1. chances, candidates: room for all values.
    """
    top = largest(logits, row, n_vectors)
    floor = max(np.float32(top + log_least), LOWEST) if temperature > 0 else top
    n_candidates, candidates[0] = 0, 0  # which is what comes of a network that gives no numbers
    for vector in range(n_vectors):
        bits = at_least(logits, row, vector, floor)
        while bits:
            value = vector * LANES + lowest_bit(bits)
            candidates[n_candidates], chances[n_candidates] = value, logits[row, value] - top
            n_candidates += 1
            bits &= bits - 1
    if temperature == 0:
        return candidates[0]
    sharpness, total = 1 / max(temperature, COLDEST), 0.0
    for i in range(n_candidates):
        chances[i] = exp(chances[i] * sharpness)
    for i in range(n_candidates):
        total += chances[i]
        chances[i] = total
    chosen = 0
    while chosen < n_candidates - 1 and chances[chosen] <= draw * total:
        chosen += 1
    return candidates[chosen]


@njit(error_model="numpy")
def log_probability(logits, row, n_vectors, value):
    """Natural logarithm of the probability of one of a row's values."""
    top, total = largest(logits, row, n_vectors), 0.0
    for i in range(n_vectors * LANES):
        total += exp(np.float64(logits[row, i] - top))
    return np.float64(logits[row, value] - top) - np.log(total)
