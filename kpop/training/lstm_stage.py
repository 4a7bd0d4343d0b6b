"""Training the LSTM: the next step of the song, in bits."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from kpop.lstm.config import LstmConfig
from kpop.lstm.network import CodeLstm
from kpop.training.machine import mixed_precision
from kpop.training.sequences import Batch, Sequence, as_batch, window

BATCH = 24
WINDOW_STEPS = 384  # six bars
HIDDEN_CONTEXT = 0.1  # share of windows that are not shown their chords, or their look-back
EVALUATION_STEPS = 2_048
EVALUATION_SONGS = 12
BITS_PER_NAT = 1 / np.log(2)


class LstmStage:
    """The LSTM in training; a Stage of kpop.training.loop."""

    name = "lstm"
    learning_rate = 2e-3
    evaluate_every = 100

    def __init__(
        self,
        sequences: list[Sequence],
        held_out: list[Sequence],
        device: torch.device,
        config: LstmConfig,
        songs_id: str,
        publish: Callable[[CodeLstm, list[dict[str, float]]], None],
    ) -> None:
        torch.manual_seed(0)
        self.sequences, self.device = sequences, device
        self.held_out = held_out[:EVALUATION_SONGS]
        self.model = CodeLstm(config).to(device)
        self.songs_id, self._publish = songs_id, publish
        self._shares = np.array([len(s.slots) for s in sequences], float) / sum(len(s.slots) for s in sequences)

    def loss(self, step: int) -> torch.Tensor:
        """Nats a step, the inputs partly corrupted so that the LSTM learns to recover from its own mistakes."""
        batch = self._corrupted(self._batch(np.random.default_rng([2, step])))
        with mixed_precision(self.device):
            logits, _ = self.model(batch.before, batch.lookbacks, batch.slots, batch.targets)
        return sum(nats_by_stream(logits, batch.targets))

    def after_step(self, step: int) -> None:
        """Nothing is learnt without a gradient here."""

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Bits a step on held-out songs; those of the chord apart, too."""
        self.model.eval()
        with mixed_precision(self.device):
            bits = bits_by_stream(self.model, self.held_out, EVALUATION_STEPS, self.device)
        return {"held_out": float(bits.sum()), "chord_bits": float(bits[0])}

    def publish(self, curve: list[dict[str, float]]) -> None:
        """The best model so far becomes the checkpoint: a run that is cut off leaves one that plays."""
        self._publish(self.model, curve)

    def _batch(self, rng: np.random.Generator) -> Batch:
        windows, slots = [], []
        n_steps = min(WINDOW_STEPS, min(len(s.slots) for s in self.sequences))
        for index in rng.choice(len(self.sequences), BATCH, p=self._shares):
            sequence = self.sequences[index]
            first = int(rng.integers(len(sequence.slots) - n_steps + 1))
            windows.append(window(sequence, first, n_steps, self.model.config))
            slots.append(sequence.slots[first : first + n_steps])
        return as_batch(windows, slots, self.device)

    def _corrupted(self, batch: Batch) -> Batch:
        before = self._by_chance(batch.before)
        lookbacks = [self._by_chance(earlier) for earlier in batch.lookbacks]
        hidden = torch.rand(2, len(before), 1, 1, device=self.device) < HIDDEN_CONTEXT
        chord_only = torch.arange(before.shape[2], device=self.device) == 0
        unknown = self.model.unknown
        before = torch.where(hidden[0] & chord_only, unknown, before)
        lookbacks = [torch.where(hidden[0] & chord_only | hidden[1], unknown, earlier) for earlier in lookbacks]
        return Batch(before, lookbacks, batch.slots, batch.targets)

    def _by_chance(self, streams: torch.Tensor) -> torch.Tensor:
        """Some values replaced by those of the same stream at other moments of the batch."""
        flat = streams.flatten(0, 1)
        others = flat[torch.randperm(len(flat), device=flat.device)].view_as(streams)
        return torch.where(
            torch.rand(streams.shape, device=self.device) < self.model.config.corruption, others, streams
        )


def nats_by_stream(logits: list[torch.Tensor], targets: torch.Tensor) -> list[torch.Tensor]:
    """Mean cross-entropy of each stream, nats a step."""
    return [
        F.cross_entropy(stream_logits.float().flatten(0, 1), targets[..., stream].flatten())
        for stream, stream_logits in enumerate(logits)
    ]


@torch.no_grad()
def bits_by_stream(model: CodeLstm, songs: list[Sequence], n_steps: int, device: torch.device) -> np.ndarray:
    """Bits a step (n_streams,) that the model needs for the first n_steps of songs that it hears from the beginning.

    No more steps are taken than the shortest song has.
    """
    n_steps = min(n_steps, *(len(song.slots) for song in songs))
    windows = [window(song, 0, n_steps, model.config) for song in songs]
    batch = as_batch(windows, [song.slots[:n_steps] for song in songs], device)
    logits, _ = model(batch.before, batch.lookbacks, batch.slots, batch.targets)
    return np.array([nats.item() * BITS_PER_NAT for nats in nats_by_stream(logits, batch.targets)])
