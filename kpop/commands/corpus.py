"""python -m kpop corpus: our own songs, with labels."""

import argparse
import time
from pathlib import Path

from kpop.errors import KpopError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("corpus", help="compose and render our own songs")
    command.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    command.add_argument("--songs", type=int, required=True, help="how many songs")
    command.add_argument("--first", type=int, default=0, help="number of the first song")
    command.add_argument("--jobs", type=int, default=1, help="processes")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the songs, one line each."""
    if options.songs < 1 or options.first < 0 or options.jobs < 1:
        raise KpopError(
            "A corpus needs --songs 1 or more, --first 0 or more and --jobs 1 or more: choose such numbers."
        )
    from kpop.corpus.compose import song_name, write_corpus

    started = time.perf_counter()
    try:
        write_corpus(
            options.out_dir,
            options.songs,
            options.first,
            options.jobs,
            lambda number: print(song_name(number), flush=True),
        )
    except OSError as error:
        raise KpopError(
            f"The songs cannot be written to {options.out_dir} ({error.strerror}): choose another folder."
        ) from error
    print(f"{options.songs} songs in {time.perf_counter() - started:.1f} s")
