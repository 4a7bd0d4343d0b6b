"""The labels of a song, written four bars at a time by the score model: an LSTM over sixteenths of labels alone.

Labels decide form, key, chords, tune and words. They are few bits of a step, so the LSTM that predicts sound learns
them last; composed scores cost no rendering, so a model of them alone can be trained on tens of thousands.
"""

import numpy as np

from kpop.constants import (
    LABEL_SIZES,
    N_SECTION_CLASSES,
    N_TUNE_CLASSES,
    PERIOD_16THS,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_SIXTEENTH,
)
from kpop.corpus.score import KINDS
from kpop.lstm.model import recalled_steps
from kpop.lstm.sampler import SAMPLED, BatchState, Chunk, Sampler

MASK = np.array(LABEL_SIZES)  # mask tokens: unknown labels
TUNE = LABEL_SIZES.index(N_TUNE_CLASSES)  # column of the tune
ENDING_16THS = 8 * SIXTEENTHS_PER_BAR

OUTRO = [1 + 2 * KINDS.index("outro") + later for later in (0, 1)]
_no_outro = ~np.isin(np.arange(N_SECTION_CLASSES), OUTRO)
_other = ~np.eye(N_SECTION_CLASSES + 1, N_SECTION_CLASSES, dtype=bool)  # after a mask token (last row) all are others
_same, _same_or_no_outro = (np.vstack([~_other[:-1], after_mask]) for after_mask in (_other[-1], _no_outro))
SECTION_CONSTRAINTS = np.stack([_other | True, _same_or_no_outro, _other & _no_outro, _same, _other])
"""bool (5, N_SECTION_CLASSES + 1, N_SECTION_CLASSES): whether a section label may follow another: no constraint, within
four bars, between them, and both again in the last eight bars.

Two rules that all corpus songs keep and that an LSTM forgets in long songs: the section's label changes every four
bars and only there, and there is no outro before the last eight bars.
"""


def constraint_ids(positions: np.ndarray, n_left: int | None, n_ending: int) -> np.ndarray:
    """Constraints int64 (n,) of steps or sixteenths at metre positions (n + 1,), the next one's included.

    n_left: how many are left of the song, from the first of these on; None if it is endless. n_ending: the last ones,
    in which there may be an outro. Labels are one early.
    """
    between = positions[1:] < positions[:-1]
    ending = np.zeros(len(between), bool)
    if n_left is not None:
        ending = n_left - np.arange(len(between)) <= n_ending
    return 1 + between + 2 * ending


def sixteenth_labels(labels: np.ndarray, offset: int = 0) -> np.ndarray:
    """Labels (n_sixteenths, 5) of the sixteenths that steps (n_steps, 5) fall into, the first of them at its step
    `offset`: a note of the tune is taken to begin with its sixteenth."""
    padded = np.pad(labels, ((offset, 0), (0, 0)), mode="edge")
    return padded[::STEPS_PER_SIXTEENTH]


class LabelTrack:
    """The labels of one song. Rows of its model are one sixteenth early: row i is of sixteenth i, and predicted at
    the metre position of the one before.

    Not thread-safe. The result does not depend on when rows are asked for.
    """

    def __init__(
        self,
        score: Sampler,
        known: np.ndarray,
        metre_position: int,
        n_steps: int | None,
        temperature: float,
        rng: np.random.Generator,
    ) -> None:
        """known: int (n, 5) of the first sixteenths; SAMPLED tokens are sampled at temperature 1. metre_position: of
        the first step. n_steps: of the song, None if it is endless. temperature: of all that follows."""
        self._score, self._state, self._rng = score, BatchState(score.config, 1), rng
        self._known, self._temperature = known, temperature
        self._first_16th, self._offset = divmod(metre_position, STEPS_PER_SIXTEENTH)
        self._n = None if n_steps is None else 1 + self._index(n_steps)
        self._rows = np.empty((0, len(LABEL_SIZES)), np.int64)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Labels int64 (stop - start, 5) as the LSTM of steps takes them: each row is of the step after."""
        steps = np.arange(start + 1, stop + 1)
        rows = self._until(self._index(stop) + 1)[self._index(steps)]
        begins = (rows[:, TUNE] % 2 == 1) & (rows[:, TUNE] < MASK[TUNE])
        rows[:, TUNE] += begins & ((steps + self._offset) % STEPS_PER_SIXTEENTH > 0)  # the note goes on
        return rows

    def recalled(self, start: int, stop: int) -> np.ndarray:
        """recalled_steps() of steps start to stop."""
        sections = self._until(self._index(stop) + 1)[self._index(np.arange(stop)), 0]
        return recalled_steps(_without_masks(sections))[start:]

    def append(self, row: np.ndarray) -> None:
        """Labels (5,) of the sixteenth after the known ones, before any row that follows is asked for."""
        self._known = np.concatenate([self._known, row[None]])

    def _index(self, step):
        """The sixteenth of a step."""
        return (step + self._offset) // STEPS_PER_SIXTEENTH

    def _until(self, n: int) -> np.ndarray:
        """At least the first n rows, in pieces that end with four bars: within them the section is known."""
        while len(self._rows) < n:
            start = len(self._rows)
            positions = self._first_16th - 1 + np.arange(start, start + PERIOD_16THS + 1)
            length = PERIOD_16THS - positions[0] % PERIOD_16THS
            known = self._known[start : start + length]
            length = len(known) or length
            rows = np.full((length, len(LABEL_SIZES)), SAMPLED)
            rows[: len(known)] = known
            sections = np.concatenate([[0], self._rows[:, 0]])
            sections = np.concatenate([sections, np.repeat(sections[-1], length - 1)])
            n_left = None if self._n is None else self._n - start
            chunk = Chunk(
                slot=0,
                metre_positions=positions[:length] * STEPS_PER_SIXTEENTH,
                forced_tokens=rows,
                uniforms=self._rng.random(rows.shape),
                temperature=1.0 if len(known) else self._temperature,
                constraint_ids=constraint_ids(positions[: length + 1] % PERIOD_16THS, n_left, ENDING_16THS),
                recalled=recalled_steps(_without_masks(sections))[start:],
            )
            self._rows = np.concatenate([self._rows, *self._score.run(self._state, [chunk])])
        return self._rows


def _without_masks(sections: np.ndarray) -> np.ndarray:
    return np.where(sections == MASK[0], 0, sections)
