"""python -m kpop feedback: what listeners like."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kpop.errors import KpopError

if TYPE_CHECKING:
    from kpop.feedback.store import Store

N_HITS = 10
LISTENERS_RANGE = (100, 20_000)
RUNS_RANGE = (2, 1_000)


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("feedback", help="what listeners like: seed clips, settings, and the songs of today")
    command.add_argument("--csv", type=Path, metavar="FILE", help="instead: write every vote there")
    command.add_argument("--simulate", action="store_true", help="instead: show that offers find what listeners like")
    command.add_argument("--listeners", type=int, default=500, help="of a simulated run, 100 or more")
    command.add_argument("--runs", type=int, default=20, help="how many simulated runs, 2 or more")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print what listeners like, or write their votes, or simulate them."""
    if options.simulate:
        _simulate(options.listeners, options.runs)
        return
    from kpop.feedback.place import VARIABLE, the_store

    store = the_store()
    if store is None:
        print(f"Feedback is off on this machine: set {VARIABLE} to a file that can be written to turn it on.")
    elif options.csv:
        _write_csv(store, options.csv)
    else:
        _print(store)


def _simulate(n_listeners: int, n_runs: int) -> None:
    for what, number, (low, high) in (
        ("--listeners", n_listeners, LISTENERS_RANGE),
        ("--runs", n_runs, RUNS_RANGE),
    ):
        if not low <= number <= high:
            raise KpopError(f"A simulation needs {what} between {low} and {high}: choose such a number.")
    from kpop.feedback.simulation import LATE, Habits, report_lines, simulate

    print(f"{n_runs} runs of {n_listeners} listeners; mean of runs ± 95 %; shares are of the last {LATE} listeners.")
    for title, habits in (
        ("Some move the sliders first", Habits()),
        ("Nobody moves a slider", replace(Habits(), tweaks=0.0)),
    ):
        print("\n".join(["", title, *report_lines(simulate(n_listeners, n_runs, habits))]), flush=True)


def _write_csv(store: "Store", path: Path) -> None:
    from kpop.feedback.words import csv_text

    votes = store.votes()
    try:
        path.write_text(csv_text(votes), encoding="utf-8")
    except OSError as error:
        raise KpopError(f"{path} cannot be written ({error.strerror}): choose another file for --csv.") from error
    print(f"Written: {path} with {len(votes)} votes")


def _print(store: "Store") -> None:
    from kpop.feedback import taste as tastes
    from kpop.feedback.votes import start_of_today
    from kpop.feedback.words import clip_titles, hit_lines, liked_lines, totals_line

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
