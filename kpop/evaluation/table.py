"""The table: every row's songs in every column, as numbers and as cells."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kpop.audio.measures import spectral_convergence_db
from kpop.audio.stft import stft
from kpop.evaluation.columns import CEILING, COLUMNS, COPIES, NOISE
from kpop.evaluation.distance import Space, distances, diversity
from kpop.evaluation.hearing import OCTAVES_HZ, Heard
from kpop.evaluation.statistics import Cell, cell, cell_of_draws
from kpop.evaluation.steadiness import Course, drifts

Numbers = dict[str, np.ndarray]
"""Row -> a number of each song (n_songs,)."""


@dataclass
class Table:
    """What was measured.

    cells: row -> column -> Cell; a column is missing from the rows in which it means nothing
    octaves_db: row -> (n_octaves,) mean balance; courses: row -> the long songs by ten seconds
    copy_percentiles: row -> (5th, 95th percentile) of the nearness to training songs
    left_out: sentences on what could not be measured
    """

    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    octaves_db: dict[str, np.ndarray] = field(default_factory=dict)
    courses: dict[str, list[Course]] = field(default_factory=dict)
    copy_percentiles: dict[str, tuple[float, float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, column: str, numbers: Numbers) -> None:
        """Fill a column from songs' numbers."""
        control = next(known.control for known in COLUMNS if known.name == column)
        for row, values in numbers.items():
            self.cells.setdefault(row, {})[column] = cell(values, numbers.get(CEILING), numbers.get(control))

    def as_json(self) -> dict:
        """Everything but the courses, for JSON."""
        return {
            "columns": {c.name: {"title": c.title, "0 is": CEILING, "1 is": c.control} for c in COLUMNS if c.control},
            "cells": {row: {name: vars(one) for name, one in cells.items()} for row, cells in self.cells.items()},
            "octave_balance_db": {
                row: dict(zip(OCTAVES_HZ, levels.tolist(), strict=True)) for row, levels in self.octaves_db.items()
            },
            "nearness_5_and_95_percent": self.copy_percentiles,
            "left_out": self.left_out,
        }


def add_heard(table: Table, heard: dict[str, list[Heard]]) -> None:
    """The columns that need a waveform alone, and those of sets of songs."""
    for name in heard[CEILING][0].values:
        table.add(name, {row: np.array([song.values[name] for song in songs]) for row, songs in heard.items()})
    octaves = {row: np.array([song.octaves_db for song in songs]) for row, songs in heard.items()}
    table.octaves_db |= {row: levels.mean(0) for row, levels in octaves.items()}
    if len(heard[CEILING]) > 1:  # one unheard song has no others to be compared with
        balances = {row: balance_db(levels, octaves[CEILING], row == CEILING) for row, levels in octaves.items()}
        table.add("band_balance_db", balances)
        _add_sets(table, {row: [song.windows for song in songs] for row, songs in heard.items()})


def balance_db(octaves_db: np.ndarray, unheard_db: np.ndarray, own: bool) -> np.ndarray:
    """(n_songs,) mean absolute difference of songs' octave bands (n_songs, n_octaves) to those of the mean unheard
    song; to the mean of the others where the songs are the unheard ones themselves (own)."""
    total, n = unheard_db.sum(0), len(unheard_db)
    means = (total - octaves_db) / (n - 1) if own else total / n
    return np.abs(octaves_db - means).mean(1)


def _add_sets(table: Table, windows: dict[str, list[np.ndarray]]) -> None:
    space = Space(windows[CEILING])
    table.add("diversity", {row: diversity(songs, space) for row, songs in windows.items() if len(songs) > 1})
    draws = distances(windows, CEILING)
    if not draws:
        table.left_out.append("The distances are left out: they need four unheard songs.")
    for name in draws.get(CEILING, {}):
        control = next(column.control for column in COLUMNS if column.name == name)
        for row, measured in draws.items():
            one = cell_of_draws(measured[name], draws[CEILING][name], draws[control][name], len(windows[row]))
            table.cells[row][name] = one


def add_convergence(table: Table, songs: list[np.ndarray], copies: list[np.ndarray]) -> None:
    """How near the copies' magnitudes come to their songs' own."""
    pairs = zip(songs, copies, strict=True)
    table.add(
        "spectral_convergence_db",
        {COPIES: np.array([spectral_convergence_db(np.abs(stft(song)), copy) for song, copy in pairs])},
    )


def add_nearness(table: Table, rows: dict[str, list[np.ndarray]], similarity: Callable[[np.ndarray], float]) -> None:
    """How like their nearest two bars of training music songs are; noise, which cannot copy, is left out."""
    found = {row: np.array([similarity(song) for song in songs]) for row, songs in rows.items() if row != NOISE}
    table.add("copy_similarity", found)
    table.copy_percentiles |= {row: tuple(np.percentile(values, (5, 95)).tolist()) for row, values in found.items()}


def add_courses(table: Table, courses: dict[str, list[Course]]) -> None:
    """The drifts of the long songs."""
    table.courses |= courses
    drifted = {row: [drifts(song) for song in songs] for row, songs in courses.items()}
    for name in drifted[CEILING][0]:
        table.add(name, {row: np.array([song[name] for song in songs]) for row, songs in drifted.items()})
