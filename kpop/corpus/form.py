"""The form of a song: which sections, how long, in which key."""

from dataclasses import dataclass

import numpy as np

from kpop.corpus.harmony import Bars
from kpop.corpus.patterns import pick
from kpop.corpus.score import Section

# Kind and bars of each section. All start at a multiple of four bars, the length of the metronome that the LSTM hears.
CLASSIC = (
    "intro 4, verse 8, prechorus 4, chorus 8, postchorus 4, verse 8, prechorus 4, chorus 8, postchorus 4, "
    "bridge 8, chorus 8, postchorus 4, outro 4"
)
LONG_BUILD = (
    "intro 4, verse 8, prechorus 8, chorus 8, verse 8, prechorus 8, chorus 8, dance 8, chorus 8, postchorus 8, outro 4"
)
DANCE_BREAK = (
    "intro 8, verse 8, prechorus 4, chorus 8, postchorus 4, verse 8, prechorus 4, chorus 8, postchorus 4, dance 8, "
    "bridge 4, chorus 8, postchorus 8, outro 4"
)
HOOK_FIRST = (
    "chorus 4, intro 4, verse 8, prechorus 4, chorus 8, verse 8, prechorus 4, chorus 8, bridge 8, "
    "chorus 8, postchorus 4, outro 4"
)
SHORT = (
    "intro 4, verse 8, prechorus 4, chorus 8, verse 8, prechorus 4, chorus 8, bridge 4, chorus 8, postchorus 4, outro 4"
)
CHANT = (
    "intro 4, verse 8, prechorus 4, chorus 8, postchorus 8, verse 8, prechorus 4, chorus 8, postchorus 8, bridge 4, "
    "dance 4, chorus 8, outro 4"
)
BREAKDOWN = (
    "intro 4, verse 8, prechorus 4, chorus 8, verse 8, prechorus 4, chorus 8, postchorus 4, dance 4, bridge 4, "
    "chorus 8, outro 4"
)
FORMS = (CLASSIC, LONG_BUILD, DANCE_BREAK, HOOK_FIRST, SHORT, CHANT, BREAKDOWN)
KEY_CHANGES = (0, 0, 1, 1, 2, 2)  # semitones up at the last chorus


@dataclass(frozen=True)
class Scene:
    """A section with what its players need to know: its chords, and where in the form it is."""

    section: Section
    bars: Bars
    occurrence: int  # how many sections of its kind came before
    is_last_chorus: bool
    semitones_up: int  # how far its key is above the first one
    leads_to_chorus: bool

    @property
    def kind(self) -> str:
        """The kind of the section."""
        return self.section.kind

    @property
    def n_bars(self) -> int:
        """Length of the section in bars."""
        return self.section.n_bars


def choose_form(rng: np.random.Generator) -> tuple[tuple[str, int], ...]:
    """Kind and bars of each section of a song."""
    parts = (part.split() for part in pick(FORMS, rng).split(", "))
    return tuple((kind, int(n_bars)) for kind, n_bars in parts)


def last_chorus(kinds: list[str]) -> int:
    """Index of the last chorus."""
    return len(kinds) - 1 - kinds[::-1].index("chorus")


def place_sections(form: tuple[tuple[str, int], ...], tonic: int, mode: str, semitones_up: int) -> tuple[Section, ...]:
    """The sections of a form one after another, in the raised key from the last chorus on."""
    raised_from = last_chorus([kind for kind, _ in form])
    sections, first_bar = [], 0
    for index, (kind, n_bars) in enumerate(form):
        key = (tonic + semitones_up * (index >= raised_from)) % 12
        sections.append(Section(kind, first_bar, n_bars, key, mode))
        first_bar += n_bars
    return tuple(sections)


def set_scenes(sections: tuple[Section, ...], bars_per_section: list[Bars]) -> tuple[Scene, ...]:
    """Each section with its chords and its place in the form."""
    kinds = [section.kind for section in sections]
    return tuple(
        Scene(
            section=section,
            bars=bars,
            occurrence=kinds[:index].count(section.kind),
            is_last_chorus=index == last_chorus(kinds),
            semitones_up=(section.tonic - sections[0].tonic) % 12,
            leads_to_chorus=kinds[index + 1 : index + 2] == ["chorus"],
        )
        for index, (section, bars) in enumerate(zip(sections, bars_per_section, strict=True))
    )
