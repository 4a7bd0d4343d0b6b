"""What was measured: a figure with its spread, beside what is wanted of it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Aim:
    """What a figure is wanted to be: at most, or at least, this."""

    limit: float
    at_most: bool = True

    def met(self, value: float) -> bool:
        """Whether a figure is as wanted. NaN never is."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


@dataclass(frozen=True)
class Reading:
    """One line of the table.

    value: the figure, the median where there are several; low, high: the spread, equal to value for a single figure
    n: how many figures it is the median of; aim: None where nothing is wanted of it; note: what else to know
    """

    part: str
    name: str
    unit: str
    value: float
    low: float
    high: float
    n: int = 1
    aim: Aim | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """In words: met, missed, or nothing where nothing is wanted."""
        return "" if self.aim is None else "met" if self.aim.met(self.value) else "missed"


def single(part: str, name: str, unit: str, value: float, aim: Aim | None = None, note: str = "") -> Reading:
    """A figure that there is only one of."""
    return Reading(part, name, unit, float(value), float(value), float(value), 1, aim, note)


def several(
    part: str, name: str, unit: str, values: Iterable[float], aim: Aim | None = None, note: str = ""
) -> Reading:
    """The median of figures and, as their spread, the 5th and 95th percentile (of up to five: the extremes)."""
    figures = np.array(list(values), float)
    if not len(figures):
        return Reading(part, name, unit, np.nan, np.nan, np.nan, 0, aim, note or "nothing came")
    low, high = (figures.min(), figures.max()) if len(figures) <= 5 else np.percentile(figures, (5, 95))
    return Reading(part, name, unit, float(np.median(figures)), float(low), float(high), len(figures), aim, note)


def failed(part: str, why: str) -> Reading:
    """In place of the figures of a part that could not be measured."""
    return Reading(part, "could not be measured", "", np.nan, np.nan, np.nan, 0, None, why)


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The b of cost = a * size ** b, by least squares of logarithms: 0 is flat, 1 linear, 2 quadratic.

    Costs are positive; those that are not count as the smallest that is.
    """
    costs = np.array(costs, float)
    least = costs[costs > 0].min(initial=np.inf)
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, least if np.isfinite(least) else 1.0)), 1)[0])


def as_json(readings: Iterable[Reading]) -> list[dict]:
    """For JSON; NaN becomes null."""
    rows = [asdict(reading) | {"verdict": reading.verdict} for reading in readings]
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]


def from_json(rows: Iterable[dict]) -> list[Reading]:
    """The inverse of as_json()."""
    readings = []
    for row in rows:
        plain = {key: value for key, value in row.items() if key not in ("aim", "verdict")}
        figures = {key: np.nan if row[key] is None else row[key] for key in ("value", "low", "high")}
        readings.append(Reading(**plain | figures, aim=Aim(**row["aim"]) if row["aim"] else None))
    return readings
