"""Keys, chord progressions and voicings."""

import re
from functools import cache

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.patterns import pick
from kpop.corpus.score import Chord, Section

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
NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii")
PAD_RANGE = (52, 76)
MINOR_SHARE = {"neon": 0.35, "velvet": 0.5, "bubblegum": 0.1, "noir": 0.9}

# Each group sings in the keys that suit its voices, so that keys can be learnt with its sound.
TONICS = {
    "neon": (1, 4, 6, 9, 11),
    "velvet": (1, 3, 5, 8, 10),
    "bubblegum": (0, 2, 5, 7, 9),
    "noir": (0, 2, 6, 8, 11),
}

# Loops of four bars; "-" joins two chords that share a bar.
LOOPS = {
    ("major", "verse"): ("I V vi IV", "vi IV I V", "I vi ii7 V", "I iii vi IV", "vi7 ii7 V I", "I IVadd9 vi IV"),
    ("major", "prechorus"): ("ii V I vi", "ii7 iii7 IV Vsus4-V", "IV iii ii Vsus4-V", "IV iv I-vi V", "ii IV vi-I V"),
    ("major", "chorus"): (
        "IV V iii vi",
        "IVmaj7 V iii7 vi",
        "vi IV I V",
        "I V vi IV",
        "IV V I vi",
        "IV I V vi",
        "I V vi-iii IV",
    ),
    ("major", "bridge"): ("vi7 iii7 IVmaj7 I", "bVI bVII I I", "IVadd9 iv I I", "ii7 V7 iii7 vi"),
    ("minor", "verse"): ("i VI III VII", "i iv VII III", "i i VI VII", "i7 iv7 i7 v7", "i VII VI VII", "i VI iv v"),
    ("minor", "prechorus"): ("iv VII III VI", "iv v VI VII", "iv VI VII Vsus4-V", "VI iv VII V", "iv III-VII VI V"),
    ("minor", "chorus"): ("i VI III VII", "VI VII i III", "VI VII v i", "i III VII VI", "i VII VI V", "i iv VII III"),
    ("minor", "bridge"): ("VImaj7 VII v7 i", "VI III iv V", "iv7 VII IIImaj7 VImaj7", "VI VII III i"),
}
BORROWED_LOOP = {"intro": "chorus", "postchorus": "chorus", "outro": "chorus", "dance": "verse"}

Bars = tuple[tuple[Chord, Chord], ...]


def roman(numeral: str, tonic: int, mode: str) -> Chord:
    """Chord of a numeral such as "vi", "IVmaj7", "Vsus4" or "bVII"; capitals are major."""
    flat, degree, suffix = re.fullmatch(r"(b?)([iIvV]+)(.*)", numeral).groups()
    root = tonic + SCALES[mode][NUMERALS.index(degree.lower())] - len(flat)
    triad = "min" if degree.islower() else "maj"
    quality = {"": triad, "7": "min7" if degree.islower() else "7"}.get(suffix, suffix)
    return Chord(root % 12, quality)


def progression(text: str, tonic: int, mode: str) -> Bars:
    """The bars of a loop such as "ii IV vi-I V", two chords per bar."""
    bars = [[roman(numeral, tonic, mode) for numeral in bar.split("-")] for bar in text.split()]
    return tuple((bar[0], bar[-1]) for bar in bars)


def choose_key(palette: str, rng: np.random.Generator) -> tuple[int, str]:
    """Tonic and mode in which a song of this palette starts."""
    mode = "minor" if rng.random() < MINOR_SHARE[palette] else "major"
    return pick(TONICS[palette], rng), mode


def choose_loops(mode: str, rng: np.random.Generator) -> dict[str, str]:
    """A loop for each kind of section; chorus and verse differ."""
    chosen = {kind: pick(LOOPS[mode, kind], rng) for kind in ("verse", "prechorus", "bridge")}
    chosen["chorus"] = pick(tuple(loop for loop in LOOPS[mode, "chorus"] if loop != chosen["verse"]), rng)
    return chosen | {kind: chosen[lender] for kind, lender in BORROWED_LOOP.items()}


def soften(chord: Chord, tonic: int, mode: str) -> Chord:
    """The chord with its seventh, where that lies in the key and does not pull."""
    seventh = {"maj": ("maj7", 11), "min": ("min7", 10)}.get(chord.quality)
    if seventh is None or (chord.root + seventh[1] - tonic) % 12 not in SCALES[mode]:
        return chord
    return Chord(chord.root, seventh[0])


def harmonise(section: Section, loops: dict[str, str], palette: str) -> Bars:
    """Chords of a section: its loop, again and again."""
    loop = progression(loops[section.kind], section.tonic, section.mode)
    if palette == "velvet" and section.kind in ("verse", "dance", "bridge"):
        loop = tuple(tuple(soften(chord, section.tonic, section.mode) for chord in bar) for bar in loop)
    return tuple(loop[bar % len(loop)] for bar in range(section.n_bars))


def with_pivot(bars: Bars, tonic: int) -> Bars:
    """The bars with the dominant of a coming key, which leads into it, in the last one."""
    dominant = (tonic + 7) % 12
    return (*bars[:-1], (Chord(dominant, "sus4"), Chord(dominant, "maj")))


def with_ending(bars: Bars, tonic: int, mode: str) -> Bars:
    """The bars with the tonic chord in the last one."""
    final = Chord(tonic, "maj" if mode == "major" else "min")
    return (*bars[:-1], (final, final))


def chord_at(bars: Bars, start_16th: float) -> Chord:
    """The chord that sounds at a time counted from the first of the bars."""
    bar, inside = divmod(int(start_16th), SIXTEENTHS_PER_BAR)
    return bars[bar][inside >= SIXTEENTHS_PER_BAR // 2]


@cache
def chord_tones(chord: Chord) -> tuple[int, ...]:
    """Pitch classes of a chord, root first."""
    return tuple((chord.root + interval) % 12 for interval in QUALITIES[chord.quality])


@cache
def chord_scale(chord: Chord, tonic: int, mode: str) -> tuple[int, ...]:
    """Pitch classes of the key, bent where the chord bends them: a borrowed tone replaces its neighbour."""
    key = [(tonic + degree) % 12 for degree in SCALES[mode]]
    tones = chord_tones(chord)
    foreign = [tone for tone in tones if tone not in key]
    replaced = {(tone + side) % 12 for tone in foreign for side in (-1, 1)} - set(tones)
    return tuple(sorted((set(key) - replaced) | set(foreign)))


@cache
def ladder(pitch_classes: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    """All MIDI pitches of the classes from low to high."""
    return tuple(midi for midi in range(low, high + 1) if midi % 12 in pitch_classes)


def nearest(midi: float, pitches: tuple[int, ...]) -> int:
    """The pitch of the ladder nearest to midi, the lower of two."""
    return min(pitches, key=lambda pitch: abs(pitch - midi))


def scale_step(midi: int, n_steps: int, pitches: tuple[int, ...]) -> int:
    """The pitch n_steps up the ladder from midi, or the end of the ladder."""
    index = pitches.index(nearest(midi, pitches)) + n_steps
    return pitches[min(max(index, 0), len(pitches) - 1)]


def voicing(chord: Chord, previous: tuple[int, ...]) -> tuple[int, ...]:
    """The close voicing of a chord in the range of pads that moves least from the previous one."""
    tones = chord_tones(chord)
    pitches = ladder(tones, *PAD_RANGE)
    candidates = [pitches[i : i + len(tones)] for i in range(len(pitches) - len(tones) + 1)]
    centre = sum(previous) / len(previous)
    return min(candidates, key=lambda voices: (_movement(voices, previous), abs(sum(voices) / len(voices) - centre)))


def _movement(voices: tuple[int, ...], previous: tuple[int, ...]) -> int:
    """Semitones from each voice to the nearest one before, and back."""
    there = sum(min(abs(voice - other) for other in previous) for voice in voices)
    return there + sum(min(abs(voice - other) for other in voices) for voice in previous)
