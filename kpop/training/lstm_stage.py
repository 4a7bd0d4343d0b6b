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
LABEL_WEIGHT = 2.0  # few bits, on which all others hang
FINE_WEIGHT = 0.5  # of a band's second level and below: many bits, mostly texture
HIDDEN_LABELS = 0.15  # share of windows whose beginning, of any length, has labels that are not shown: as in a clip
HIDDEN_LOOKBACK = 0.05  # share of windows without look-back
FROM_THE_START = 0.05  # share of windows that begin with their song, before which nothing is known
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
        start: CodeLstm | None = None,
        on_step: Callable[[int, CodeLstm], None] = lambda step, lstm: None,
        is_fine: tuple[bool, ...] | None = None,
    ) -> None:
        """start: a trained LSTM of the same shape to go on from; on_step is shown the LSTM after so many steps;
        is_fine: which of the codes are no band's first."""
        torch.manual_seed(0)
        self.sequences, self.device = sequences, device
        self.all_held_out, self.held_out = held_out, held_out[:EVALUATION_SONGS]
        self.model = CodeLstm(config).to(device)
        if start is not None:
            self.model.load_state_dict(start.state_dict())
        self.songs_id, self._publish, self._on_step = songs_id, publish, on_step
        fine = is_fine or (False,) * (config.n_streams - config.n_labels)
        self.weights = (LABEL_WEIGHT,) * config.n_labels + tuple(FINE_WEIGHT if each else 1.0 for each in fine)
        on_step(0, self.model)
        self._shares = np.array([len(s.slots) for s in sequences], float) / sum(len(s.slots) for s in sequences)

    def loss(self, step: int) -> torch.Tensor:
        """Nats a step, weighted by stream; inputs are partly corrupted, so that it learns to recover from mistakes."""
        batch = self._corrupted(self._batch(np.random.default_rng([2, step])))
        with mixed_precision(self.device):
            logits, _ = self.model(batch.before, batch.lookbacks, batch.slots, batch.targets)
        nats = nats_by_stream(logits, batch.targets)
        return sum(weight * stream for weight, stream in zip(self.weights, nats, strict=True))

    def after_step(self, step: int) -> None:
        """Show how far it has come."""
        self._on_step(step + 1, self.model)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Bits a step on held-out songs; those of the labels apart, too."""
        self.model.eval()
        with mixed_precision(self.device):
            bits = bits_by_stream(self.model, self.held_out, EVALUATION_STEPS, self.device)
        return {"held_out": float(bits.sum()), "label_bits": float(bits[: self.model.config.n_labels].sum())}

    def publish(self, curve: list[dict[str, float]]) -> None:
        """The best model so far becomes the checkpoint: a run that is cut off leaves one that plays."""
        self._publish(self.model, curve)

    def _batch(self, rng: np.random.Generator) -> Batch:
        windows, slots = [], []
        n_steps = min(WINDOW_STEPS, min(len(s.slots) for s in self.sequences))
        for index in rng.choice(len(self.sequences), BATCH, p=self._shares):
            sequence = self.sequences[index]
            first = int(rng.integers(len(sequence.slots) - n_steps + 1)) if rng.random() > FROM_THE_START else 0
            windows.append(window(sequence, first, n_steps, self.model.config))
            slots.append(sequence.slots[first : first + n_steps])
        return as_batch(windows, slots, self.device)

    def _corrupted(self, batch: Batch) -> Batch:
        before = self._by_chance(batch.before)
        lookbacks = [self._by_chance(earlier) for earlier in batch.lookbacks]
        share = torch.rand(3, len(before), 1, 1, device=self.device)
        times = torch.arange(before.shape[1], device=self.device)[:, None]
        labels_until = torch.where(share[0] < HIDDEN_LABELS, share[1] * before.shape[1], 0)  # (batch, 1, 1)
        is_label = torch.arange(before.shape[2], device=self.device) < self.model.config.n_labels
        no_lookback, unknown = share[2] < HIDDEN_LOOKBACK, self.model.unknown
        before = torch.where((times - 1 < labels_until) & (labels_until > 0) & is_label, unknown, before)
        lookbacks = [
            torch.where((times - ago < labels_until) & (labels_until > 0) & is_label | no_lookback, unknown, earlier)
            for ago, earlier in zip(self.model.config.lookback_steps, lookbacks, strict=True)
        ]
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
