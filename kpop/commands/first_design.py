"""python -m kpop first-design: train the first design, which the evaluation measures ours against."""

import argparse
from pathlib import Path

from kpop.errors import KpopError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("first-design", help="train the first design, to measure against")
    command.add_argument("--out", type=Path, required=True, help="checkpoint to write, NAME.safetensors")
    command.add_argument("--songs", type=int, default=400, help="songs of our corpus to train on")
    command.add_argument("--minutes", type=float, default=30.0, help="wall-clock budget of the training")
    command.add_argument("--jobs", type=int, default=2, help="processes that render the corpus")
    command.add_argument("--cache", type=Path, help="a run's .work folder, to share the songs that it has rendered")
    command.add_argument("--resume", action="store_true", help="go on where an earlier run was stopped")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train, with a line of held-out figures now and then."""
    from kpop.firstdesign import training

    if options.songs < 2 or options.jobs < 1 or not options.minutes > 0:
        raise KpopError("Training needs --songs 2 or more, --jobs 1 or more and --minutes above 0.")
    plan = training.Plan(
        out=options.out,
        n_songs=options.songs,
        minutes=options.minutes,
        n_jobs=options.jobs,
        cache=options.cache,
        resume=options.resume,
    )
    training.run(plan, lambda line: print(line, flush=True))
