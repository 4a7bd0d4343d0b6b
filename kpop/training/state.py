"""The state of an interrupted run: weights, optimiser and place, as safetensors (nothing in it is executed)."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kpop.checkpoint import read_tensors, write_tensors
from kpop.errors import KpopError

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
