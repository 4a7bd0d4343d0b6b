"""The parts of a song, one sound file each: which folders hold them, what they are, and which song they belong to."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpop.audio.files import read_audio
from kpop.errors import KpopError
from kpop.grid import SAMPLE_RATE_HZ
from kpop.training.songs import to_int16

FEWEST_STEMS = 3
ALIKE_S = 0.1  # stems of one song differ in length by no more than this
STEM_WORD = re.compile(r"(?<![a-z])stems?(?![a-z])", re.IGNORECASE)
VOICES = re.compile(r"VOX|VOC|VOICE|CHOIR|CAPELLA", re.IGNORECASE)
PERCUSSION = re.compile(
    r"DRUM|KICK|SNARE|CLAP|CRASH|CYMBAL|PERC|PRC|BEAT|SHAKER|(?<![A-Z])(HH|HI-?HATS?|HATS?|TOMS?|TOPS?|RIDE|RIM|SN)(?![A-Z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Stem:
    """One part of a song. group: "voices", "percussion" or "others"; samples: (n_samples,) int16 at 16 kHz."""

    name: str
    group: str
    samples: np.ndarray


def stem_folders(folder: Path, files: list[Path]) -> dict[Path, list[Path]]:
    """The sub-folders of `folder` that hold stems, and their files.

    Such a folder holds three sound files or more, and the word "stem" stands in its path below `folder` or in the
    name of each file; without it an album of songs would be taken for one song.
    """
    found = {}
    for place in sorted({path.parent for path in files} - {folder}):
        paths = [path for path in files if path.parent == place]
        named = STEM_WORD.search(str(place.relative_to(folder))) or all(STEM_WORD.search(path.stem) for path in paths)
        if len(paths) >= FEWEST_STEMS and named:
            found[place] = paths
    return found


def read_stems(paths: list[Path], report: Callable[[str], None]) -> list[Stem]:
    """The stems in these files; each that is broken or not as long as most is reported and left out.

    Raises KpopError when fewer than three are left.
    """
    n_title = _title_length([path.stem for path in paths])
    stems = []
    for path in paths:
        try:
            stems.append(Stem(path.name, group_of(path.stem[n_title:]), to_int16(read_audio(path))))
        except KpopError as error:
            report(f"left out {path.parent.name}/{path.name}: {error}")
    usual = np.median([len(stem.samples) for stem in stems]) if stems else 0
    alike = []
    for stem in stems:
        if abs(len(stem.samples) - usual) <= ALIKE_S * SAMPLE_RATE_HZ:
            alike.append(stem)
        else:
            report(f"left out {paths[0].parent.name}/{stem.name}: it is not as long as the other stems.")
    if len(alike) < FEWEST_STEMS:
        raise KpopError(f"it holds {len(alike)} stems of equal length, a song needs {FEWEST_STEMS} or more.")
    return alike


def group_of(name: str) -> str:
    """What plays in a stem, by its name: "voices", "percussion" or "others"."""
    if VOICES.search(name):
        return "voices"
    return "percussion" if PERCUSSION.search(name) else "others"


def _title_length(names: list[str]) -> int:
    """Characters of the words that all names begin with: the song's title tells nothing of who plays."""
    first, last = min(names), max(names)
    n_same = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return max(first.rfind(mark, 0, n_same) for mark in "_- ") + 1
