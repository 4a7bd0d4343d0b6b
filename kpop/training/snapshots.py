"""What the LSTM dreams up at ten moments of its training, kept as codes: from noise to music."""

import json
from pathlib import Path

import numpy as np
import torch

from kpop.checkpoint import read_tensors, write_tensors
from kpop.grid import STEPS_PER_BAR
from kpop.lstm.config import N_METRONOME_SLOTS
from kpop.lstm.network import CodeLstm
from kpop.lstm.places import Places, Stride

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

    def look(self, step: int, lstm: CodeLstm) -> None:
        """Take a snapshot if this training step is one of the moments."""
        if step in MOMENTS and _name(step) not in self.codes:
            self.codes[_name(step)] = dream(lstm)
            write_tensors(self.path, self.codes, {})

    def finish(self, out: Path, step: int, lstm: CodeLstm) -> None:
        """Write all that were taken, and the finished model's, to out."""
        earlier = {name: t for name, t in self.codes.items() if int(name.removeprefix(_PREFIX)) < step}
        moments = sorted([*(int(name.removeprefix(_PREFIX)) for name in earlier), step])
        write_tensors(out, earlier | {_name(step): dream(lstm)}, {"steps": json.dumps(moments)})


def _name(step: int) -> str:
    return f"{_PREFIX}{step}"


def dream(lstm: CodeLstm) -> torch.Tensor:
    """Codes (N_STEPS, n_codes) int16 that the LSTM dreams up from nothing, at temperature 1."""
    draws = np.random.default_rng(CHANCE).random((N_STEPS, lstm.config.n_streams))
    streams = Places(lstm, 1).run([Stride(0, np.arange(N_STEPS) % N_METRONOME_SLOTS, draws=draws)])[0]
    return torch.from_numpy(streams[:, lstm.config.n_labels :]).to(torch.int16)
