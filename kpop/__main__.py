"""python -m kpop COMMAND: everything that the page does, and more, from the command line."""

import argparse
import sys

from kpop.commands import clips, corpus, evaluate, feedback, generate, index, resynthesize, train
from kpop.errors import KpopError

COMMANDS = (generate, train, corpus, resynthesize, evaluate, index, clips, feedback)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="python -m kpop", description="New K-pop, dreamt up by an LSTM.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 after an error that the user can put right."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except KpopError as error:
        print(f"kpop: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kpop: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
