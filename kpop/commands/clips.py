"""python -m kpop clips: make the built-in seed clips again."""

import argparse
from pathlib import Path


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("clips", help="make the built-in seed clips again, from songs no model has heard")
    command.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="as a rule models/clips")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write every clip and their list."""
    from kpop.generation.clip_maker import make_clips

    for title in make_clips(options.out_dir):
        print(title, flush=True)
