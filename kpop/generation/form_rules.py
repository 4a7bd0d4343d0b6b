"""Two rules of form that every song of our corpus keeps, and that an LSTM forgets in a long song.

What a section is changes every four bars and only there, and there is no outro until the song's last eight bars. All
else is the LSTM's own choice.
"""

import numpy as np

from kpop.corpus.labels import KINDS
from kpop.grid import N_SECTION_CLASSES, STEPS_PER_BAR

OUTRO = [1 + 2 * KINDS.index("outro") + later for later in (0, 1)]
ENDING_STEPS = 8 * STEPS_PER_BAR
WITHIN, BETWEEN, WITHIN_ENDING, BETWEEN_ENDING = 1, 2, 3, 4  # kinds of step: within four bars or between, 0 is unruled


def _grammars() -> np.ndarray:
    changes = np.ones((N_SECTION_CLASSES + 1, N_SECTION_CLASSES), bool)  # after a section that is not known: any
    np.fill_diagonal(changes, False)
    early = changes.copy()
    early[:, OUTRO] = False
    stays = np.eye(N_SECTION_CLASSES, dtype=bool)
    grammars = np.ones((5, *changes.shape), bool)
    grammars[BETWEEN], grammars[BETWEEN_ENDING] = early, changes
    grammars[WITHIN], grammars[WITHIN_ENDING] = np.vstack([stays, early[-1:]]), np.vstack([stays, changes[-1:]])
    return grammars


GRAMMARS = _grammars()
"""bool (n_kinds, N_SECTION_CLASSES + 1, N_SECTION_CLASSES): may this label follow that one? As Places takes it."""


def kinds(slots: np.ndarray, n_steps_left: int | None) -> np.ndarray:
    """Kinds int64 (n_steps,) of steps at metronome slots (n_steps + 1,), the slot after the last of them included.

    n_steps_left: of the song, from the first of these steps on; None if it never ends. A step's section label is that
    of the step after it.
    """
    between = slots[1:] < slots[:-1]
    ending = np.zeros(len(between), bool)
    if n_steps_left is not None:
        ending = n_steps_left - np.arange(len(between)) <= ENDING_STEPS
    return 1 + between + 2 * ending
