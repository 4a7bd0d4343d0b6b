"""What we want of generated songs, beside what the table says of them."""

from dataclasses import dataclass

import numpy as np

from kpop.evaluation.columns import CEILING, GENERATED
from kpop.evaluation.table import Table

LEAST_SHARE_OF_UNHEARD = 0.9
LEAST_PROGRESSION = 0.7
MOST_BALANCE_DB = 2.0
MOST_DISTANCE = 0.15


@dataclass(frozen=True)
class Target:
    """wanted and found are words for people."""

    name: str
    wanted: str
    found: str
    met: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.found} (wanted {self.wanted}): {'met' if self.met else 'missed'}"


def targets(table: Table) -> list[Target]:
    """Those that could be measured."""
    ours, unheard = table.cells[GENERATED], table.cells[CEILING]
    found = []
    for name, words in (("pulse_clarity", "pulse clarity"), ("key_clarity", "key clarity")):
        share = ours[name].raw / unheard[name].raw
        wanted = f"at least {LEAST_SHARE_OF_UNHEARD:.0%} of unheard songs'"
        found.append(Target(words, wanted, f"{share:.0%}", share >= LEAST_SHARE_OF_UNHEARD))
    found.append(_progressions(ours["progression_bars"].raw, unheard["progression_bars"].raw))
    apart_db = float(np.abs(table.octaves_db[GENERATED] - table.octaves_db[CEILING]).max())
    wanted = f"every octave of the mean song within {MOST_BALANCE_DB:g} dB of unheard songs'"
    found.append(Target("band balance", wanted, f"{apart_db:.1f} dB", apart_db <= MOST_BALANCE_DB))
    if "frechet_distance" in ours:
        distance = ours["frechet_distance"].normalised
        wanted = f"at most {MOST_DISTANCE:g} of the way to shuffled songs"
        found.append(Target("distance", wanted, f"{distance:.2f}", distance <= MOST_DISTANCE))
    return found


def _progressions(ours: float, unheard: float) -> Target:
    wanted = f"at least {LEAST_PROGRESSION:.0%} of bars"
    return Target(
        "progressions of the corpus", wanted, f"{ours:.0%}, unheard songs {unheard:.0%}", ours >= LEAST_PROGRESSION
    )
