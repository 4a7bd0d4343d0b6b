"""Music theory: keys, chords, progressions, voicings, and rhythms written as text.

A rhythm has one character per sixteenth: "." rests, "-" holds the hit before, every other character starts a hit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import TypeVar

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.score import Chord, Chords, Section

Option = TypeVar("Option")
LEVELS = {"X": 1.0, "x": 0.8, "o": 0.6}  # velocities; few, so that hits repeat exactly
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "7": (0, 4, 7, 10),
    "sus4": (0, 5, 7),
    "dim": (0, 3, 6),
    "add9": (0, 4, 7, 2),
}
FIRST_MAJOR, FIRST_MINOR = 1, 13  # classes of chords and keys: 0 none, 1-12 major from C on, 13-24 minor
MINOR_QUALITIES = ("min", "min7", "dim")
NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii")
PAD_RANGE = (52, 76)
MINOR_SHARE = {"neon": 0.35, "velvet": 0.5, "bubblegum": 0.1, "noir": 0.9, "citrus": 0.3, "aurora": 0.6}
TEMPI_BPM = {  # slowest and fastest of each palette
    "neon": (118, 132),
    "velvet": (92, 106),
    "bubblegum": (122, 138),
    "noir": (98, 126),
    "citrus": (104, 122),
    "aurora": (128, 144),
}

# Each palette has keys of its own, so that a model can learn them with its sound.
TONICS = {
    "neon": (1, 4, 6, 9, 11),
    "velvet": (1, 3, 5, 8, 10),
    "bubblegum": (0, 2, 5, 7, 9),
    "noir": (0, 2, 6, 8, 11),
    "citrus": (2, 4, 5, 10),
    "aurora": (0, 3, 7, 11),
}

# Loops of four bars; "-" joins two chords that share a bar.
LOOPS = {
    key: tuple(loops.split(", "))
    for key, loops in {
        ("major", "verse"): "I V vi IV, vi IV I V, I vi ii7 V, I iii vi IV, vi7 ii7 V I, I IVadd9 vi IV",
        ("major", "prechorus"): "ii V I vi, ii7 iii7 IV Vsus4-V, IV iii ii Vsus4-V, IV iv I-vi V, ii IV vi-I V",
        ("major", "chorus"): "IV V iii vi, IVmaj7 V iii7 vi, vi IV I V, I V vi IV, IV V I vi, IV I V vi, I V vi-iii IV",
        ("major", "bridge"): "vi7 iii7 IVmaj7 I, bVI bVII I I, IVadd9 iv I I, ii7 V7 iii7 vi",
        ("minor", "verse"): "i VI III VII, i iv VII III, i i VI VII, i7 iv7 i7 v7, i VII VI VII, i VI iv v",
        ("minor", "prechorus"): "iv VII III VI, iv v VI VII, iv VI VII Vsus4-V, VI iv VII V, iv III-VII VI V",
        ("minor", "chorus"): "i VI III VII, VI VII i III, VI VII v i, i III VII VI, i VII VI V, i iv VII III",
        ("minor", "bridge"): "VImaj7 VII v7 i, VI III iv V, iv7 VII IIImaj7 VImaj7, VI VII III i",
    }.items()
}
SHARED_LOOP = {"intro": "chorus", "postchorus": "chorus", "outro": "chorus", "dance": "verse"}


def pick(options: Sequence[Option], rng: np.random.Generator) -> Option:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def roman(numeral: str, tonic: int, mode: str) -> Chord:
    """Chord of a numeral such as "vi", "IVmaj7", "Vsus4" or "bVII"; capitals are major."""
    flat, degree, suffix = re.fullmatch(r"(b?)([iIvV]+)(.*)", numeral).groups()
    root = tonic + SCALES[mode][NUMERALS.index(degree.lower())] - len(flat)
    triad = "min" if degree.islower() else "maj"
    quality = {"": triad, "7": "min7" if degree.islower() else "7"}.get(suffix, suffix)
    return Chord(root % 12, quality)


def choose_loops(mode: str, rng: np.random.Generator) -> dict[str, str]:
    """The loop of each kind of section, as text; chorus and verse differ."""
    chosen = {kind: pick(LOOPS[mode, kind], rng) for kind in ("verse", "prechorus", "bridge")}
    chosen["chorus"] = pick(tuple(loop for loop in LOOPS[mode, "chorus"] if loop != chosen["verse"]), rng)
    return chosen | {kind: chosen[other] for kind, other in SHARED_LOOP.items()}


def with_seventh(chord: Chord, tonic: int, mode: str) -> Chord:
    """A triad with its seventh, where that makes a maj7 or min7 in the key; every other chord as it is."""
    seventh = {"maj": ("maj7", 11), "min": ("min7", 10)}.get(chord.quality)
    if seventh is None or (chord.root + seventh[1] - tonic) % 12 not in SCALES[mode]:
        return chord
    return Chord(chord.root, seventh[0])


def harmonise(section: Section, loops: dict[str, str], palette: str) -> Chords:
    """Chords of a section: its loop repeated, with sevenths in the calm sections of velvet."""
    bars = [bar.split("-") for bar in loops[section.kind].split()]
    bars = [[roman(numeral, section.tonic, section.mode) for numeral in bar] for bar in bars]
    if palette == "velvet" and section.kind in ("verse", "dance", "bridge"):
        bars = [[with_seventh(chord, section.tonic, section.mode) for chord in bar] for bar in bars]
    return tuple((bar[0], bar[-1]) for bar in islice(cycle(bars), section.n_bars))


def chord_at(chords: Chords, start_16th: float) -> Chord:
    """The chord at a time in sixteenths from the first bar."""
    bar, inside = divmod(int(start_16th), SIXTEENTHS_PER_BAR)
    return chords[bar][inside >= SIXTEENTHS_PER_BAR // 2]


@cache
def chord_tones(chord: Chord) -> tuple[int, ...]:
    """Pitch classes of a chord, root first."""
    return tuple((chord.root + interval) % 12 for interval in QUALITIES[chord.quality])


@cache
def chord_scale(chord: Chord, tonic: int, mode: str) -> tuple[int, ...]:
    """Pitch classes of the key as a chord alters it: chord tones from outside the key replace their neighbours."""
    key = [(tonic + degree) % 12 for degree in SCALES[mode]]
    tones = chord_tones(chord)
    foreign = [tone for tone in tones if tone not in key]
    replaced = {(tone + side) % 12 for tone in foreign for side in (-1, 1)} - set(tones)
    return tuple(sorted((set(key) - replaced) | set(foreign)))


@cache
def ladder(pitch_classes: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    """All MIDI pitches of the pitch classes from low to high."""
    return tuple(midi for midi in range(low, high + 1) if midi % 12 in pitch_classes)


def nearest(midi: float, pitches: Sequence[int]) -> int:
    """The pitch nearest to midi, the lower of two."""
    return min(pitches, key=lambda pitch: abs(pitch - midi))


def scale_step(midi: int, n_steps: int, pitches: tuple[int, ...]) -> int:
    """The pitch n_steps above the one nearest to midi, or the highest or lowest there is."""
    index = pitches.index(nearest(midi, pitches)) + n_steps
    return pitches[min(max(index, 0), len(pitches) - 1)]


def voicing(chord: Chord, previous: tuple[int, ...]) -> tuple[int, ...]:
    """The close voicing of a chord within PAD_RANGE, MIDI pitches, that moves least from the previous one."""
    tones = chord_tones(chord)
    pitches = ladder(tones, *PAD_RANGE)
    candidates = [pitches[i : i + len(tones)] for i in range(len(pitches) - len(tones) + 1)]

    def movement(voices: tuple[int, ...]) -> tuple[int, float]:
        """Semitones from each voice to the nearest previous one, and back; then those of their mean."""
        there = sum(abs(voice - nearest(voice, previous)) for voice in voices)
        back = sum(abs(voice - nearest(voice, voices)) for voice in previous)
        return there + back, abs(sum(voices) / len(voices) - sum(previous) / len(previous))

    return min(candidates, key=movement)


def chord_class(chord: Chord) -> int:
    """Class 1..24 of a chord: 1 + root, or 13 + root where it has a minor third."""
    return chord.root + (FIRST_MINOR if chord.quality in MINOR_QUALITIES else FIRST_MAJOR)


@dataclass(frozen=True)
class Hit:
    """One hit of a rhythm: its time in the bar and length in sixteenths, and the character that started it."""

    start_16th: int
    length_16ths: int
    symbol: str

    @property
    def velocity(self) -> float:
        """Velocity 0..1; characters that are not levels have the middle one."""
        return LEVELS.get(self.symbol, LEVELS["x"])


@cache
def hits(pattern: str) -> tuple[Hit, ...]:
    """The hits of a rhythm, in order."""
    return tuple(Hit(m.start(), len(m[0]), m[0][0]) for m in re.finditer(r"[^.-]-*", pattern))
