"""Choosing by chance: the network's probabilities, sharpened or flattened by a temperature, without their dregs."""

import numpy as np
import torch

LABEL_CALM = 0.5  # of the temperature, for labels: the score is written more surely than it is played


class Sampler:
    """Draws values with probabilities proportional to p^(1/temperature); temperature 0 takes the likeliest.

    least: values less likely than this share of the likeliest one, at temperature 1, are never drawn (min-p sampling;
    Nguyen et al. 2024, "Turning up the heat"). What a network has not learnt to exclude makes up a thin floor of
    probability, and a song of ten thousand draws would step on it again and again.
    n_labels: how many of the streams are labels, which are drawn at LABEL_CALM times the temperature.
    Each row of the batch has a random stream of its own, so what is drawn does not depend on who else is in the batch.
    """

    def __init__(
        self, temperature: float, generators: list[np.random.Generator], least: float = 0.0, n_labels: int = 0
    ) -> None:
        if not temperature >= 0:
            raise ValueError(f"temperature must not be negative: {temperature}")
        if not 0 <= least < 1:
            raise ValueError(f"least must be a share below 1: {least}")
        self.temperature, self.generators, self.least, self.n_labels = temperature, generators, least, n_labels

    def __call__(self, stream: int, logits: torch.Tensor) -> torch.Tensor:
        """(batch, size) logits -> values (batch,) int64."""
        if self.temperature == 0:
            return logits.argmax(1)
        if self.least:
            logits = logits.masked_fill(logits < logits.amax(1, keepdim=True) + np.log(self.least), -torch.inf)
        temperature = self.temperature * (LABEL_CALM if stream < self.n_labels else 1.0)
        heights = torch.softmax(logits.double() / temperature, 1).cumsum(1)
        draws = torch.tensor([[generator.random()] for generator in self.generators], dtype=torch.float64)
        chosen = torch.searchsorted(heights, draws, right=True)
        return chosen.squeeze(1).clamp_max(logits.shape[1] - 1)
