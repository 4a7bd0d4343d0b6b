"""Patterns of one bar written as text, one character per sixteenth: the vocabulary that all players choose from.

"." rests, "-" holds the hit before, and every other character starts a hit.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

LEVELS = {"X": 1.0, "x": 0.8, "o": 0.6}  # few, so that hits repeat exactly

Option = TypeVar("Option")


@dataclass(frozen=True)
class Hit:
    """One hit of a pattern: its time in the bar and length in sixteenths, and the character that started it."""

    start_16th: int
    length_16ths: int
    symbol: str

    @property
    def velocity(self) -> float:
        """Level of the hit; symbols that are not levels play at the middle one."""
        return LEVELS.get(self.symbol, LEVELS["x"])


@cache
def hits(pattern: str) -> tuple[Hit, ...]:
    """The hits of a pattern, in order."""
    return tuple(Hit(m.start(), len(m[0]), m[0][0]) for m in re.finditer(r"[^.-]-*", pattern))


def pick(options: tuple[Option, ...], rng: np.random.Generator) -> Option:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]
