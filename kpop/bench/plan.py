"""How much to measure, and the parts in their order."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kpop.bench.readings import Reading, failed, several, single
from kpop.errors import KpopError
from kpop.generation.checkpoints import checkpoint_path

if TYPE_CHECKING:
    from kpop.generation.instrument import Instrument

_log = logging.getLogger(__name__)

Say = Callable[[str], None]
LONGEST_REASON = 160
N_READS = 9


@dataclass(frozen=True)
class Plan:
    """What one run measures.

    crowd: numbers of listeners; lengths_s: of songs made one by one; n_rounds: of what takes turns; n_starts: cold ones
    endless_minutes: of a song that never ends
    """

    model: str = "twice4life"
    crowd: tuple[int, ...] = (1, 5, 20, 50)
    lengths_s: tuple[float, ...] = (30.0, 60.0, 120.0, 180.0, 300.0)
    song_s: float = 30.0
    n_rounds: int = 5
    n_starts: int = 3
    n_step_rounds: int = 25
    endless_minutes: int = 20

    @classmethod
    def quick(cls, model: str) -> "Plan":
        """A minute at most."""
        return cls(model, (1, 5), (30.0, 60.0), n_rounds=2, n_starts=1, n_step_rounds=8, endless_minutes=6)

    @property
    def checkpoint(self) -> Path:
        return checkpoint_path(self.model)

    @cached_property
    def instrument(self) -> "Instrument":
        """Loaded once, when a part first needs it."""
        from kpop.generation.instrument import Instrument

        return Instrument.load(self.checkpoint)


def _machine(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench.machine import LARGE_BYTES, Reader, cpu_name, n_cores
    from kpop.bench.steps import weight_bytes

    part = f"machine: {cpu_name()}, {n_cores()} cores"
    say("reading memory")
    note = "figures mean what they say on a machine that has nothing else to do" if os.getloadavg()[0] > 1 else ""
    readings = [single(part, "load before the bench, last minute", "", os.getloadavg()[0], note=note)]
    n_weights = weight_bytes(plan.instrument.lstm)
    for name, n_bytes in (("256 MB", LARGE_BYTES), (f"{n_weights / 1e6:.1f} MB, as the weights", n_weights)):
        reader = Reader(n_bytes)
        speeds = [reader.bytes_per_s() / 1e9 for _ in range(N_READS)]
        readings.append(several(part, f"one thread reads {name}", "GB/s", speeds))
    return readings


def _start(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import start

    return start.measure(plan.n_starts, say)


def _crowd(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import crowd
    from kpop.bench.server import Server

    with Server() as server:
        crowd.in_own_process(crowd.evening, server.address, 1, 8.0)  # loads the weights
        return crowd.measure(server, plan.crowd, plan.song_s, say)


def _songs(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import songs

    return songs.measure(plan.checkpoint, plan.lengths_s, min(plan.n_rounds, 3), say)


def _endless(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import endless

    return endless.measure(plan.checkpoint, plan.endless_minutes, say)


def _race(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import race

    return race.measure(plan.instrument.codec, plan.model, plan.song_s, plan.n_rounds, say)


def _steps(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import steps

    return steps.measure(plan.instrument, plan.n_step_rounds, say)


def _inversion(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import inversion

    return inversion.measure(plan.instrument.codec, plan.song_s, plan.n_rounds, say)


def _design(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import design

    return design.measure(plan.song_s, plan.n_rounds, say)


def _command(plan: Plan, say: Say) -> list[Reading]:
    from kpop.bench import command_line

    return command_line.measure(plan.song_s, plan.n_rounds // 2, say)


PARTS: dict[str, Callable[[Plan, Say], list[Reading]]] = {
    "machine": _machine,
    "start": _start,
    "crowd": _crowd,
    "songs": _songs,
    "endless": _endless,
    "race": _race,
    "steps": _steps,
    "inversion": _inversion,
    "design": _design,
    "command": _command,
}


def measure(plan: Plan, names: list[str], say: Say) -> list[Reading]:
    """The parts of these names, in their order; one that fails says so in its place, and the others go on."""
    readings = []
    for name in (name for name in PARTS if name in names):
        try:
            readings += PARTS[name](plan, say)
        except Exception as error:
            if not isinstance(error, KpopError):
                _log.exception("Unforeseen failure while measuring %s", name)
            say(f"{name} could not be measured: {error}")
            readings.append(failed(name, " ".join(str(error).split())[:LONGEST_REASON]))
    return readings
