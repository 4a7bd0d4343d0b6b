"""Residual vector quantization (Zeghidour et al. 2021, "SoundStream"; van den Oord et al. 2017, "VQ-VAE")."""

import torch
from torch import nn

DECAY = 0.99  # exponential moving average of a codebook (VQ-VAE, appendix A.1)
DEAD_SHARE = 0.03  # a code vector used less than this share of equal use is restarted at a random input


class Codebook(nn.Module):
    """One codebook, updated by exponential moving averages instead of gradients.

    Buffers: vectors (size, dim); counts (size,) and sums (size, dim), the running averages; seeded, 0 until the
    codebook has been initialised with a batch of data.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("seeded", torch.zeros(1))

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """(n, dim) float -> (n,) int64, index of the nearest code vector to each row."""
        return (self.vectors.square().sum(1) - 2 * (x @ self.vectors.T)).argmin(1)

    @torch.no_grad()
    def learn(self, x: torch.Tensor, codes: torch.Tensor, generator: torch.Generator) -> None:
        """Move code vectors towards the rows (n, dim) assigned to them; unused ones to random rows."""
        size = len(self.vectors)
        self.counts.mul_(DECAY).add_(torch.bincount(codes, minlength=size).to(x.dtype), alpha=1 - DECAY)
        self.sums.mul_(DECAY).index_add_(0, codes, x, alpha=1 - DECAY)
        self._restart(self.counts < DEAD_SHARE * len(x) / size, x, generator)
        self.vectors.copy_(self.sums / self.counts.clamp_min(1e-6).unsqueeze(1))

    @torch.no_grad()
    def seed(self, x: torch.Tensor, generator: torch.Generator) -> None:
        """Initialise with random rows of data (n, dim), so that every code is used from the first step on."""
        self._restart(torch.ones(len(self.vectors), dtype=torch.bool, device=x.device), x, generator)
        self.vectors.copy_(self.sums / self.counts.unsqueeze(1))
        self.seeded.fill_(1)

    def _restart(self, dead: torch.Tensor, x: torch.Tensor, generator: torch.Generator) -> None:
        rows = torch.randint(len(x), (int(dead.sum()),), generator=generator).to(x.device)
        equal_use = len(x) / len(self.vectors)
        self.counts[dead] = equal_use
        self.sums[dead] = x[rows] * equal_use


class ResidualQuantizer(nn.Module):
    """A sequence of codebooks, each quantizing the residual of those before it."""

    def __init__(self, sizes: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.codebooks = nn.ModuleList(Codebook(size, dim) for size in sizes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, dim) -> quantized (n, dim) and tokens (n, n_levels) int64."""
        residual, codes = x, []
        for codebook in self.codebooks:
            codes.append(codebook.nearest(residual))
            residual = residual - codebook.vectors[codes[-1]]
        return x - residual, torch.stack(codes, 1)

    def vectors(self, codes: torch.Tensor) -> torch.Tensor:
        """(..., n_levels) int64 -> (..., dim), the sum of the chosen vectors."""
        return sum(codebook.vectors[codes[..., level]] for level, codebook in enumerate(self.codebooks))

    @torch.no_grad()
    def learn(self, x: torch.Tensor, generator: torch.Generator) -> None:
        """Update every codebook towards the residuals of x (n, dim) that it quantizes."""
        residual = x
        for codebook in self.codebooks:
            if not codebook.seeded:
                codebook.seed(residual, generator)
            codes = codebook.nearest(residual)
            quantized = codebook.vectors[codes]
            codebook.learn(residual, codes, generator)
            residual = residual - quantized
