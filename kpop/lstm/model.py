"""An LSTM that predicts the next step's tokens from all steps before it and the position in the metre.

A step has one token of each codebook: first the labels (section, key, chord, tune, syllable), then the codec's
codebooks. Within a step they are predicted one after the other, each given those before it, so that the product of
their probabilities is exactly the probability of the step (cf. "flattening" in Copet et al. 2023, "Simple and
controllable music generation"). Music repeats after one bar and after four, and a chorus after a minute, so the tokens
of then are inputs as well: with two constant lags, and at the same place in the last section of the same kind.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kpop.constants import N_METRE_POSITIONS, STEPS_PER_BAR


@dataclass(frozen=True)
class LstmConfig:
    """The LSTM's hyperparameters."""

    codebook_sizes: tuple[int, ...]  # labels first, then the codec's, band by band, coarse first
    n_labels: int  # how many of the codebooks are labels
    lag_steps: tuple[int, ...] = (STEPS_PER_BAR, 4 * STEPS_PER_BAR)  # constant lags, before the predicted step
    recalls: bool = False  # whether the tokens at recalled_steps() are another lagged input
    embed: int = 256
    hidden: int = 512
    n_layers: int = 2
    head_width: int = 192
    dropout: float = 0.1  # share of activations dropped in training
    corruption: float = 0.06  # share of input tokens replaced at random in training

    @property
    def n_codebooks(self) -> int:
        """Tokens per step, labels included."""
        return len(self.codebook_sizes)

    @property
    def n_lags(self) -> int:
        """Lagged inputs: one for each of lag_steps, and the recalled one."""
        return len(self.lag_steps) + self.recalls

    @property
    def codebook_offsets(self) -> tuple[int, ...]:
        """First row of each codebook in an embedding table of all, then its number of rows: each codebook has one row
        more than tokens, for its mask token."""
        return tuple(accumulate((size + 1 for size in self.codebook_sizes), initial=0))


def recalled_steps(sections: np.ndarray) -> np.ndarray:
    """The step that each step recalls, int64 (n_steps,): the same place in the last run of the same section label.

    sections: int (n_steps,), the section label of each step; 0 is unknown. -1 where there is nothing to recall.
    """
    recalled, last = np.full(len(sections), -1), {}
    starts = np.flatnonzero(np.diff(sections, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(sections)], strict=True):
        if sections[start] in last:
            earlier = np.arange(*last[sections[start]])[: stop - start]
            recalled[start : start + len(earlier)] = earlier
        if sections[start]:
            last[sections[start]] = start, stop
    return recalled


class TokenLstm(nn.Module):
    """The network. Tokens are int64 (batch, n_steps, n_codebooks); a codebook's size is its mask token (unknown)."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.codebook_offsets[-1], config.embed)
        self.metre_embedding = nn.Embedding(N_METRE_POSITIONS, config.embed)
        self.lag_projections = nn.ModuleList(
            nn.Linear(config.embed, config.embed, bias=False) for _ in range(config.n_lags)
        )
        self.lstm = nn.LSTM(config.embed, config.hidden, config.n_layers, batch_first=True, dropout=config.dropout)
        self.drop = nn.Dropout(config.dropout)
        self.heads = TokenHeads(config)
        self.register_buffer("offsets", torch.tensor(config.codebook_offsets[:-1]), persistent=False)
        self.register_buffer("mask_tokens", torch.tensor(config.codebook_sizes), persistent=False)
        for table in (self.token_embedding, self.metre_embedding):
            nn.init.normal_(table.weight, std=0.05)

    def forward(
        self, previous: torch.Tensor, lagged: list[torch.Tensor], positions: torch.Tensor, targets: torch.Tensor
    ) -> list[torch.Tensor]:
        """Logits of each codebook (batch, n_steps, size) by teacher forcing with the targets.

        previous: tokens one step earlier; lagged: tokens lag_steps earlier, then recalled ones; positions: in the
        metre, int64 (batch, n_steps), 0 to N_METRE_POSITIONS - 1.
        """
        x = self._embed(previous) + self.metre_embedding(positions)
        for projection, tokens in zip(self.lag_projections, lagged, strict=True):
            x = x + projection(self._embed(tokens))
        hidden = self.lstm(self.drop(x))[0]
        return self.heads(self.drop(hidden), [tokens + self.offsets for tokens in lagged], targets + self.offsets)

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = (tokens + self.offsets).flatten(0, 1)
        return F.embedding_bag(rows, self.token_embedding.weight, mode="sum").unflatten(0, tokens.shape[:2])


class TokenHeads(nn.Module):
    """Predict each codebook from the LSTM's state, the step's earlier tokens, and the codebook's own lagged tokens."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        width, n_codebooks = config.head_width, config.n_codebooks
        self.hidden_projection = nn.Linear(config.hidden, n_codebooks * width)
        self.prefix_embedding = nn.Embedding(config.codebook_offsets[-1], width)
        self.prefix_projections = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(n_codebooks - 1))
        self.lag_embeddings = nn.ModuleList(
            nn.Embedding(config.codebook_offsets[-1], width) for _ in range(config.n_lags)
        )
        self.output_layers = nn.ModuleList(nn.Linear(width, size) for size in config.codebook_sizes)
        for table in (self.prefix_embedding, *self.lag_embeddings):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, hidden: torch.Tensor, lagged: list[torch.Tensor], targets: torch.Tensor) -> list[torch.Tensor]:
        """hidden (batch, n_steps, hidden), lagged and targets as embedding rows -> logits of each codebook."""
        features = self.hidden_projection(hidden).unflatten(-1, (len(self.output_layers), -1))
        for table, rows in zip(self.lag_embeddings, lagged, strict=True):
            features = features + table(rows)
        prefix, logits = None, []
        # unbind: the gradient of indexing would fill a tensor of all codebooks for each of them
        for codebook, feature in enumerate(features.unbind(-2)):
            if prefix is not None:
                feature = feature + self.prefix_projections[codebook - 1](prefix)
            logits.append(self.output_layers[codebook](F.gelu(feature, approximate="tanh")))
            embedded = self.prefix_embedding(targets[..., codebook])
            prefix = embedded if prefix is None else prefix + embedded
        return logits
