"""The LSTM's weights in eight bits for stepping: a step reads every weight once, so memory's speed is its speed.

Each row of a matrix has a scale of its own (symmetric quantisation; Jacob et al. 2018, "Quantization and training of
neural networks for efficient integer-arithmetic-only inference"); activations stay float32.
"""

import copy

import numpy as np
import torch
from numba import njit
from torch import nn

from kpop.lstm.network import CodeLstm

LARGEST = 127


class Int8Linear(nn.Module):
    """Stands in for an nn.Linear, weights rounded to eight bits: (..., n_in) float32 -> (..., n_out) float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float().numpy()
        self.scales = np.maximum(np.abs(weight).max(1), 1e-12) / np.float32(LARGEST)
        self.weights = np.rint(weight / self.scales[:, None]).astype(np.int8)
        bias = linear.bias
        self.bias = np.zeros(len(weight), np.float32) if bias is None else bias.detach().float().numpy().copy()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = np.ascontiguousarray(x.numpy().reshape(-1, self.weights.shape[1]))
        out = np.empty((len(rows), len(self.weights)), np.float32)
        _multiply(self.weights, self.scales, self.bias, rows, out)
        return torch.from_numpy(out).view(*x.shape[:-1], -1)


def for_stepping(model: CodeLstm) -> tuple[CodeLstm, list[Int8Linear]]:
    """A copy of the model with eight-bit products, and its LSTM layers as Stepper takes them."""
    fast = copy.deepcopy(model).eval()
    for module in list(fast.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
    return fast, [Int8Linear(layer) for layer in model.fused_layers()]


@njit(cache=True, fastmath=True)  # fastmath: sums may be taken in another order, always the same on one machine
def _multiply(weights, scales, bias, rows, out):
    """out (n_rows, n_out) = rows (n_rows, n_in) times the transposed weights (n_out, n_in) int8, scaled, plus bias."""
    for row in range(rows.shape[0]):
        for i in range(weights.shape[0]):
            total = np.float32(0)
            for j in range(weights.shape[1]):
                total += np.float32(weights[i, j]) * rows[row, j]
            out[row, i] = total * scales[i] + bias[i]
