"""python -m kpop feedback: what listeners like."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kpop.errors import KpopError

if TYPE_CHECKING:
    from kpop.feedback import Store

N_HITS = 10


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("feedback", help="what listeners like: seed clips, settings, and the songs of today")
    command.add_argument("--csv", type=Path, metavar="FILE", help="instead: write every vote there")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print what listeners like, or write their votes, or simulate them."""
    from kpop.feedback import VARIABLE, the_store

    store = the_store()
    if store is None:
        print(f"Feedback is off on this machine: set {VARIABLE} to a file that can be written to turn it on.")
    elif options.csv:
        _write_csv(store, options.csv)
    else:
        _print(store)


def _write_csv(store: "Store", path: Path) -> None:
    from kpop.feedback import csv_text

    votes = store.votes()
    try:
        path.write_text(csv_text(votes), encoding="utf-8")
    except OSError as error:
        raise KpopError(f"{path} cannot be written ({error.strerror}): choose another file for --csv.") from error
    print(f"Written: {path} with {len(votes)} votes")


def _print(store: "Store") -> None:
    from kpop import feedback as tastes
    from kpop.feedback import clip_titles, hit_lines, liked_lines, start_of_today, totals_line

    votes = store.votes()
    if not votes:
        print(f"Nobody has said anything yet. Votes will be kept in {store.path}.")
        return
    taste, titles = tastes.Taste.of(store), clip_titles()
    clips = [replace(row, name=titles[row.name]) for row in tastes.liked_clips(taste)]
    hits = store.top(start_of_today(), N_HITS)
    print(totals_line(votes))
    print("\n".join(["", "Seed clips, by the share of listeners who like them (90 % sure)", *liked_lines(clips)]))
    print("\n".join(["", "Settings, the same way", *liked_lines(tastes.liked_settings(taste))]))
    print("\n".join(["", "Songs of today", *(hit_lines(hits) or ["  None has a heart yet."])]))
