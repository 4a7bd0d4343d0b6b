"""Songs move on, and end only at their end."""

import numpy as np

from kpop.constants import N_SECTION_CLASSES
from kpop.generation.pipeline import ENDING_STEPS, GRAMMARS, OUTRO, kinds

NOT_KNOWN = N_SECTION_CLASSES
WITHIN_FOUR_BARS, END_OF_FOUR_BARS = np.array([3, 4]), np.array([255, 0])


def may_follow(last: int, slots: np.ndarray, n_steps_left: int | None) -> set[int]:
    return set(np.flatnonzero(GRAMMARS[kinds(slots, n_steps_left)[0], last]).tolist())


def test_a_section_moves_on_every_four_bars_and_only_there():
    everything = set(range(N_SECTION_CLASSES))
    assert may_follow(5, WITHIN_FOUR_BARS, 9_999) == {5}
    assert may_follow(5, END_OF_FOUR_BARS, 9_999) == everything - {5, *OUTRO}
    assert may_follow(5, END_OF_FOUR_BARS, 1) == everything - {5}


def test_there_is_no_outro_before_the_last_eight_bars():
    assert not may_follow(3, END_OF_FOUR_BARS, ENDING_STEPS + 1) & set(OUTRO)
    assert may_follow(3, END_OF_FOUR_BARS, ENDING_STEPS) >= set(OUTRO)
    assert kinds(np.zeros(3, int), ENDING_STEPS + 1).tolist() == [1, 3], "the ending begins at its step, not its stride"


def test_a_song_that_never_ends_has_no_outro():
    assert not may_follow(3, END_OF_FOUR_BARS, None) & set(OUTRO)


def test_after_a_seed_of_unknown_sections_any_may_begin():
    assert may_follow(NOT_KNOWN, WITHIN_FOUR_BARS, 9_999) == set(range(N_SECTION_CLASSES)) - set(OUTRO)


def test_every_kind_of_step_leaves_something_to_choose_and_the_first_leaves_all():
    assert GRAMMARS[0].all()
    assert GRAMMARS.any(2).all()
