"""Training the LSTM: next-step prediction, the baselines it has to beat, and snapshots of what it generates."""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from kpop.checkpoint import read_tensors, write_tensors
from kpop.codec.model import CodecConfig
from kpop.constants import STEPS_PER_BAR
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.sampler import BatchState, Chunk, Sampler
from kpop.training.data import Batch, TokenSequence, make_batch
from kpop.training.loop import Trainer, best_device, mixed_precision, process_rank

BATCH = 24
WINDOW_STEPS = 384  # six bars
LABEL_WEIGHT = 0.5  # the score model predicts them; here they are an auxiliary task
RESIDUAL_WEIGHT = 0.5  # of codebooks that quantize a residual: many bits, mostly texture
OTHERS_SHARE = 0.25  # of the windows, from songs beside those to be learnt
MASKED_LABELS = 0.15  # share of windows whose labels are masked up to a random step, as in a clip of unknown score
MASKED_LAGS = 0.05  # share of windows without lagged inputs
MASKED_RECALL = 0.2  # share of windows without the recalled one, as in a song that has just begun
FROM_THE_START = 0.05  # share of windows that begin with their song, before which all is masked
EVALUATION_STEPS = 2_048
EVALUATION_SONGS = 12
PSEUDO_COUNT = 1.0  # of every token in the unigram baseline
SNAPSHOT_STEPS = (0, 10, 30, 100, 300, 1_000, 2_500, 5_000, 10_000)  # training steps; the tenth is the finished model
SNAPSHOT_LENGTH = 6 * STEPS_PER_BAR
SNAPSHOT_SEED = 4  # the same for all, so that only the weights differ
PREFIX = "codes."
Sequences = list[TokenSequence]


class LstmTrainer(Trainer):
    """The LSTM in training."""

    name = "LSTM"
    learning_rate = 2e-3
    matrix_rate = 0.02
    hidden = ("lstm.weight",)
    evaluate_every = 100

    def __init__(
        self,
        sequences: Sequences,
        held_out: Sequences,
        config: LstmConfig,
        codec: CodecConfig | None = None,
        others: Sequences = (),
    ) -> None:
        """codec: of the tokens, None if there are labels alone; others: OTHERS_SHARE of the windows, if there are any,
        against forgetting what can be learnt from them alone."""
        torch.manual_seed(0)
        self.sequences, self.held_out, self.device = sequences, held_out, best_device()
        self.model = TokenLstm(config).to(self.device)
        bands = codec.codebook_sizes if codec else ()
        weights_of_bands = [[1.0] + [RESIDUAL_WEIGHT] * (len(sizes) - 1) for sizes in bands]
        self._loss_weights = sum(weights_of_bands, [LABEL_WEIGHT] * config.n_labels)
        self._sources = [side for side in (sequences, others) if side]
        lengths = [np.array([len(sequence.tokens) for sequence in side], float) for side in self._sources]
        self._shares = [each / each.sum() for each in lengths]
        self._n_steps = min(WINDOW_STEPS, *(int(each.min()) for each in lengths))

    def loss(self, step: int) -> torch.Tensor:
        """Cross-entropy, weighted by codebook; inputs are corrupted, so that the LSTM learns to recover from errors."""
        batch = self._corrupted(self._batch(np.random.default_rng([2, step])))
        if self.is_shared:
            batch = _share_of(batch, *process_rank())
        with mixed_precision(self.device):
            logits = self.parallel(**batch)
        nats = _nats(logits, batch["targets"])
        return sum(weight * each for weight, each in zip(self._loss_weights, nats, strict=True))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Bits per step on held-out songs, and those of the labels."""
        self.average.eval()
        with mixed_precision(self.device):
            bits = bits_by_codebook(self.average, self.held_out[:EVALUATION_SONGS], EVALUATION_STEPS, self.device)
        return {"held_out": float(bits.sum()), "label_bits": float(bits[: self.model.config.n_labels].sum())}

    def summary(self, figures: dict[str, float]) -> str:
        """What evaluate() returned, in words."""
        return f"{figures['held_out']:.2f} bits a step on held-out songs, {figures['label_bits']:.2f} of them labels"

    def bits_per_step(self) -> dict[str, dict]:
        """Bits per step on held-out songs, of the LSTM and of baselines: all, the codec's tokens, every codebook."""
        self.average.eval()
        lengths, sizes = [len(song.tokens) for song in self.held_out], self.model.config.codebook_sizes
        bits = [bits_by_codebook(self.average, [song], len(song.tokens), self.device) for song in self.held_out]
        rows = {
            "lstm": np.average(bits, axis=0, weights=lengths),
            "unigram": unigram_bits(self.sequences, self.held_out, sizes),
            "same as one bar ago": bar_ago_bits(self.sequences, self.held_out, sizes),
        }
        first = self.model.config.n_labels
        return {
            name: {"all": float(row.sum()), "codes": float(row[first:].sum()), "streams": row.round(3).tolist()}
            for name, row in rows.items()
        }

    def _batch(self, rng: np.random.Generator) -> Batch:
        windows = []
        for _ in range(BATCH):
            source = int(len(self._sources) > 1 and rng.random() < OTHERS_SHARE)
            song = self._sources[source][rng.choice(len(self._shares[source]), p=self._shares[source])]
            last = len(song.tokens) - self._n_steps
            windows.append((song, int(rng.integers(last + 1)) if rng.random() > FROM_THE_START else 0))
        return make_batch(windows, self._n_steps, self.model.config, self.device)

    def _corrupted(self, batch: Batch) -> Batch:
        """The batch with some inputs replaced at random, and labels or lagged inputs of some windows masked."""
        inputs = [self._shuffled(tokens) for tokens in (batch["previous"], *batch["lagged"])]
        n_windows, n_steps, n_codebooks = inputs[0].shape
        draws = torch.rand(4, n_windows, 1, 1, device=self.device)
        masked_until = torch.where(draws[0] < MASKED_LABELS, draws[1] * n_steps, 0)  # (n_windows, 1, 1)
        is_label = torch.arange(n_codebooks, device=self.device) < self.model.config.n_labels
        steps = torch.arange(n_steps, device=self.device)[:, None]
        lags = 1, *self.model.config.lag_steps
        masks = [(steps - lag < masked_until) & (masked_until > 0) & is_label for lag in lags]
        masks += [(steps < masked_until) | (draws[3] < MASKED_RECALL)] * self.model.config.recalls
        for i, mask in enumerate(masks):
            mask = mask | (draws[2] < MASKED_LAGS) if i > 0 else mask
            inputs[i] = torch.where(mask, self.model.mask_tokens, inputs[i])
        return batch | {"previous": inputs[0], "lagged": inputs[1:]}

    def _shuffled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Some tokens (n_windows, n_steps, n_codebooks) replaced by others of the same codebook in the batch."""
        flat = tokens.flatten(0, 1)
        others = flat[torch.randperm(len(flat), device=flat.device)].view_as(tokens)
        is_replaced = torch.rand(tokens.shape, device=self.device) < self.model.config.corruption
        return torch.where(is_replaced, others, tokens)


def _share_of(batch: Batch, rank: int, n_processes: int) -> Batch:
    """The windows of one process."""
    return {
        name: each[rank::n_processes] if torch.is_tensor(each) else [one[rank::n_processes] for one in each]
        for name, each in batch.items()
    }


def _nats(logits: list[torch.Tensor], targets: torch.Tensor) -> list[torch.Tensor]:
    """Mean cross-entropy of each codebook, nats per step."""
    pairs = zip(logits, targets.unbind(-1), strict=True)
    return [F.cross_entropy(each.float().flatten(0, 1), target.flatten()) for each, target in pairs]


@torch.no_grad()
def bits_by_codebook(model: TokenLstm, songs: Sequences, n_steps: int, device: torch.device) -> np.ndarray:
    """Bits per step (n_codebooks,) of the first n_steps of songs, or as many as the shortest one has."""
    n_steps = min(n_steps, *(len(song.tokens) for song in songs))
    batch = make_batch([(song, 0) for song in songs], n_steps, model.config, device)
    return np.array([nats.item() / np.log(2) for nats in _nats(model(**batch), batch["targets"])])


def unigram_bits(train: Sequences, held_out: Sequences, sizes: tuple[int, ...]) -> np.ndarray:
    """Bits per step (n_codebooks,) on held-out songs of the tokens' frequencies in the training songs."""
    tokens = np.concatenate([sequence.tokens for sequence in held_out])
    shares = _frequencies(train, sizes)
    return np.array([-np.log2(share[tokens[:, codebook]]).mean() for codebook, share in enumerate(shares)])


def bar_ago_bits(train: Sequences, held_out: Sequences, sizes: tuple[int, ...]) -> np.ndarray:
    """Bits per step (n_codebooks,) of this model: the token of one bar ago with a probability fitted to the training
    songs, else by frequency."""
    bits, grid = [], np.linspace(0.0, 0.99, 100)
    for codebook, share in enumerate(_frequencies(train, sizes)):
        costs = _bar_ago_costs(train, codebook, share, grid)
        bits += _bar_ago_costs(held_out, codebook, share, grid[[np.argmin(costs)]])
    return np.array(bits)


def _frequencies(train: Sequences, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Share (size,) of each token of every codebook."""
    tokens = np.concatenate([sequence.tokens for sequence in train])
    counts = [np.bincount(tokens[:, codebook], minlength=size) + PSEUDO_COUNT for codebook, size in enumerate(sizes)]
    return [count / count.sum() for count in counts]


def _bar_ago_costs(sequences: Sequences, codebook: int, share: np.ndarray, probabilities: np.ndarray) -> list[float]:
    """Bits per step of one codebook for each probability of the token of one bar ago."""
    tokens = [sequence.tokens[:, codebook] for sequence in sequences]
    is_same = np.concatenate([token[:-STEPS_PER_BAR] == token[STEPS_PER_BAR:] for token in tokens])
    by_share = share[np.concatenate([token[STEPS_PER_BAR:] for token in tokens])]
    return [float(-np.log2(p * is_same + (1 - p) * by_share).mean()) for p in probabilities]


def add_snapshot(path: Path, out: Path, step: int, lstm: TokenLstm) -> None:
    """Write to out the snapshots in path of earlier training steps, and one of the LSTM now.

    Both are files of tensors "codes.STEP" int16 (SNAPSHOT_LENGTH, n_codec_codebooks).
    """
    tensors = read_tensors(path)[0] if path.is_file() else {}
    by_step = {int(name.removeprefix(PREFIX)): tensor for name, tensor in tensors.items()}
    uniforms = np.random.default_rng(SNAPSHOT_SEED).random((SNAPSHOT_LENGTH, lstm.config.n_codebooks))
    chunk = Chunk(0, np.arange(SNAPSHOT_LENGTH), uniforms=uniforms)  # without a seed, at temperature 1
    (tokens,) = Sampler(lstm).run(BatchState(lstm.config, 1), [chunk])
    now = torch.from_numpy(tokens[:, lstm.config.n_labels :]).to(torch.int16)
    by_step = {taken: tensor for taken, tensor in by_step.items() if taken < step} | {step: now}
    named = {f"{PREFIX}{taken}": tensor for taken, tensor in by_step.items()}
    write_tensors(out, named, {"steps": json.dumps(sorted(by_step))})
