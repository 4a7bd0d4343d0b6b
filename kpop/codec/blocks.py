"""ConvNeXt blocks over time (Liu et al. 2022, "A ConvNet for the 2020s"), channels last."""

import torch
from torch import nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer network at each moment, added to the input.

    (batch, n_times, width) float -> the same shape. Pointwise convolutions are nn.Linear: on a CPU they are several
    times faster in bfloat16 than nn.Conv1d.
    """

    def __init__(self, width: int, kernel: int, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.contract(nn.functional.gelu(self.expand(self.norm(y)), approximate="tanh"))
        return x + self.scale * y


def block_stack(n_blocks: int, width: int, kernel: int) -> nn.Sequential:
    """n_blocks blocks in a row."""
    return nn.Sequential(*(ConvNeXtBlock(width, kernel) for _ in range(n_blocks)))
