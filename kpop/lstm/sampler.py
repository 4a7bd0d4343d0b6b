"""Choosing by chance: the network's probabilities, sharpened or flattened by a temperature."""

import numpy as np
import torch


class Sampler:
    """Draws values with probabilities proportional to p^(1/temperature); temperature 0 takes the likeliest.

    Each row of the batch has a random stream of its own, so what is drawn does not depend on who else is in the batch.
    """

    def __init__(self, temperature: float, generators: list[np.random.Generator]) -> None:
        if not temperature >= 0:
            raise ValueError(f"temperature must not be negative: {temperature}")
        self.temperature, self.generators = temperature, generators

    def __call__(self, stream: int, logits: torch.Tensor) -> torch.Tensor:
        """(batch, size) logits -> values (batch,) int64."""
        if self.temperature == 0:
            return logits.argmax(1)
        heights = torch.softmax(logits.double() / self.temperature, 1).cumsum(1)
        draws = torch.tensor([[generator.random()] for generator in self.generators], dtype=torch.float64)
        chosen = torch.searchsorted(heights, draws, right=True)
        return chosen.squeeze(1).clamp_max(logits.shape[1] - 1)
