"""The figures as a table, for a terminal."""

from collections.abc import Sequence
from itertools import groupby

from kpop.bench.readings import Reading

HEAD = ("", "median", "5 to 95 %, or all", "wanted", "", "")
NAME_WIDTH, VALUE_WIDTH, SPREAD_WIDTH, AIM_WIDTH, VERDICT_WIDTH = 50, 13, 20, 10, 7


def table_lines(readings: Sequence[Reading]) -> list[str]:
    """A line a reading under the name of its part, and a line that counts what was met."""
    lines = [_row(*HEAD)]
    for part, group in groupby(readings, lambda reading: reading.part):
        lines += ["", part, *(_line(reading) for reading in group)]
    aimed = [reading for reading in readings if reading.aim]
    met = sum(reading.verdict == "met" for reading in aimed)
    return [*lines, "", f"{met} of {len(aimed)} targets met" if aimed else "no targets among these"]


def short(value: float) -> str:
    """A figure with three digits that mean something, or a dash where there is none."""
    if value != value:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _line(reading: Reading) -> str:
    value = f"{short(reading.value)} {reading.unit}".rstrip()
    spread = f"{short(reading.low)} .. {short(reading.high)}" if reading.n > 1 else ""
    aim = str(reading.aim) if reading.aim else ""
    return _row(f"  {reading.name}", value, spread, aim, reading.verdict, reading.note)


def _row(name: str, value: str, spread: str, aim: str, verdict: str, note: str) -> str:
    cells = f"{name:<{NAME_WIDTH}}{value:>{VALUE_WIDTH}}  {spread:<{SPREAD_WIDTH}}{aim:<{AIM_WIDTH}}"
    return f"{cells}{verdict:<{VERDICT_WIDTH}}{note}".rstrip()
