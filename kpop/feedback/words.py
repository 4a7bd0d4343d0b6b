"""The votes in words and as a table, for a terminal and for whoever wants to look closer."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from kpop.feedback.store import Hit
from kpop.feedback.taste import Liked
from kpop.feedback.votes import DOWN, KEPT, MADE, UP, Vote
from kpop.generation.clips import built_in_clips

CSV_COLUMNS = (
    "minute",
    "kind",
    "title",
    "clip",
    "randomness",
    "temperature",
    "length_s",
    "seed_number",
    "model",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would take what begins so for a formula
BAR_CELLS = 20
TITLES = {UP: "thumbs up", DOWN: "thumbs down", KEPT: "kept", MADE: "heard without a word"}


def csv_text(votes: Iterable[Vote]) -> str:
    """The votes as CSV with a head line, one song of one visit a line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for vote in votes:
        row = asdict(vote.settings) | {"minute": vote.minute, "kind": vote.kind, "title": vote.title}
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return out.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def totals_line(votes: list[Vote]) -> str:
    """How many votes there are of each kind."""
    n_of = Counter(vote.kind for vote in votes)
    songs = "1 song" if len(votes) == 1 else f"{len(votes)} songs"
    return f"{songs}: " + ", ".join(f"{n_of[kind]} {title}" for kind, title in TITLES.items())


def liked_lines(rows: list[Liked]) -> list[str]:
    """A ranked table with a bar for each mean: what is liked, by what share as far as is known, and how many votes."""
    width = max((len(row.name) for row in rows), default=0)
    return [
        f"  {row.name:<{width}}  {'█' * round(BAR_CELLS * row.mean):<{BAR_CELLS}} {row.mean:4.0%}"
        f"  ({row.low:.0%} to {row.high:.0%}, {row.n_votes} {'vote' if row.n_votes == 1 else 'votes'})"
        for row in rows
    ]


def hit_lines(hits: list[Hit]) -> list[str]:
    """The top list, with what makes each song again."""
    return [
        f"  {place:2}. {hit.title}  ♥ {hit.hearts}  (clip {hit.settings.clip}, randomness {hit.settings.randomness:g},"
        f" temperature {hit.settings.temperature:g}, {hit.settings.length_s:g} s, seed {hit.settings.seed_number},"
        f" voice {hit.settings.model})"
        for place, hit in enumerate(hits, 1)
    ]


def clip_titles() -> dict[str, str]:
    """The titles of the built-in clips by their names."""
    return {clip.name: clip.title for clip in built_in_clips()}
