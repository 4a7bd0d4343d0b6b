"""Songs move on, and end only at their end."""

import torch

from kpop.generation.form_rules import ENDING_STEPS, OUTRO, FormRules
from kpop.grid import N_SECTION_CLASSES


def likeliest(stream: int, logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1)


def wish(*values: int) -> torch.Tensor:
    """Logits of a section that wants the first of the values most, then the second, and so on."""
    logits = torch.zeros(1, N_SECTION_CLASSES)
    for height, value in enumerate(reversed(values), 1):
        logits[0, value] = height
    return logits


def test_a_section_moves_on_every_four_bars_and_only_there():
    rules = FormRules(likeliest, section=5)
    rules.before(ends_four_bars=False, n_steps_left=9_999)
    assert rules(0, wish(7, 5)) == 5
    rules.before(ends_four_bars=True, n_steps_left=9_999)
    assert rules(0, wish(5, 7)) == 7
    rules.before(ends_four_bars=False, n_steps_left=9_999)
    assert rules(0, wish(5, 7)) == 7
    rules.before(ends_four_bars=True, n_steps_left=9_999)
    assert rules(0, wish(7, 5)) == 5, "what came before may come again"


def test_there_is_no_outro_before_the_last_eight_bars():
    rules = FormRules(likeliest, section=3)
    rules.before(ends_four_bars=True, n_steps_left=ENDING_STEPS + 1)
    assert rules(0, wish(*OUTRO, 7)) == 7
    rules.before(ends_four_bars=True, n_steps_left=ENDING_STEPS)
    assert rules(0, wish(*OUTRO, 7)) == OUTRO[0]


def test_other_streams_are_the_lstms_own_choice():
    rules = FormRules(likeliest, section=5)
    rules.before(ends_four_bars=True, n_steps_left=9_999)
    assert rules(1, wish(5, 7)) == 5


def test_after_a_seed_of_unknown_sections_any_may_begin():
    rules = FormRules(likeliest, section=N_SECTION_CLASSES)
    rules.before(ends_four_bars=False, n_steps_left=9_999)
    assert rules(0, wish(5)) == 5
