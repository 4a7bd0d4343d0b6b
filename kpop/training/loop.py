"""One resumable training loop for both networks: device, budget, learning-rate schedule, held-out figures, saved state.

Hidden matrices are trained by Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"), all
else by AdamW. The state of a run is a safetensors file: weights, best weights, optimizers and progress. Nothing is ever
unpickled.
"""

import copy
import ctypes
import json
import math
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from kpop.checkpoint import read_tensors, write_tensors
from kpop.errors import KpopError

SAVE_EVERY_S = 60.0
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # options of glibc's mallopt()
WARMUP_STEPS = 100
LOWEST_RATE = 0.02  # factor of the learning rate at the end of half a cosine
PATIENCE = 10  # evaluations without a better held-out figure before training stops
Report = Callable[[str], None]
Curve = list[dict[str, float]]
Budget = tuple[int | None, float]  # steps; None: the seconds of wall clock that follow


def join_processes() -> None:
    """Under torchrun, meet its other processes."""
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=timedelta(days=2))  # the first one may train a codec meanwhile


def process_rank() -> tuple[int, int]:
    """(this process's number from 0 on, number of processes) that train together."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def best_device() -> torch.device:
    """CUDA if available, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def keep_memory() -> None:
    """Let the allocator keep what tensors free instead of returning it to the operating system (glibc only).

    Every operation on a large tensor would otherwise wait for fresh pages: a step of the LSTM takes half as long again.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def mixed_precision(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16; on a CPU only if it has bfloat16 instructions (elsewhere it would be slower)."""
    enabled = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@dataclass
class Progress:
    """How far a run has come. songs_id: identifies its training and held-out songs."""

    songs_id: str
    step: int = 0
    elapsed_s: float = 0.0
    best_held_out: float = math.inf
    evaluations_since_best: int = 0
    curve: Curve = field(default_factory=list)


class Trainer(ABC):
    """A network in training. Subclasses set the attributes and define loss() and evaluate().

    is_shared: whether all processes of torchrun train it together: each has its share of every batch; the first one
        alone evaluates, saves and reports
    parallel: what loss() calls, the model or its DistributedDataParallel
    average: the network that is evaluated, and after train() has the best weights: a moving average of the model in
    training (Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"), or the model itself
    """

    name: str
    model: nn.Module
    parallel: nn.Module
    average: nn.Module
    learning_rate: float  # of AdamW
    matrix_rate: float  # of Muon
    hidden: tuple[str, ...]  # parts of the names of matrices between two hidden layers
    evaluate_every: int
    is_shared = False
    decay = 0.0  # of the moving average of the weights, which is evaluated and kept; 0: there is none
    rate = 1.0  # factor of both learning rates

    @abstractmethod
    def loss(self, step: int) -> torch.Tensor:
        """The loss on batch number `step`, a function of the model's state and that number alone."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Held-out figures; "held_out" is minimised."""

    @abstractmethod
    def summary(self, figures: dict[str, float]) -> str:
        """What evaluate() returned, in words."""

    def train(
        self,
        budget: Budget,
        state_path: Path,
        songs_id: str,
        report: Report,
        publish: Callable[[Curve], None] = lambda curve: None,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Curve:
        """Train until the budget is used up or the held-out figure stops improving; ends with the best weights.

        The state is saved at state_path every minute and at the end. If there is one, training continues from it, and a
        run of a number of steps gives the same weights as one that was not interrupted. Beside it are the weights alone
        in float16, small enough to be kept elsewhere: without the state, training continues from them, with another
        warm-up. publish(curve) is called whenever the average is the best so far, but for the weights that training
        began with; on_step(step) before every step. Returns the learning curve.
        """
        keep_memory()
        self._budget, self._report, self._publish, self._started_s = budget, report, publish, time.monotonic()
        self._rank, n_processes = process_rank() if self.is_shared else (0, 1)
        self.parallel = DistributedDataParallel(self.model) if n_processes > 1 else self.model
        self.average = copy.deepcopy(self.model).requires_grad_(False) if self.decay else self.model
        self.progress, self._best = Progress(songs_id), self._copy_weights()
        self._warm_since, self._optimizers = 0, self._new_optimizers()
        for path in (state_path, weights_path(state_path)):
            if path.exists():
                self._load(path)
                break
        if not self.progress.curve:
            self._evaluate()
        saved_s = time.monotonic()
        bar = tqdm(desc=self.name, total=1.0, bar_format="{desc} {percentage:.1f} % |{bar}|", leave=False, disable=None)
        while (share := self._agreed_share()) < 1:
            bar.update(share - bar.n)
            if self._rank == 0:
                on_step(self.progress.step)
            self._step(share)
            if self.progress.step % self.evaluate_every == 0:
                self._evaluate()
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                self._save(state_path)
                saved_s = time.monotonic()
        if self.progress.step % self.evaluate_every:
            self._evaluate()
        bar.close()
        self._save(state_path)
        self.average.load_state_dict(self._best)
        return self.progress.curve

    def _new_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Muon for the hidden matrices, AdamW for all other parameters."""
        matrices, others = [], []
        for name, parameter in self.model.named_parameters():
            is_hidden = parameter.ndim == 2 and any(part in name for part in self.hidden)
            (matrices if is_hidden else others).append(parameter)
        return {
            "adamw": torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01),
            "muon": torch.optim.Muon(matrices, weight_decay=0.0),
        }

    def _share_used(self) -> float:
        """Share of the budget that is used up, 1 or more at the end."""
        steps, seconds = self._budget
        used, total = (self._elapsed_s(), seconds) if steps is None else (self.progress.step, steps)
        return used / total if total else 1.0

    def _agreed_share(self) -> float:
        """The same in all processes, and 1 if the held-out figure has stopped improving."""
        share = 1.0 if self.progress.evaluations_since_best >= PATIENCE else self._share_used()
        if self.parallel is self.model:
            return share
        shared = torch.tensor(share, device=best_device())
        distributed.broadcast(shared, 0)
        return shared.item()

    def _elapsed_s(self) -> float:
        """Wall-clock seconds, including those before an interruption."""
        return self.progress.elapsed_s + time.monotonic() - self._started_s

    def _step(self, share: float) -> None:
        step = self.progress.step
        torch.manual_seed(step)  # dropout depends on the step alone, so that a resumed run repeats it
        self.model.train()
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        warmup = min(1.0, (step - self._warm_since + 1) / WARMUP_STEPS)
        factor = warmup * (LOWEST_RATE + (1 - LOWEST_RATE) * cosine)
        for name, rate in (("adamw", self.learning_rate), ("muon", self.matrix_rate)):
            for group in self._optimizers[name].param_groups:
                group["lr"] = rate * self.rate * factor
        self.model.zero_grad()
        self.loss(step).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers.values():
            optimizer.step()
        if self.decay:
            with torch.no_grad():
                torch._foreach_lerp_([*self.average.parameters()], [*self.model.parameters()], 1 - self.decay)
        self.progress.step += 1

    def _evaluate(self) -> None:
        if self._rank > 0:
            return
        figures, progress, elapsed_s = self.evaluate(), self.progress, self._elapsed_s()
        progress.curve.append({"step": progress.step, "minutes": round(elapsed_s / 60, 2), **figures})
        progress.evaluations_since_best += 1
        if figures["held_out"] < progress.best_held_out:
            progress.best_held_out, progress.evaluations_since_best = figures["held_out"], 0
            self._best = self._copy_weights()
            if progress.step:
                self._publish(progress.curve)
        best = "" if progress.evaluations_since_best else ", the best so far"
        left_s = elapsed_s * max(1 / max(self._share_used(), 1e-9) - 1, 0)
        minutes = f" ({elapsed_s / 60:.0f} min so far, {left_s / 60:.0f} min left)" if progress.step else ""
        self._report(f"{self.name}, step {progress.step:,}: {self.summary(figures)}{best}{minutes}")

    def _save(self, path: Path) -> None:
        if self._rank > 0:
            return
        parts = {"model": self.model.state_dict(), "best": self._best}
        parts |= {"average": self.average.state_dict()} if self.decay else {}
        for kind, optimizer in self._optimizers.items():
            parts |= {f"{kind}.{i}": named for i, named in optimizer.state_dict()["state"].items()}
        # cloned, because safetensors refuses tensors that share memory
        tensors = {f"{part}.{name}": t.clone() for part, named in parts.items() for name, t in named.items()}
        progress = {"progress": json.dumps(asdict(self.progress) | {"elapsed_s": self._elapsed_s()})}
        write_tensors(path, tensors, progress)
        half = {name for name, _ in self.model.named_parameters()}
        weights = {f"model.{name}": t.half() if name in half else t for name, t in parts["model"].items()}
        write_tensors(weights_path(path), weights, progress)

    def _load(self, path: Path) -> None:
        """Raises KpopError when the state is damaged or of another run."""
        tensors, metadata = read_tensors(path)
        try:
            progress = Progress(**json.loads(metadata["progress"]))
            self.model.load_state_dict(_part(tensors, "model."))  # which converts float16
        except (KeyError, RuntimeError) as error:
            message = f"The run in {path.parent} is another one: train without --resume to start anew."
            raise KpopError(message) from error
        if progress.songs_id != self.progress.songs_id:
            raise KpopError(f"The run in {path.parent} had other songs: train without --resume to start anew.")
        for kind, optimizer in self._optimizers.items():
            moments = {i: _part(tensors, f"{kind}.{i}.") for i in range(len(optimizer.param_groups[0]["params"]))}
            moments = {i: named for i, named in moments.items() if named}  # a parameter without gradient has none
            optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
        if self.decay:
            self.average.load_state_dict(_part(tensors, "average.") or self.model.state_dict())
        self._best, self.progress = _part(tensors, "best."), progress
        if not self._best:
            self._best, self._warm_since, progress.best_held_out = self._copy_weights(), progress.step, math.inf
        self._report(f"{self.name}: going on from step {progress.step:,}")

    def _copy_weights(self) -> dict[str, torch.Tensor]:
        return {name: t.detach().cpu().clone() for name, t in self.average.state_dict().items()}


def weights_path(state_path: Path) -> Path:
    """Where the weights alone are kept."""
    return state_path.with_suffix(".weights")


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
