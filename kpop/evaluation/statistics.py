"""From songs' numbers to a cell of the table: mean, place between ceiling and control, confidence."""

from dataclasses import dataclass

import numpy as np

N_DRAWS = 1_000
CONFIDENCE_PERCENT = (2.5, 97.5)
TINY = 1e-12


@dataclass(frozen=True)
class Cell:
    """One row of one column.

    raw: mean over songs, in the column's unit; n_songs: over how many
    normalised: 0 is as unheard songs are, 1 as the column's control is; None without a control
    low, high: its 95 % confidence interval
    """

    raw: float
    n_songs: int
    normalised: float | None = None
    low: float | None = None
    high: float | None = None


def cell(row: np.ndarray, ceiling: np.ndarray | None, control: np.ndarray | None) -> Cell:
    """The cell of songs' numbers (n_songs,), those of unheard songs and of the control beside it.

    The interval is a bootstrap over songs (Efron 1979) with a seed of its own: row, ceiling and control are each drawn
    anew, so the ceiling's interval tells how far two sets of unheard songs of that size are apart.
    """
    raw = float(np.mean(row))
    if ceiling is None or control is None:
        return Cell(raw, len(row))
    rng = np.random.default_rng(0)
    drawn = [_means(values, rng) for values in (row, ceiling, control)]
    low, high = np.percentile(normalised(*drawn), CONFIDENCE_PERCENT)
    place = normalised(raw, np.mean(ceiling), np.mean(control))
    return Cell(raw, len(row), float(place), float(low), float(high))


def cell_of_draws(row: np.ndarray, ceiling: np.ndarray, control: np.ndarray, n_songs: int) -> Cell:
    """The cell of a number that belongs to sets of songs, measured on the same random halves (n_draws,) of each.

    Halves drawn without replacement vary about as much as whole sets do (Shao & Tu 1995, "The jackknife and
    bootstrap"), and, unlike a bootstrap's, hold no song twice, which a distance between sets would take for likeness.
    """
    place = normalised(row.mean(), ceiling.mean(), control.mean())
    low, high = np.percentile(normalised(row, ceiling.mean(), control.mean()), CONFIDENCE_PERCENT)
    return Cell(float(row.mean()), n_songs, float(place), float(low), float(high))


def normalised(value, ceiling, control):
    """Where a value lies on the way from the ceiling (0) to the control (1)."""
    span = control - ceiling
    return (value - ceiling) / np.where(np.abs(span) < TINY, TINY, span)


def _means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(values)[rng.integers(len(values), size=(N_DRAWS, len(values)))].mean(1)
