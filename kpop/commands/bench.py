"""python -m kpop bench: how fast it is, for one listener and for a crowd, beside what is wanted."""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from kpop.errors import KpopError
from kpop.generation.checkpoints import DEFAULT_MODEL

SOAK_MINUTES = 30.0
PART_NAMES = ("machine", "start", "crowd", "songs", "endless", "race", "steps", "inversion", "design", "command")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("bench", help="measure how fast it is, alone and with a crowd of listeners")
    command.add_argument("--model", default=DEFAULT_MODEL, help="what is measured without the page: a checkpoint")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    command.add_argument("--quick", action="store_true", help="less of everything: a minute instead of six")
    command.add_argument("--only", nargs="+", choices=PART_NAMES, default=PART_NAMES, metavar="PART", help=_parts())
    command.add_argument(
        "--soak",
        nargs="?",
        type=float,
        const=SOAK_MINUTES,
        metavar="MINUTES",
        help=f"instead: listeners come and go for so long ({SOAK_MINUTES:g} minutes if you name none)",
    )
    command.set_defaults(run=run)


def _parts() -> str:
    return "only these of " + ", ".join(PART_NAMES)


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write it; whether targets are met changes nothing but words."""
    if options.soak is not None and options.soak <= 0:
        raise KpopError("A soak needs --soak with more than 0 minutes: choose such a number.")
    from kpop.bench.plan import Plan, measure
    from kpop.bench.soak import soak
    from kpop.bench.words import table_lines

    say = _Progress()
    if options.soak is not None:
        readings = soak(options.soak, say)
    else:
        plan = Plan.quick(options.model) if options.quick else Plan(options.model)
        readings = measure(plan, list(options.only), say)
    print("\n".join(["", *table_lines(readings)]))
    if options.json:
        _write(options.json, readings)


class _Progress:
    """Says what is being measured, with the seconds since the start."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()

    def __call__(self, words: str) -> None:
        print(f"{time.perf_counter() - self._started_s:6.1f} s  {words}", flush=True)


def _write(path: Path, readings: list) -> None:
    from kpop.bench.machine import cpu_name, n_cores
    from kpop.bench.readings import as_json

    whole = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "cpu": cpu_name(), "cores": n_cores()}
    try:
        path.write_text(json.dumps(whole | {"readings": as_json(readings)}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise KpopError(f"{path} cannot be written ({error.strerror}): choose another file for --json.") from error
    print(f"Written: {path}")
