"""The tune: motifs of one bar, which repeat, follow the chords and end in a breath."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.harmony import Bars, chord_at, chord_scale, chord_tones, ladder, nearest, scale_step
from kpop.corpus.patterns import Hit, hits, pick
from kpop.corpus.score import Chord, Note

TUNE_RANGE = (60, 77)  # leaves room for a key change of two semitones below 79
CONSONANTS = ("", "n", "m", "l", "y", "w", "d", "b", "h", "s")
VOWELS = ("a", "e", "i", "o", "u")
CHANTS = (
    ("na",),
    ("la",),
    ("o", "o", "we"),
    ("da", "di"),
    ("ya", "ya", "o"),
    ("na", "na", "e"),
    ("wo", "o"),
    ("bi", "ba"),
)
MELISMA_SHARE = 0.15  # of the steps that could slide on with the vowel before
STEPS = (0, 0, 0, 1, 1, 1, -1, -1, -1, -1, 2, -2, 3, -3)  # scale steps, by how often a singer takes them
MOVING_STEPS = tuple(step for step in STEPS if step)
WIDEST = 3  # scale steps that a motif goes from where it starts

Tunes = dict[str, list[tuple[Note, ...]]]  # by kind of section, one tune per occurrence that differs


@dataclass(frozen=True)
class TuneStyle:
    """How the tune of a kind of section goes."""

    schemes: tuple[str, ...]  # motif of each bar: small letters run on, capitals end a line
    bodies: tuple[str, ...]  # rhythms of the motifs that run on
    endings: tuple[str, ...]  # rhythms of those that end a line
    centre: int  # midi around which it lies
    climb: tuple[int, ...]  # semitones above the centre, bar by bar
    chanted: str  # what is sung on the song's chant: "none", "endings" of lines or "all"


STYLES = {
    "verse": TuneStyle(
        ("aAaBaAaC", "aaaAaaaC", "abaAabaC", "aAbBaAbC"),
        (
            "x-x-x-x-x---x-..",
            "..x-x-x-x-x-x-..",
            "x-xxx-x-x-x-x-..",
            "..xxx-x-xxx-x-..",
            "x--x--x-x-x-x-..",
            "....x-x-x-xxx-..",
            "x-x-xx-xx-x-x-..",
        ),
        ("x-x-x-----......", "..x-x-x-----....", "x--x--x-----....", "x-x-xxx-x---...."),
        66,
        (0, 0, 0, 0),
        "none",
    ),
    "prechorus": TuneStyle(
        ("aaaA", "abaA", "aAaB"),
        ("x---x---x-x-x-..", "x--x--x-x---x-..", "x-x-x-x-x-x-x-..", "..x-x-x-x---x-..", "x-----x-x-x-x-.."),
        ("x-x-x-x-x-----..", "x---x---x-----..", "x--x--x-x-----.."),
        67,
        (0, 2, 3, 5),
        "none",
    ),
    "chorus": TuneStyle(
        ("aAaBaAaC", "abaAabaB", "aabAaabB", "aAbAaAbB"),
        ("x-----x-x---x---", "x---x---x--x--x-", "x--x--x-x-----x-", "x-x-x---x-x-x---", "x-----x-x-x-x---"),
        ("x-------x-----..", "x---x-------....", "x--x--x-----....", "x-x-x-------...."),
        72,
        (0, 0, 2, 0),
        "endings",
    ),
    "postchorus": TuneStyle(
        ("aAaA", "aaaA", "aAaB"),
        ("x-x-x-..x-x-x-..", "x-xxx-x-x-x-x---", "xx.xx.x-xx.xx.x-", "x--x--x-x--x--x-"),
        ("x-x-x-..x---....", "xx.xx.x-x---....", "x--x--x-----...."),
        71,
        (0, 0, 0, 0),
        "all",
    ),
    "bridge": TuneStyle(
        ("aAbBaAbB", "aAaBaAaB"),
        ("x-------x---x---", "x---x---x-----..", "..x---x-x-----..", "x-----x-x-------"),
        ("x-----------....", "x---x-------....", "x-------x---...."),
        69,
        (0, 0, 2, 3),
        "none",
    ),
}


@dataclass(frozen=True)
class Motif:
    """One bar of tune, free of key and chord."""

    rhythm: str
    offsets: tuple[int, ...]  # scale steps of each note from the first
    syllables: tuple[str, ...]


def draw_motif(rhythm: str, chant: tuple[str, ...], rng: np.random.Generator) -> Motif:
    """A motif on a rhythm: a walk of mostly steps, sung on the chant or, where that is empty, on new words."""
    notes = hits(rhythm)
    offsets = [0]
    while len(offsets) < len(notes):
        # A note is repeated once at most, or slow motifs would stand still.
        step = pick(STEPS if offsets[-2:-1] != offsets[-1:] else MOVING_STEPS, rng)
        # A walk that would leave the singer's comfort turns back, as tunes do after a leap.
        offsets.append(offsets[-1] + step if abs(offsets[-1] + step) <= WIDEST else offsets[-1] - step)
    syllables = [chant[i % len(chant)] if chant else _syllable(rng) for i in range(len(notes))]
    return Motif(rhythm, tuple(offsets), _with_melismas(notes, offsets, syllables, rng))


def _syllable(rng: np.random.Generator) -> str:
    return pick(CONSONANTS, rng) + pick(VOWELS, rng)


def _with_melismas(
    notes: tuple[Hit, ...], offsets: list[int], syllables: list[str], rng: np.random.Generator
) -> tuple[str, ...]:
    """The syllables, a few replaced by "" where the voice can step on from the note before without a breath."""
    sung = syllables[:1]
    for i in range(1, len(notes)):
        touches = notes[i - 1].start_16th + notes[i - 1].length_16ths == notes[i].start_16th
        can_slide = touches and sung[-1] and abs(offsets[i] - offsets[i - 1]) == 1
        sung.append("" if can_slide and rng.random() < MELISMA_SHARE else syllables[i])
    return tuple(sung)


def draw_motifs(style: TuneStyle, scheme: str, chant: tuple[str, ...], rng: np.random.Generator) -> dict[str, Motif]:
    """A motif for each letter of a scheme."""
    motifs = {}
    for letter in sorted(set(scheme)):
        rhythm = pick(style.endings if letter.isupper() else style.bodies, rng)
        chanted = style.chanted == "all" or (style.chanted == "endings" and letter.isupper())
        motifs[letter] = draw_motif(rhythm, chant if chanted else (), rng)
    return motifs


def is_strong(start_16th: int, length_16ths: int) -> bool:
    """Whether a note must agree with its chord: on beat one or three, or long."""
    return start_16th % 8 == 0 or length_16ths >= 4


def sing_bar(motif: Motif, bars: Bars, bar: int, centre: int, key: tuple[int, str]) -> Iterator[Note]:
    """The motif over one of the bars, started on the chord tone nearest to the centre."""
    first_16th = bar * SIXTEENTHS_PER_BAR
    anchor = midi = nearest(centre, ladder(chord_tones(bars[bar][0]), *TUNE_RANGE))
    moves = np.diff(motif.offsets, prepend=0)
    for hit, offset, move, syllable in zip(hits(motif.rhythm), motif.offsets, moves, motif.syllables, strict=True):
        chord = chord_at(bars, first_16th + hit.start_16th)
        wanted = scale_step(anchor, offset, ladder(chord_scale(chord, *key), *TUNE_RANGE))
        strong = is_strong(hit.start_16th, hit.length_16ths)
        midi = agree(wanted, midi, int(np.sign(move)), chord) if strong else wanted
        yield Note(first_16th + hit.start_16th, hit.length_16ths, midi, 1.0 if strong else 0.8, syllable)


def agree(wanted: int, previous: int, direction: int, chord: Chord) -> int:
    """The chord tone nearest to the wanted pitch, but one on in the direction of the tune if it would stand still."""
    tones = ladder(chord_tones(chord), *TUNE_RANGE)
    midi = nearest(wanted, tones)
    return scale_step(midi, direction, tones) if midi == previous else midi


def sing(scheme: str, motifs: dict[str, Motif], bars: Bars, style: TuneStyle, key: tuple[int, str]) -> tuple[Note, ...]:
    """The motifs of a scheme over the bars, from time 0."""
    return tuple(
        note
        for bar in range(len(bars))
        for note in sing_bar(
            motifs[scheme[bar % len(scheme)]], bars, bar, style.centre + style.climb[bar % len(style.climb)], key
        )
    )


def write_tunes(bars_per_kind: dict[str, Bars], key: tuple[int, str], rng: np.random.Generator) -> Tunes:
    """The tunes of a song: for each kind that is sung, one per occurrence; only a later verse differs, in its last bar.

    Each is a tuple of notes in the first key, from time 0.
    """
    chant = pick(CHANTS, rng)
    tunes = {}
    for kind, style in STYLES.items():
        scheme = pick(style.schemes, rng)
        motifs = draw_motifs(style, scheme + "Z", chant, rng)
        schemes = (scheme, scheme[:-1] + "Z") if kind == "verse" else (scheme,)
        if kind in bars_per_kind:
            tunes[kind] = [sing(variant, motifs, bars_per_kind[kind], style, key) for variant in schemes]
    return tunes
