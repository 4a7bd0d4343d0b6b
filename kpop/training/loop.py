"""Where training runs: CUDA when there is one, else the CPU, in bfloat16 where the machine has it.

The state of an interrupted run: weights, optimiser and place, as safetensors (nothing in it is executed).

One training loop for both networks: budget, schedule, held-out figures, resuming.
"""

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from kpop.checkpoint import read_tensors, write_tensors
from kpop.errors import KpopError


def best_device() -> torch.device:
    """CUDA if it is there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16; on a CPU only if it computes in bfloat16 itself (elsewhere it would be slower)."""
    enabled = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of each parameter


def save_state(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
    place: dict[str, Any],
) -> None:
    """Write all that a run needs to go on, atomically. best: the best weights so far; place: anything JSON can hold."""
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    tensors |= {f"best.{name}": t for name, t in best.items()}
    for index, parameter in enumerate(_parameters(optimiser)):
        memory = optimiser.state.get(parameter, {})
        tensors |= {f"optimiser.{index}.{key}": memory[key] for key in MOMENTS if key in memory}
    write_tensors(path, {name: t.clone() for name, t in tensors.items()}, {"place": json.dumps(place)})


def load_state(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Put a saved run back into model and optimiser; returns (best weights, place). KpopError when it is damaged."""
    tensors, metadata = read_tensors(path)
    try:
        model.load_state_dict(_part(tensors, "model."))
    except RuntimeError as error:
        raise KpopError(f"The run in {path.parent} is another one: train without --resume to start anew.") from error
    for index, parameter in enumerate(_parameters(optimiser)):
        memory = _part(tensors, f"optimiser.{index}.")
        if memory:
            optimiser.state[parameter] = {
                key: t if key == "step" else t.to(parameter.device) for key, t in memory.items()
            }
    return _part(tensors, "best."), json.loads(metadata["place"])


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


SAVE_EVERY_S = 60.0
WARMUP_STEPS = 100
Report = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """How long a run lasts: so many steps, or so many seconds of wall clock. Exactly one is given."""

    steps: int | None = None
    seconds: float | None = None

    def share_used(self, step: int, elapsed_s: float) -> float:
        """0 at the start, 1 or more when it is used up."""
        if self.steps is not None:
            return step / self.steps if self.steps else 1.0
        return elapsed_s / max(self.seconds, 1e-9)


class Stage(Protocol):
    """What the loop needs of a network in training."""

    name: str
    songs_id: str  # changes with the songs that it learns and is held to
    model: nn.Module
    learning_rate: float
    evaluate_every: int

    def loss(self, step: int) -> torch.Tensor:
        """The loss on batch number step, a function of the weights and that number alone."""

    def after_step(self, step: int) -> None:
        """What is learnt without a gradient."""

    def evaluate(self) -> dict[str, float]:
        """Held-out figures; the one named "held_out" is to become small."""

    def publish(self, curve: list[dict[str, float]]) -> None:
        """Called when stage.model is the best so far: what it is good for may be written now."""


@dataclass
class Run:
    """Where a run stands."""

    step: int = 0
    elapsed_s: float = 0.0
    best_held_out: float = math.inf
    evaluations_since_best: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def train(
    stage: Stage, budget: Budget, state_path: Path, resume: bool, report: Report, patience: int = 10
) -> list[dict[str, float]]:
    """Train stage.model until the budget is used up or held-out figures stop improving; ends with the best weights.

    Its state is saved at state_path every minute and at the end; with resume it goes on from there, and a run of so
    many steps then reaches the same weights as one that was never interrupted. Returns the learning curve.
    """
    optimiser = torch.optim.AdamW(
        stage.model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    best, run = _begin(stage, optimiser, state_path, resume, report)
    clock = _Clock(run)
    while budget.share_used(run.step, clock.elapsed_s()) < 1 and run.evaluations_since_best < patience:
        _step(stage, optimiser, run.step, budget.share_used(run.step, clock.elapsed_s()))
        run.step += 1
        if run.step % stage.evaluate_every == 0:
            best = _evaluate(stage, run, best, clock, budget, report)
        if clock.save_is_due():
            _save(stage, run, optimiser, best, clock, state_path)
    if run.step % stage.evaluate_every:
        best = _evaluate(stage, run, best, clock, budget, report)
    _save(stage, run, optimiser, best, clock, state_path)
    stage.model.load_state_dict(best)
    return run.curve


class _Clock:
    """Wall clock over all sittings of a run."""

    def __init__(self, run: Run) -> None:
        self.started = time.monotonic() - run.elapsed_s
        self.saved = time.monotonic()

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def save_is_due(self) -> bool:
        due = time.monotonic() - self.saved > SAVE_EVERY_S
        if due:
            self.saved = time.monotonic()
        return due


def _save(
    stage: Stage,
    run: Run,
    optimiser: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
    clock: _Clock,
    state_path: Path,
) -> None:
    run.elapsed_s = clock.elapsed_s()
    save_state(state_path, stage.model, optimiser, best, {"songs_id": stage.songs_id, **run.__dict__})


def _begin(
    stage: Stage, optimiser: torch.optim.Optimizer, state_path: Path, resume: bool, report: Report
) -> tuple[dict[str, torch.Tensor], Run]:
    if not (resume and state_path.exists()):
        return _copy(stage.model), Run()
    best, place = load_state(state_path, stage.model, optimiser)
    if place.pop("songs_id") != stage.songs_id:
        raise KpopError(f"The run in {state_path.parent} had other songs: train without --resume to start anew.")
    run = Run(**place)
    report(f"{stage.name}: going on from step {run.step}")
    return best, run


def _step(stage: Stage, optimiser: torch.optim.Optimizer, step: int, share_used: float) -> None:
    torch.manual_seed(step)  # dropout depends on the step alone, so a resumed run repeats it
    stage.model.train()
    for group in optimiser.param_groups:
        group["lr"] = stage.learning_rate * schedule(step, share_used)
    optimiser.zero_grad(set_to_none=True)
    stage.loss(step).backward()
    nn.utils.clip_grad_norm_(stage.model.parameters(), 1.0)
    optimiser.step()
    stage.after_step(step)


def schedule(step: int, share_used: float) -> float:
    """Share of the full learning rate: a short warm-up, then half a cosine down to a fiftieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(share_used, 1.0)))
    return min(1.0, (step + 1) / WARMUP_STEPS) * (0.02 + 0.98 * cosine)


def _evaluate(
    stage: Stage, run: Run, best: dict[str, torch.Tensor], clock: _Clock, budget: Budget, report: Report
) -> dict[str, torch.Tensor]:
    figures = stage.evaluate()
    run.curve.append({"step": run.step, "minutes": round(clock.elapsed_s() / 60, 2), **figures})
    run.evaluations_since_best += 1
    if figures["held_out"] < run.best_held_out:
        run.best_held_out, run.evaluations_since_best, best = figures["held_out"], 0, _copy(stage.model)
        stage.publish(run.curve)
    report(_progress_line(stage.name, run, clock, budget, figures))
    return best


def _progress_line(name: str, run: Run, clock: _Clock, budget: Budget, figures: dict[str, float]) -> str:
    elapsed = clock.elapsed_s()
    left_s = elapsed * (1 / max(budget.share_used(run.step, elapsed), 1e-9) - 1)
    words = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
    return f"{name}: step {run.step}  {words}  ({elapsed / 60:.1f} min, {max(left_s, 0) / 60:.1f} min left)"


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach().cpu().clone() for name, t in model.state_dict().items()}
