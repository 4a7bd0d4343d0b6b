"""The LSTM's curves without the C library: the same bits on every machine, and loops over them become vector code.

All float32 except exp. Nothing here may be compiled with fastmath: sums and products are to be taken as they stand.
"""

import math

import numpy as np
from numba import njit

# Lambert's continued fraction of tanh, cut after 13, as one fraction: y (A0 + A1 y^2 + ...) / (B0 + B1 y^2 + ...)
A0, A1, A2 = np.float32(135_135), np.float32(17_325), np.float32(378)
B0, B1, B2, B3 = np.float32(135_135), np.float32(62_370), np.float32(3_150), np.float32(28)
FAR = np.float32(4.6)  # tanh(2 * 4.6) is one in float32
ONE, TWO, HALF, QUARTER = np.float32(1), np.float32(2), np.float32(0.5), np.float32(0.25)
GELU_INNER, GELU_CUBE = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
TO_NEAREST = np.float32(1.5 * 2**23)  # added and taken off again: the nearest whole number, ties to even
TO_NEAREST_64 = 1.5 * 2**52
LEAST_EXPONENT = -708.0  # exp of it is the smallest normal double
E2, E3, E4, E5, E6, E7, E8, E9, E10, E11 = (1 / math.factorial(power) for power in range(2, 12))  # Taylor, +-ln(2) / 2


@njit(error_model="numpy")
def fraction_of_tanh(y):
    """Numerator and denominator of tanh(y) for |y| <= FAR; beyond it they stand still."""
    y = min(max(y, -FAR), FAR)
    s = y * y
    return y * (A0 + s * (A1 + s * (A2 + s))), B0 + s * (B1 + s * (B2 + s * B3))


@njit(error_model="numpy")
def tanh(x):
    """Within 4e-7 of the hyperbolic tangent: by the halved argument, tanh(2y) = 2t / (1 + t^2)."""
    p, q = fraction_of_tanh(HALF * x)
    return TWO * p * q / (p * p + q * q)


@njit(error_model="numpy")
def sigmoid(x):
    """Within 4e-7 of 1 / (1 + exp(-x)): half of 1 + tanh(x / 2)."""
    p, q = fraction_of_tanh(QUARTER * x)
    return HALF * (p + q) * (p + q) / (p * p + q * q)


@njit(error_model="numpy")
def gelu(x):
    """Hendrycks and Gimpel 2016, in its tanh form, as the network was trained with."""
    return HALF * x * (ONE + tanh(GELU_INNER * (x + GELU_CUBE * x * x * x)))


@njit(error_model="numpy")
def exp(x):
    """float64, x <= 0: within 1e-13 of its size down to LEAST_EXPONENT, where it stands still at nearly nought."""
    x = max(x, LEAST_EXPONENT)
    doublings = (x * (1 / math.log(2)) + TO_NEAREST_64) - TO_NEAREST_64
    rest = x - doublings * math.log(2)
    high = E7 + rest * (E8 + rest * (E9 + rest * (E10 + rest * E11)))
    total = 1 + rest * (1 + rest * (E2 + rest * (E3 + rest * (E4 + rest * (E5 + rest * (E6 + rest * high))))))
    return total * np.int64((np.int64(doublings) + 1023) << 52).view(np.float64)
