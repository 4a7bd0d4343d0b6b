"""Two rules of form that every song of our corpus keeps, and that an LSTM forgets in a long song."""

import torch

from kpop.corpus.labels import KINDS
from kpop.grid import STEPS_PER_BAR
from kpop.lstm.stepper import Choose

SECTION_STREAM = 0
OUTRO = [1 + 2 * KINDS.index("outro") + later for later in (0, 1)]
ENDING_STEPS = 8 * STEPS_PER_BAR


class FormRules:
    """Stands between the LSTM and chance, for one song: what a section is changes every four bars and only there, and
    there is no outro until the song's last eight bars. All else is the LSTM's own choice."""

    def __init__(self, choose: Choose, section: int) -> None:
        """section: class of section at the last step of the seed; none of them where it is not known."""
        self.choose, self.section = choose, section
        self.ends_four_bars, self.may_end = False, False

    def before(self, ends_four_bars: bool, n_steps_left: int) -> None:
        """Where the next step stands. Its section label is that of the step after it."""
        self.ends_four_bars, self.may_end = ends_four_bars, n_steps_left <= ENDING_STEPS

    def __call__(self, stream: int, logits: torch.Tensor) -> torch.Tensor:
        """(1, size) logits -> value (1,) int64, as a Choose."""
        if stream != SECTION_STREAM:
            return self.choose(stream, logits)
        value = self.choose(stream, logits.masked_fill(~self._allowed(logits.shape[1]), -torch.inf))
        self.section = int(value)
        return value

    def _allowed(self, n_classes: int) -> torch.Tensor:
        """(1, n_classes) bool."""
        classes = torch.arange(n_classes)
        here = classes == self.section
        if here.any() and not self.ends_four_bars:
            return here.unsqueeze(0)
        outro = torch.isin(classes, torch.tensor(OUTRO))
        return (~here & ~(outro & (not self.may_end))).unsqueeze(0)
