"""What the LSTM has to beat, in bits a step: codes without order, and "the same as one bar ago"."""

import numpy as np

from kpop.grid import STEPS_PER_BAR
from kpop.training.sequences import Sequence

ANY_OTHER = 1.0  # added to every count: a value never heard in training still has a probability


def unigram_bits(train: list[Sequence], held_out: list[Sequence], sizes: tuple[int, ...]) -> np.ndarray:
    """Bits a step (n_streams,) on held-out songs of the frequencies of values in the training songs."""
    streams = np.concatenate([sequence.streams for sequence in held_out])
    shares = _frequencies(train, sizes)
    return np.array([-np.log2(share[streams[:, stream]]).mean() for stream, share in enumerate(shares)])


def bar_ago_bits(train: list[Sequence], held_out: list[Sequence], sizes: tuple[int, ...]) -> np.ndarray:
    """Bits a step (n_streams,) of: as one bar ago with probability p (fitted to training songs), else by frequency."""
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
