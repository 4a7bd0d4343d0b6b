"""The LSTM's shape.

An LSTM over codes: what is the next step, given all before it and the metronome?

Within a step the streams are predicted one after the other, each given those before it, so that the product of the
probabilities is exactly the probability of the step (Copet et al. 2023, "MusicGen", call the alternative, all at once,
inexact). Look-back: music repeats after a bar and after four, so the codes of then are shown as well.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from kpop.constants import N_METRE_POSITIONS, STEPS_PER_BAR


@dataclass(frozen=True)
class LstmConfig:
    """Everything the LSTM is built from.

    codebook_sizes: how many values each stream of a step has. Labels come first (what is known of a song from its score;
        the LSTM writes its own as it goes on), then the codec's codes, band by band, coarse first
    n_labels: how many of the streams are labels
    lag_steps: how long before the step it predicts the network is also shown the codes (1 bar, 4 bars)
    embed, hidden, n_layers, head_width: widths and depth
    dropout, corruption: shares of activations dropped, and of input codes replaced by chance, while training
    """

    codebook_sizes: tuple[int, ...]
    n_labels: int
    lag_steps: tuple[int, ...] = (STEPS_PER_BAR, 4 * STEPS_PER_BAR)
    embed: int = 256
    hidden: int = 512
    n_layers: int = 2
    head_width: int = 192
    dropout: float = 0.1
    corruption: float = 0.06

    @property
    def n_codebooks(self) -> int:
        """Values a step: labels and codes."""
        return len(self.codebook_sizes)

    @property
    def codebook_offsets(self) -> tuple[int, ...]:
        """Where each stream's rows begin in a table of all streams; each has one row more, for "not known"."""
        return tuple(sum(size + 1 for size in self.codebook_sizes[:stream]) for stream in range(self.n_codebooks))

    @property
    def n_rows(self) -> int:
        """Rows of a table with a row for each value of each stream, and for "not known"."""
        return sum(size + 1 for size in self.codebook_sizes)


class TokenLstm(nn.Module):
    """The network. Streams are int64 tensors (batch, n_steps, n_codebooks); the size of a stream: "not known"."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.n_rows, config.embed)
        self.metre_embedding = nn.Embedding(N_METRE_POSITIONS, config.embed)
        self.lag_projections = nn.ModuleList(
            nn.Linear(config.embed, config.embed, bias=False) for _ in config.lag_steps
        )
        self.lstm = nn.LSTM(config.embed, config.hidden, config.n_layers, batch_first=True, dropout=config.dropout)
        self.drop = nn.Dropout(config.dropout)
        self.heads = TokenHeads(config)
        self.register_buffer("offsets", torch.tensor(config.codebook_offsets), persistent=False)
        self.register_buffer("unknown", torch.tensor(config.codebook_sizes), persistent=False)
        for table in (self.token_embedding, self.metre_embedding):
            nn.init.normal_(table.weight, std=0.05)

    def fused_layers(self) -> list[nn.Linear]:
        """The LSTM's layers for stepping: each one product [x; h] -> gates (enter, forget, candidate, leave)."""
        return [self._fused(layer) for layer in range(self.config.n_layers)]

    @torch.no_grad()
    def _fused(self, layer: int) -> nn.Linear:
        parts = [getattr(self.lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        weight = torch.cat(parts[:2], 1)
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.copy_(weight)
        linear.bias.copy_(parts[2] + parts[3])
        return linear

    def inputs(self, before: torch.Tensor, lookbacks: list[torch.Tensor], slots: torch.Tensor) -> torch.Tensor:
        """The LSTM's input (batch, n_steps, embed).

        before: the streams one step earlier; lookbacks: the streams lag_steps earlier; slots: metronome positions
        (batch, n_steps) int64, 0..N_METRE_POSITIONS-1.
        """
        x = self._embed(before) + self.metre_embedding(slots)
        for linear, earlier in zip(self.lag_projections, lookbacks, strict=True):
            x = x + linear(self._embed(earlier))
        return x

    def forward(
        self,
        before: torch.Tensor,
        lookbacks: list[torch.Tensor],
        slots: torch.Tensor,
        targets: torch.Tensor,
        state: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[list[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Logits of each stream (batch, n_steps, size) given the targets' earlier streams, and the state after."""
        hidden, state = self.lstm(self.drop(self.inputs(before, lookbacks, slots)), state)
        return self.heads(self.drop(hidden), [rows + self.offsets for rows in lookbacks], targets + self.offsets), state

    def _embed(self, streams: torch.Tensor) -> torch.Tensor:
        rows = (streams + self.offsets).flatten(0, 1)
        return F.embedding_bag(rows, self.token_embedding.weight, mode="sum").unflatten(0, streams.shape[:2])


class TokenHeads(nn.Module):
    """Predict each stream from the LSTM's state, the streams before it in the step, and its own value in look-back."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        width, n_codebooks = config.head_width, config.n_codebooks
        self.hidden_projection = nn.Linear(config.hidden, n_codebooks * width)
        self.prefix_embedding = nn.Embedding(config.n_rows, width)
        self.prefix_projections = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(n_codebooks - 1))
        self.lag_embeddings = nn.ModuleList(nn.Embedding(config.n_rows, width) for _ in config.lag_steps)
        self.output_layers = nn.ModuleList(nn.Linear(width, size) for size in config.codebook_sizes)
        for table in (self.prefix_embedding, *self.lag_embeddings):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, hidden: torch.Tensor, lookbacks: list[torch.Tensor], targets: torch.Tensor) -> list[torch.Tensor]:
        """hidden (batch, n_steps, hidden), lookbacks and targets as table rows -> logits of each stream."""
        features = self.features(hidden, lookbacks).unbind(-2)  # the gradient of indexing would be a tensor for each
        prefix, logits = None, []
        for stream, feature in enumerate(features):
            logits.append(self.logits(stream, feature, prefix))
            prefix = self.extend(prefix, targets[..., stream])
        return logits

    def features(self, hidden: torch.Tensor, lookbacks: list[torch.Tensor]) -> torch.Tensor:
        """What every stream knows before its step begins: (..., n_codebooks, width)."""
        features = self.hidden_projection(hidden).unflatten(-1, (len(self.output_layers), -1))
        for table, rows in zip(self.lag_embeddings, lookbacks, strict=True):
            features = features + table(rows)
        return features

    def logits(self, stream: int, feature: torch.Tensor, prefix: torch.Tensor | None) -> torch.Tensor:
        """Logits (..., size) of one stream, from its feature and the prefix of those before it, both (..., width)."""
        if prefix is not None:
            feature = feature + self.prefix_projections[stream - 1](prefix)
        return self.output_layers[stream](F.gelu(feature, approximate="tanh"))

    def extend(self, prefix: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
        """The prefix (..., width) with one more stream's values, given as table rows (...)."""
        added = self.prefix_embedding(rows)
        return added if prefix is None else prefix + added
