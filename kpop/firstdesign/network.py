"""The first design of Twice4Life, kept to measure against: an LSTM regressed on DFT blocks with a squared error."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kpop.audio.loudness import normalise
from kpop.checkpoint import read_tensors, write_tensors
from kpop.errors import KpopError
from kpop.firstdesign.blocks import BLOCK_SAMPLES, N_NUMBERS, analyse, synthesise

FORMAT = "twice4life-first-design-1"
STATISTICS = ("mean", "std")  # kept in full precision

State = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class FirstDesignConfig:
    """Shape of the network. hidden: cells of an LSTM layer; layers: how many of them.

    As it stands the file takes 9.5 MB, nearly all of it the ways from and to the 8194 numbers of a block.
    """

    hidden: int = 256
    layers: int = 1


class FirstDesign(nn.Module):
    """Predicts the next block of a song from all blocks before: a linear layer, the LSTM, a linear layer.

    mean, std: (N_NUMBERS,) statistics of the training songs, by which blocks are standardised
    info: how it was trained; anything JSON can hold
    """

    def __init__(self, config: FirstDesignConfig, info: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config, self.info = config, info or {}
        self.enter = nn.Linear(N_NUMBERS, config.hidden)
        self.lstm = nn.LSTM(config.hidden, config.hidden, config.layers, batch_first=True)
        self.leave = nn.Linear(config.hidden, N_NUMBERS)
        self.register_buffer("mean", torch.zeros(N_NUMBERS))
        self.register_buffer("std", torch.ones(N_NUMBERS))

    def forward(self, blocks: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Standardised blocks (batch, n_blocks, N_NUMBERS) -> (for each, the block expected after it; the state)."""
        cells, state = self.lstm(self.enter(blocks), state)
        return self.leave(cells), state

    def standardised(self, waveform: torch.Tensor) -> torch.Tensor:
        """(..., n_samples) float32 in -1..1 -> (..., n_blocks, N_NUMBERS), each number with mean 0 and deviation 1."""
        return (analyse(waveform) - self.mean) / self.std

    def generate(
        self, seed_waveform: np.ndarray, n_samples: int, temperature: float = 1.0, seed: int = 0
    ) -> np.ndarray:
        """What follows a seed (n,) float32 at 16 kHz: (n_samples,) float32 at -14 LUFS, without the seed.

        Each prediction is fed back. A regression has one answer, so temperature and seed, which are there for calling
        it like our instrument, change nothing. A seed that is not whole blocks loses its beginning; one of less than a
        block has silence before it. ValueError for a seed that holds NaN or infinity.
        """
        if not np.isfinite(seed_waveform).all():
            raise ValueError("the seed holds NaN or infinity")
        waveform = self._continuation(_whole_blocks(seed_waveform), -(-n_samples // BLOCK_SAMPLES))
        return normalise(waveform[:n_samples]) if n_samples else waveform

    @torch.inference_mode()
    def _continuation(self, seed: np.ndarray, n_blocks: int) -> np.ndarray:
        if n_blocks == 0:
            return np.zeros(0, np.float32)
        blocks, state = self(self.standardised(torch.from_numpy(seed)).unsqueeze(0))
        dreamt = [blocks[:, -1:]]
        for _ in range(n_blocks - 1):
            block, state = self(dreamt[-1], state)
            dreamt.append(block)
        return synthesise(torch.cat(dreamt, 1)[0] * self.std + self.mean).numpy()

    def save(self, path: Path) -> None:
        """Write weights (as float16), configuration, statistics and info to path, atomically."""
        tensors = {name: t if name in STATISTICS else t.half() for name, t in self.state_dict().items()}
        metadata = {"format": FORMAT, "config": json.dumps(asdict(self.config)), "info": json.dumps(self.info)}
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> "FirstDesign":
        """Rebuild it in float32 on the CPU, in evaluation mode.

        Raises KpopError when the file is missing, damaged, or not a first design.
        """
        tensors, metadata = read_tensors(path)
        try:
            return cls._from(tensors, metadata)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise KpopError(f"The weights in {path.name} are not a first design's: train it again.") from error

    @classmethod
    def _from(cls, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> "FirstDesign":
        if metadata["format"] != FORMAT:
            raise ValueError(f"unknown format {metadata['format']}")
        if not all(t.isfinite().all() for t in tensors.values()):
            raise ValueError("weights that are not numbers")
        model = cls(FirstDesignConfig(**json.loads(metadata["config"])), json.loads(metadata["info"]))
        model.load_state_dict({name: t.float() for name, t in tensors.items()})
        return model.eval()


def _whole_blocks(waveform: np.ndarray) -> np.ndarray:
    """The end of a waveform in whole blocks, one at least, within full scale as the training songs were."""
    missing = max(BLOCK_SAMPLES - len(waveform), 0)
    padded = np.pad(np.asarray(waveform, np.float32).clip(-1, 1), (missing, 0))
    return padded[len(padded) % BLOCK_SAMPLES :]
