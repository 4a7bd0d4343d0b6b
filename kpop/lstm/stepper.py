"""The LSTM one step at a time: what it has heard, and how it goes on. Nothing here knows of audio."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from kpop.lstm.network import CodeLstm

Choose = Callable[[int, torch.Tensor], torch.Tensor]
"""(stream, logits (batch, size)) -> chosen values (batch,) int64."""


class Stepper:
    """A batch of songs in the making, with the LSTM's state and as much past as it looks back to."""

    def __init__(self, model: CodeLstm, batch: int = 1, layers: Sequence[nn.Module] | None = None) -> None:
        """layers: model.fused_layers(), or what stands in for them."""
        self.model, self.config = model, model.config
        self.layers = layers or model.fused_layers()
        self.hidden = [torch.zeros(batch, self.config.hidden) for _ in self.layers]
        self.cell = [torch.zeros(batch, self.config.hidden) for _ in self.layers]
        self.n_past = max(self.config.lookback_steps)
        self.past = model.unknown.expand(batch, self.n_past, -1).clone()  # a ring: step t is at t % n_past
        self.step = 0

    @torch.inference_mode()
    def hear(self, streams: torch.Tensor, slots: torch.Tensor) -> None:
        """Take in known steps (batch, n_steps, n_streams) int64 at metronome slots (n_steps,) int64."""
        for step, slot in enumerate(slots):
            self._advance(slot)
            self._remember(streams[:, step])

    @torch.inference_mode()
    def next(self, slot: torch.Tensor, choose: Choose) -> torch.Tensor:
        """Make the next step, at a metronome slot () int64; choose is asked stream by stream.

        Returns its values (batch, n_streams) int64.
        """
        heads, offsets = self.model.heads, self.config.stream_offsets
        features = heads.features(self._advance(slot), [values + self.model.offsets for values in self._lookbacks()])
        prefix, values = None, []
        for stream, offset in enumerate(offsets):
            values.append(choose(stream, heads.logits(stream, features[:, stream], prefix)))
            prefix = heads.extend(prefix, values[-1] + offset)
        self._remember(torch.stack(values, 1))
        return torch.stack(values, 1)

    def _advance(self, slot: torch.Tensor) -> torch.Tensor:
        """Move the state on by one step, (batch, hidden) of the last layer."""
        before = self.past[:, (self.step - 1) % self.n_past]
        lookbacks = [earlier.unsqueeze(1) for earlier in self._lookbacks()]
        x = self.model.inputs(before.unsqueeze(1), lookbacks, slot.expand(len(before), 1)).squeeze(1)
        for layer, product in enumerate(self.layers):
            gates = product(torch.cat([x, self.hidden[layer]], 1))
            enter, forget, candidate, leave = gates.chunk(4, 1)
            self.cell[layer] = forget.sigmoid() * self.cell[layer] + enter.sigmoid() * candidate.tanh()
            self.hidden[layer] = x = leave.sigmoid() * self.cell[layer].tanh()
        return x

    def _lookbacks(self) -> list[torch.Tensor]:
        return [self.past[:, (self.step - ago) % self.n_past] for ago in self.config.lookback_steps]

    def _remember(self, values: torch.Tensor) -> None:
        self.past[:, self.step % self.n_past] = values
        self.step += 1
