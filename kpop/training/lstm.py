"""What the LSTM has to beat, in bits a step: codes without order, and "the same as one bar ago".

Training the LSTM: the next step of the song, in bits.

What the LSTM dreams up at ten moments of its training, kept as codes: from noise to music.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from kpop.checkpoint import read_tensors, write_tensors
from kpop.constants import N_METRE_POSITIONS, STEPS_PER_BAR
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.places import Places, Stride
from kpop.training.data import Batch, Sequence, as_batch, window
from kpop.training.loop import mixed_precision

ANY_OTHER = 1.0  # added to every count: a value never heard in training still has a probability


def unigram_bits(train: list[Sequence], held_out: list[Sequence], sizes: tuple[int, ...]) -> np.ndarray:
    """Bits a step (n_codebooks,) on held-out songs of the frequencies of values in the training songs."""
    streams = np.concatenate([sequence.streams for sequence in held_out])
    shares = _frequencies(train, sizes)
    return np.array([-np.log2(share[streams[:, stream]]).mean() for stream, share in enumerate(shares)])


def bar_ago_bits(train: list[Sequence], held_out: list[Sequence], sizes: tuple[int, ...]) -> np.ndarray:
    """Bits a step (n_codebooks,) of: as one bar ago with probability p (fitted to training songs), else by frequency."""
    return np.array(
        [
            _mixture_bits(_pairs(held_out, stream), share, _repeat_probability(_pairs(train, stream), share))
            for stream, share in enumerate(_frequencies(train, sizes))
        ]
    )


def _frequencies(train: list[Sequence], sizes: tuple[int, ...]) -> list[np.ndarray]:
    streams = np.concatenate([sequence.streams for sequence in train])
    counts = [np.bincount(streams[:, s], minlength=size) + ANY_OTHER for s, size in enumerate(sizes)]
    return [count / count.sum() for count in counts]


def _pairs(sequences: list[Sequence], stream: int) -> tuple[np.ndarray, np.ndarray]:
    """(value one bar ago, value now) of all steps that have a bar before them."""
    values = [sequence.streams[:, stream] for sequence in sequences if len(sequence.slots) > STEPS_PER_BAR]
    return np.concatenate([v[:-STEPS_PER_BAR] for v in values]), np.concatenate([v[STEPS_PER_BAR:] for v in values])


def _repeat_probability(pairs: tuple[np.ndarray, np.ndarray], share: np.ndarray) -> float:
    grid = np.linspace(0.0, 0.99, 100)
    return float(grid[np.argmin([_mixture_bits(pairs, share, p) for p in grid])])


def _mixture_bits(pairs: tuple[np.ndarray, np.ndarray], share: np.ndarray, p: float) -> float:
    ago, now = pairs
    return float(-np.log2(p * (ago == now) + (1 - p) * share[now]).mean())


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
        publish: Callable[[TokenLstm, list[dict[str, float]]], None],
        start: TokenLstm | None = None,
        on_step: Callable[[int, TokenLstm], None] = lambda step, lstm: None,
        is_fine: tuple[bool, ...] | None = None,
    ) -> None:
        """start: a trained LSTM of the same shape to go on from; on_step is shown the LSTM after so many steps;
        is_fine: which of the codes are no band's first."""
        torch.manual_seed(0)
        self.sequences, self.device = sequences, device
        self.all_held_out, self.held_out = held_out, held_out[:EVALUATION_SONGS]
        self.model = TokenLstm(config).to(device)
        if start is not None:
            self.model.load_state_dict(start.state_dict())
        self.songs_id, self._publish, self._on_step = songs_id, publish, on_step
        fine = is_fine or (False,) * (config.n_codebooks - config.n_labels)
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
            for ago, earlier in zip(self.model.config.lag_steps, lookbacks, strict=True)
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
def bits_by_stream(model: TokenLstm, songs: list[Sequence], n_steps: int, device: torch.device) -> np.ndarray:
    """Bits a step (n_codebooks,) that the model needs for the first n_steps of songs that it hears from the beginning.

    No more steps are taken than the shortest song has.
    """
    n_steps = min(n_steps, *(len(song.slots) for song in songs))
    windows = [window(song, 0, n_steps, model.config) for song in songs]
    batch = as_batch(windows, [song.slots[:n_steps] for song in songs], device)
    logits, _ = model(batch.before, batch.lookbacks, batch.slots, batch.targets)
    return np.array([nats.item() * BITS_PER_NAT for nats in nats_by_stream(logits, batch.targets)])


MOMENTS = (0, 10, 30, 60, 120, 250, 500, 1_000, 1_500)  # training steps; the tenth is the finished model
N_STEPS = 6 * STEPS_PER_BAR
_PREFIX = "codes."
CHANCE = 4  # the same in all snapshots, so that only the weights differ


class Snapshots:
    """The dreams of a training run, one file: tensor "codes.STEP" (N_STEPS, n_codes) int16 for each moment."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.codes: dict[str, torch.Tensor] = {}
        if resume and path.is_file():
            self.codes = read_tensors(path)[0]
        else:
            path.unlink(missing_ok=True)

    def look(self, step: int, lstm: TokenLstm) -> None:
        """Take a snapshot if this training step is one of the moments."""
        if step in MOMENTS and _name(step) not in self.codes:
            self.codes[_name(step)] = dream(lstm)
            write_tensors(self.path, self.codes, {})

    def finish(self, out: Path, step: int, lstm: TokenLstm) -> None:
        """Write all that were taken, and the finished model's, to out."""
        earlier = {name: t for name, t in self.codes.items() if int(name.removeprefix(_PREFIX)) < step}
        moments = sorted([*(int(name.removeprefix(_PREFIX)) for name in earlier), step])
        write_tensors(out, earlier | {_name(step): dream(lstm)}, {"steps": json.dumps(moments)})


def _name(step: int) -> str:
    return f"{_PREFIX}{step}"


def dream(lstm: TokenLstm) -> torch.Tensor:
    """Codes (N_STEPS, n_codes) int16 that the LSTM dreams up from nothing, at temperature 1."""
    draws = np.random.default_rng(CHANCE).random((N_STEPS, lstm.config.n_codebooks))
    streams = Places(lstm, 1).run([Stride(0, np.arange(N_STEPS) % N_METRE_POSITIONS, draws=draws)])[0]
    return torch.from_numpy(streams[:, lstm.config.n_labels :]).to(torch.int16)
