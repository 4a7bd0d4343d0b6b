"""What bass, pads, plucks and stabs play: patterns chosen once per song and kind of section, over the chords."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.form import Scene
from kpop.corpus.harmony import QUALITIES, chord_at, chord_tones, ladder, nearest, voicing
from kpop.corpus.patterns import hits, pick
from kpop.corpus.score import Chord, Note

BASS_RANGE = (28, 50)
PLUCK_RANGE = (64, 88)
STAB_CENTRE = 64
FIRST_VOICING = (57, 60, 64)

# R root, 8 the octave above, 5 the fifth above.
BASSES = {
    "pump": "R-R-R-R-R-R-R-R-",
    "octaves": "R-8-R-8-R-8-R-8-",
    "offbeats": "..R-..R-..R-..R-",
    "gallop": "R-RRR-RRR-RRR-RR",
    "syncopated": "R--R--R-..R-R-8-",
    "funk": "R-..R-8...R-5-8.",
    "long": "R---------R-----",
    "slides": "R-----8-..R---R-",
    "roots": "R-------R-------",
}
PADS = {
    "sustained": "o-------o-------",
    "gated": "x-x-x-x-x-x-x-x-",
    "pumped": "..x-..x-..x-..x-",
    "syncopated": "x--x--x-x--x--x-",
}
# Digits count up the tones of the chord from the bottom.
PLUCKS = {
    "up_eighths": "0.1.2.3.0.1.2.3.",
    "wave_eighths": "0.2.1.2.3.2.1.2.",
    "up_sixteenths": "0123012301230123",
    "wave_sixteenths": "0121321001213210",
    "three_three_two": "0..2..1.3..2..1.",
    "offbeats": "..2...2...3...2.",
    "sparse": "2.....1...0.....",
}
STABS = {
    "push": "X..x..x.........",
    "three_three_two": "x..x..x.x..x..x.",
    "offbeats": "..x...x...x...x.",
    "answer": "........x..x..x.",
    "downbeat": "X-....x-........",
}


@dataclass(frozen=True)
class Menu:
    """What a palette's players may choose from."""

    verse_basses: tuple[str, ...]
    chorus_basses: tuple[str, ...]
    dance_basses: tuple[str, ...]
    pads: tuple[str, ...]  # in choruses
    verse_plucks: tuple[str, ...]
    plucks: tuple[str, ...]  # in choruses
    stabs: tuple[str, ...]


MENUS = {
    "neon": Menu(
        ("offbeats", "syncopated", "pump"),
        ("pump", "octaves", "offbeats"),
        ("syncopated", "octaves"),
        ("gated", "pumped", "syncopated"),
        ("up_eighths", "three_three_two"),
        ("up_sixteenths", "wave_sixteenths"),
        ("push", "three_three_two", "offbeats"),
    ),
    "velvet": Menu(
        ("long", "slides"),
        ("slides", "syncopated", "pump"),
        ("long", "slides"),
        ("sustained", "syncopated"),
        ("sparse", "three_three_two"),
        ("wave_eighths", "three_three_two"),
        ("answer", "downbeat"),
    ),
    "bubblegum": Menu(
        ("funk", "offbeats", "octaves"),
        ("octaves", "pump", "funk"),
        ("funk", "octaves"),
        ("gated", "pumped"),
        ("offbeats", "up_eighths", "wave_eighths"),
        ("wave_eighths", "wave_sixteenths"),
        ("offbeats", "push"),
    ),
    "noir": Menu(
        ("slides", "syncopated", "gallop"),
        ("gallop", "pump", "syncopated"),
        ("syncopated", "gallop", "slides"),
        ("syncopated", "gated"),
        ("sparse", "three_three_two"),
        ("up_sixteenths", "three_three_two"),
        ("push", "three_three_two", "downbeat"),
    ),
}

Part = dict[str, str]  # pattern of each instrument, one bar


def choose_parts(palette: str, rng: np.random.Generator) -> dict[str, Part]:
    """The patterns of each kind of section for one song."""
    menu = MENUS[palette]
    chorus_bass, chorus_pluck, stab = pick(menu.chorus_basses, rng), pick(menu.plucks, rng), pick(menu.stabs, rng)
    verse_pluck = PLUCKS[pick(menu.verse_plucks, rng)]
    sustained = PADS["sustained"]
    chorus = {
        "bass": BASSES[chorus_bass],
        "pad": PADS[pick(menu.pads, rng)],
        "pluck": PLUCKS[chorus_pluck],
        "stab": STABS[stab],
    }
    return {
        "intro": {"bass": BASSES["roots"], "pad": sustained, "pluck": verse_pluck},
        "verse": {"bass": BASSES[pick(menu.verse_basses, rng)], "pad": sustained, "pluck": verse_pluck},
        "prechorus": {"bass": BASSES[pick(("roots", "pump"), rng)], "pad": sustained, "pluck": PLUCKS["up_eighths"]},
        "chorus": chorus,
        "postchorus": chorus | {"stab": STABS["three_three_two"]},
        "bridge": {"bass": BASSES["long"], "pad": sustained, "pluck": PLUCKS["sparse"]},
        "dance": {"bass": BASSES[pick(menu.dance_basses, rng)], "pad": sustained, "stab": STABS[stab]},
        "outro": {"bass": BASSES[chorus_bass], "pad": sustained, "pluck": verse_pluck},
    }


def part_of_bar(scene: Scene, bar: int, parts: dict[str, Part]) -> Part:
    """What is played in one bar of a scene; the arrangement grows over each section and over the song."""
    if scene.kind == "outro" and bar == scene.n_bars - 1:
        return {"bass": "R---------------", "pad": "x---------------"}
    second_half = bar >= scene.n_bars // 2
    silent = {
        "intro": () if second_half else ("bass",),
        "verse": () if scene.occurrence else (("pluck",) if not second_half else ()),
        "prechorus": () if second_half else ("pluck",),
        "chorus": () if scene.occurrence else ("pluck",),
        "bridge": () if second_half else ("bass",),
    }.get(scene.kind, ())
    return {player: pattern for player, pattern in parts[scene.kind].items() if player not in silent}


def backing(scene: Scene, parts: dict[str, Part]) -> dict[str, tuple[Note, ...]]:
    """Notes of bass, pad, pluck and stab, from the start of the scene."""
    bars = [part_of_bar(scene, bar, parts) for bar in range(scene.n_bars)]
    patterns = {player: [bar.get(player, "") for bar in bars] for player in ("bass", "pad", "pluck", "stab")}
    return {
        "bass": tuple(bass(scene, patterns["bass"])),
        "pad": tuple(pad(scene, patterns["pad"])),
        "pluck": tuple(pluck(scene, patterns["pluck"])),
        "stab": tuple(stab(scene, patterns["stab"])),
    }


def timed_hits(scene: Scene, patterns: list[str]) -> Iterator[tuple]:
    """Each hit of the bars' patterns with its start in the scene and the chord that sounds there."""
    for bar, pattern in enumerate(patterns):
        for hit in hits(pattern):
            start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
            yield start_16th, hit, chord_at(scene.bars, start_16th)


def bass(scene: Scene, patterns: list[str]) -> Iterator[Note]:
    """The bass line over the roots."""
    for start_16th, hit, chord in timed_hits(scene, patterns):
        yield Note(start_16th, hit.length_16ths, bass_pitch(chord, hit.symbol), 1.0 if hit.symbol == "R" else 0.8)


def bass_pitch(chord: Chord, symbol: str) -> int:
    """Pitch of a bass symbol: the root, its fifth, or its octave where the bass reaches that."""
    low, high = BASS_RANGE
    root = low + (chord.root - low) % 12
    above = {"R": 0, "5": QUALITIES[chord.quality][2], "8": 12}[symbol]
    return root + above if root + above <= high else root


def pad(scene: Scene, patterns: list[str]) -> Iterator[Note]:
    """All tones of the chords, each voicing close to the one before."""
    voices = FIRST_VOICING
    for start_16th, hit, chord in timed_hits(scene, patterns):
        voices = voicing(chord, voices)
        for midi in voices:
            yield Note(start_16th, hit.length_16ths, midi, hit.velocity)


def pluck(scene: Scene, patterns: list[str]) -> Iterator[Note]:
    """An arpeggio up and down the tones of the chords."""
    for start_16th, hit, chord in timed_hits(scene, patterns):
        midi = ladder(chord_tones(chord)[:3], *PLUCK_RANGE)[int(hit.symbol)]
        yield Note(start_16th, 1, midi, 1.0 if hit.start_16th % 4 == 0 else 0.8)


def stab(scene: Scene, patterns: list[str]) -> Iterator[Note]:
    """Short triads in unison, around the middle."""
    for start_16th, hit, chord in timed_hits(scene, patterns):
        triad = ladder(chord_tones(chord)[:3], STAB_CENTRE - 7, STAB_CENTRE + 14)
        lowest = triad.index(nearest(STAB_CENTRE - 3, triad[:-2]))
        for midi in triad[lowest : lowest + 3]:
            yield Note(start_16th, hit.length_16ths, midi, hit.velocity)
