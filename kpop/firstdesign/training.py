"""Training the first design on our corpus: the next block of the song, by squared error."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from kpop.errors import KpopError
from kpop.firstdesign.blocks import BLOCK_SAMPLES, analyse
from kpop.firstdesign.network import FirstDesign, FirstDesignConfig
from kpop.training.corpus_songs import CORPUS_VERSION, corpus_songs
from kpop.training.loop import Budget, Report, train
from kpop.training.machine import best_device, mixed_precision
from kpop.training.songs import Song, songs_id, split

BATCH = 16
WINDOW_BLOCKS = 32  # 16.4 s
STATISTICS_SONGS = 100
LEAST_STD = 1 / 32767  # of a number: a step of the songs' 16 bits, so that nothing is divided by zero
EVALUATION_WINDOWS = 48
PATIENCE = 20  # evaluations without a better one


@dataclass(frozen=True)
class Plan:
    """A training run on songs number 0 to n_songs - 1 of our corpus.

    out: the checkpoint to write; cache: folder of rendered songs, None: OUT's own, beside it; minutes: wall clock
    """

    out: Path
    n_songs: int = 400
    minutes: float = 30.0
    n_jobs: int = os.cpu_count() or 1
    cache: Path | None = None
    resume: bool = False
    config: FirstDesignConfig = field(default_factory=FirstDesignConfig)

    @property
    def work(self) -> Path:
        """Folder of the run's state."""
        return self.out.with_suffix(".work")


def run(plan: Plan, report: Report = print) -> None:
    """Train as planned and write the checkpoint. KpopError when the folders cannot be written."""
    cache = (plan.cache or plan.work) / f"corpus-{CORPUS_VERSION}"
    try:
        plan.work.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KpopError(f"{error.filename} cannot be written ({error.strerror}): choose another folder.") from error
    songs, held_out = split(corpus_songs(plan.n_songs, cache, plan.n_jobs, report))
    report(f"{len(songs)} songs to train on, {len(held_out)} held out")
    stage = FirstDesignStage(songs, held_out, best_device(), plan.config, plan.out)
    report(f"held-out error of simple guesses: {stage.model.info['held_out_of_guesses']}")
    budget = Budget(seconds=plan.minutes * 60)
    curve = train(stage, budget, plan.work / "first-design.state", plan.resume, report, PATIENCE)
    stage.publish(curve)
    report(f"wrote {plan.out}")


class FirstDesignStage:
    """The first design in training; a Stage of kpop.training.loop."""

    name = "first design"
    learning_rate = 2e-3
    evaluate_every = 100

    def __init__(
        self, songs: list[Song], held_out: list[Song], device: torch.device, config: FirstDesignConfig, out: Path
    ) -> None:
        torch.manual_seed(0)
        self.songs_id, self.out = songs_id(songs, held_out), out
        self.songs, self.device = songs, device
        self.model = FirstDesign(config, {"n_songs": len(songs)}).to(device)
        self._set_statistics()
        in_turn = [held_out[index % len(held_out)] for index in range(EVALUATION_WINDOWS)]
        self._held_out = _windows(in_turn, np.random.default_rng(2))
        self.model.info["held_out_of_guesses"] = self._errors_of_guesses()

    def loss(self, step: int) -> torch.Tensor:
        """Mean squared error of the expected blocks, in standardised numbers."""
        rng = np.random.default_rng([3, step])
        chosen = [self.songs[index] for index in rng.integers(len(self.songs), size=BATCH)]
        return self._error(_windows(chosen, rng))

    def after_step(self, step: int) -> None:
        """Nothing is learnt without a gradient here."""

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean squared error on windows of held-out songs, the same every time."""
        self.model.eval()
        return {"held_out": self._error(self._held_out).item()}

    def publish(self, curve: list[dict[str, float]]) -> None:
        """The best model so far becomes the checkpoint: a run that is cut off leaves one that plays."""
        self.model.info |= {"steps": curve[-1]["step"], "minutes": curve[-1]["minutes"], "curve": curve}
        self.model.save(self.out)

    def _error(self, windows: np.ndarray) -> torch.Tensor:
        blocks = self._standardised(windows)
        with mixed_precision(self.device):
            expected, _ = self.model(blocks[:, :-1])
        return F.mse_loss(expected.float(), blocks[:, 1:])

    def _standardised(self, windows: np.ndarray) -> torch.Tensor:
        return self.model.standardised(_as_float(windows).to(self.device))

    def _errors_of_guesses(self) -> dict[str, float]:
        """Held-out error of what needs no training: silence, the mean, the block before once more."""
        blocks = self._standardised(self._held_out)
        before, after = blocks[:, :-1], blocks[:, 1:]
        silence = -self.model.mean / self.model.std
        guesses = {"silence": silence, "mean": torch.zeros_like(silence), "block before": before}
        return {name: round((after - guess).square().mean().item(), 4) for name, guess in guesses.items()}

    def _set_statistics(self) -> None:
        rng, total, squares, n_blocks = np.random.default_rng(1), 0.0, 0.0, 0
        for song in self.songs[:STATISTICS_SONGS]:
            # Begun by chance, because blocks from the songs' first beat on would have a mean: the drums keep time.
            numbers = analyse(_as_float(song.waveform[rng.integers(BLOCK_SAMPLES) :])).double()
            total, squares = total + numbers.sum(0), squares + numbers.square().sum(0)
            n_blocks += len(numbers)
        mean = total / n_blocks
        variance = (squares / n_blocks - mean.square()).clamp_min(0)
        self.model.mean.copy_(mean)
        self.model.std.copy_(variance.sqrt().clamp_min(LEAST_STD))


def _windows(songs: list[Song], rng: np.random.Generator) -> np.ndarray:
    """A window of each song, begun at a sample drawn by chance: (n_songs, n_samples) int16.

    All have WINDOW_BLOCKS blocks to predict and one before them, or as many as the shortest song has.
    """
    shortest_blocks = min(len(song.waveform) for song in songs) // BLOCK_SAMPLES
    n_samples = min(WINDOW_BLOCKS + 1, shortest_blocks) * BLOCK_SAMPLES
    starts = [int(rng.integers(len(song.waveform) - n_samples + 1)) for song in songs]
    return np.stack([song.waveform[start : start + n_samples] for song, start in zip(songs, starts, strict=True)])


def _as_float(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(samples).float() / 32767
