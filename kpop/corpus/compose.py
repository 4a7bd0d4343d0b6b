"""From a number to a song."""

from itertools import pairwise

import numpy as np

from kpop.corpus.arrangement import play, rehearse
from kpop.corpus.form import KEY_CHANGES, choose_form, place_sections, set_scenes
from kpop.corpus.harmony import Bars, choose_key, choose_loops, harmonise, with_ending, with_pivot
from kpop.corpus.melody import write_tunes
from kpop.corpus.patterns import pick
from kpop.corpus.score import Score, Section

PALETTES = ("neon", "velvet", "bubblegum", "noir")
TUNE_BARS = 8  # tunes are written this long; shorter sections sing the beginning


def compose(number: int) -> Score:
    """The song of a number, 0 or greater: the same score every time."""
    rng = np.random.default_rng(number)
    palette = pick(PALETTES, rng)
    key = choose_key(palette, rng)
    loops = choose_loops(key[1], rng)
    sections = place_sections(choose_form(rng), *key, pick(KEY_CHANGES, rng))
    bars_per_section = write_chords(sections, loops, palette)
    tunes = write_tunes(home_bars(sections, loops, palette), key, rng)
    tracks = play(set_scenes(sections, bars_per_section), rehearse(palette, rng), tunes)
    return Score(number, palette, sections, tuple(bar for bars in bars_per_section for bar in bars), tracks)


def write_chords(sections: tuple[Section, ...], loops: dict[str, str], palette: str) -> list[Bars]:
    """The chords of every section, with a way into a new key and an ending."""
    bars_per_section = [harmonise(section, loops, palette) for section in sections]
    for index, (here, there) in enumerate(pairwise(sections)):
        if here.tonic != there.tonic:
            bars_per_section[index] = with_pivot(bars_per_section[index], there.tonic)
    bars_per_section[-1] = with_ending(bars_per_section[-1], sections[-1].tonic, sections[-1].mode)
    return bars_per_section


def home_bars(sections: tuple[Section, ...], loops: dict[str, str], palette: str) -> dict[str, Bars]:
    """For each kind of section, the chords in the first key that its tune is written over."""
    tonic, mode = sections[0].tonic, sections[0].mode
    kinds = dict.fromkeys(section.kind for section in sections)
    return {kind: harmonise(Section(kind, 0, TUNE_BARS, tonic, mode), loops, palette) for kind in kinds}
