"""Who plays what: drums, bass, chords and effects of every section, from rhythms chosen once per song."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.melody import VOCAL_OPTIONS, Tunes, VocalPatterns, sing
from kpop.corpus.score import DRUM_TRACKS, PALETTES, TRACKS, Chord, Note, Passage
from kpop.corpus.theory import QUALITIES, Hit, chord_at, chord_tones, hits, ladder, nearest, pick, voicing

Patterns = dict[str, str]  # rhythm of each track, one bar
Tracks = dict[str, tuple[Note, ...]]
TimedHits = Iterable[tuple[int, Hit, Chord]]  # start in sixteenths, hit, and the chord there

BASS_RANGE = (28, 50)
APPROACH_SEMITONES = 2
PLUCK_RANGE = (60, 84)
STAB_CENTRE = 64
FIRST_VOICING = (57, 60, 64)

# An "r" is a roll: two hits in one sixteenth.
KICKS = {
    "four": "X...X...X...X...",
    "push": "X...X...X...X.x.",
    "two_step": "X.....X...X.....",
    "broken": "X..x..x...X.....",
    "half": "X.........x.....",
    "trap": "X......x..x...x.",
    "bounce": "X..x....X..x....",
    "pulse": "X.......X.......",
}
SNARES = {
    "backbeat": "....X.......X...",
    "ghosts": "....X..o.o..X...",
    "half": "........X.......",
    "rim": "...x..x.....x...",
}
HATS = {
    "eighths": "x.o.x.o.x.o.x.o.",
    "offbeats": "..x...x...x...x.",
    "sixteenths": "xooox.ooxooox.oo",
    "gallop": "x.oox.oox.oox.oo",
    "trap": "x.x.x.rrx.x.xrx.",
    "ticks": "x...o...x...o...",
    "sparse": "....o.......x...",
}
CRASH = {"crash": "X---------------"}
OPEN_HAT = "..x-..x-..x-..x-"

FILLS = (  # one beat, at the end of every fourth bar
    {"snare": "X.xx", "hat": "...."},
    {"snare": "X..x", "hat": "xrrr"},
    {"kick": "..x.", "snare": "X..X", "hat": "x.x."},
)
BIG_FILLS = (  # two beats, at the end of a section
    {"kick": "X...X...", "snare": "x.xxX.XX", "clap": "....X.X.", "hat": "........"},
    {"kick": "X..x....", "snare": "X.x.xxxX", "clap": "........", "hat": "........"},
    {"kick": "X.......", "snare": "..X..XXX", "clap": "X.......", "hat": "..x.xrrr"},
)
BUILD = (  # up to three bars before a chorus, the last beat silent
    {"kick": "X...X...X...X...", "snare": "o...o...o...o...", "clap": "", "hat": "x.o.x.o.x.o.x.o."},
    {"kick": "X...X...X...X...", "snare": "o.o.o.o.x.x.x.x.", "clap": "", "hat": "x.o.x.o.x.o.x.o."},
    {"kick": "X...X...........", "snare": "xxxxxxxxXXXX....", "clap": "............X...", "hat": ""},
)

# Kicks, snares and hats to choose from.
DRUM_MENUS = {
    ("neon", "verse"): (("two_step", "pulse", "four"), ("backbeat", "half"), ("sparse", "offbeats")),
    ("neon", "chorus"): (("four", "push"), ("backbeat",), ("eighths", "offbeats")),
    ("neon", "dance"): (("broken", "four"), ("ghosts", "backbeat"), ("gallop", "eighths")),
    ("velvet", "verse"): (("half", "pulse"), ("half",), ("sparse", "ticks")),
    ("velvet", "chorus"): (("two_step", "half"), ("backbeat", "half"), ("eighths", "ticks")),
    ("velvet", "dance"): (("trap", "half"), ("half",), ("trap",)),
    ("bubblegum", "verse"): (("bounce", "two_step", "pulse"), ("backbeat", "half"), ("sparse", "ticks")),
    ("bubblegum", "chorus"): (("four", "push"), ("backbeat",), ("offbeats", "eighths")),
    ("bubblegum", "dance"): (("four", "bounce"), ("ghosts", "rim"), ("gallop",)),
    ("noir", "verse"): (("trap", "half", "pulse"), ("half",), ("sparse", "trap")),
    ("noir", "chorus"): (("broken", "half"), ("backbeat", "half"), ("ticks", "eighths")),
    ("noir", "dance"): (("trap", "broken"), ("half", "backbeat"), ("trap", "sixteenths")),
    ("citrus", "verse"): (("four", "pulse"), ("backbeat", "half"), ("sparse", "offbeats")),
    ("citrus", "chorus"): (("four", "bounce"), ("backbeat",), ("offbeats", "gallop")),
    ("citrus", "dance"): (("four", "bounce"), ("ghosts",), ("sixteenths",)),
    ("aurora", "verse"): (("half", "pulse"), ("half",), ("ticks", "sparse")),
    ("aurora", "chorus"): (("two_step", "half"), ("half", "backbeat"), ("ticks", "offbeats")),
    ("aurora", "dance"): (("broken", "two_step"), ("ghosts",), ("eighths", "gallop")),
}

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
    "pumped": "..x-..x-..x-..x-",
    "syncopated": "x--x--x-x--x--x-",
}
# Digits count up the tones of the chord from the bottom.
PLUCKS = {
    "up_8ths": "0.1.2.3.0.1.2.3.",
    "wave_8ths": "0.2.1.2.3.2.1.2.",
    "3+3+2": "0..2..1.3..2..1.",
    "offbeats": "..2...2...3...2.",
    "sparse": "2.....1...0.....",
    "answer": "........2..1.0..",
    "none": "",
}
STABS = {
    "push": "X..x..x.........",
    "offbeats": "..x...x...x...x.",
    "answer": "........x..x..x.",
    "downbeat": "X-....x-........",
}
BACKING = {"bass": BASSES, "pad": PADS, "pluck": PLUCKS, "stab": STABS}

# Rhythms to choose from by palette, in the order of PALETTES; parts in the order in which they are drawn. "pad" and
# "pluck" are those of choruses.
BACKING_MENUS = {
    "chorus_bass": "pump octaves offbeats | slides syncopated pump | octaves pump funk | "
    "gallop pump syncopated | octaves funk | long syncopated slides",
    "pluck": "answer 3+3+2 | sparse answer | 3+3+2 answer | answer sparse | 3+3+2 answer | wave_8ths sparse",
    "stab": "push answer downbeat | answer downbeat | downbeat push | "
    "push downbeat answer | offbeats answer downbeat | answer downbeat",
    "verse_pluck": "none sparse | none sparse | none offbeats | none sparse | none 3+3+2 | none sparse",
    "pad": "sustained pumped | sustained | sustained syncopated | "
    "sustained syncopated | sustained syncopated | sustained",
    "verse_bass": "offbeats syncopated pump | long slides | funk offbeats octaves | "
    "slides syncopated gallop | funk octaves | long roots slides",
    "prechorus_bass": "roots pump | roots pump | roots pump | roots pump | roots pump | roots pump",
    "dance_bass": "syncopated octaves | long slides | funk octaves | "
    "syncopated gallop slides | funk octaves | syncopated slides",
}


@dataclass(frozen=True)
class Arrangement:
    """What was chosen for one song. grooves, backing: rhythms by kind of section."""

    grooves: dict[str, Patterns]
    fill: Patterns
    big_fill: Patterns
    backing: dict[str, Patterns]
    vocals: VocalPatterns


def choose_arrangement(palette: str, rng: np.random.Generator) -> Arrangement:
    """The rhythms of one song."""
    grooves, fill, big_fill = choose_grooves(palette, rng), pick(FILLS, rng), pick(BIG_FILLS, rng)
    backing, vocals = choose_backing(palette, rng), VocalPatterns(*(pick(each, rng) for each in VOCAL_OPTIONS))
    return Arrangement(grooves, fill, big_fill, backing, vocals)


def choose_grooves(palette: str, rng: np.random.Generator) -> dict[str, Patterns]:
    """The drums' rhythms by kind of section."""
    drums, chosen = {"kick": KICKS, "snare": SNARES, "hat": HATS}, {}
    for kind in ("verse", "chorus", "dance"):
        menu = zip(drums.items(), DRUM_MENUS[palette, kind], strict=True)
        chosen[kind] = {drum: rhythms[pick(names, rng)] for (drum, rhythms), names in menu}
    chorus = chosen["chorus"] | {"clap": SNARES["backbeat"], "open_hat": OPEN_HAT}
    return {
        "intro": {"kick": KICKS["pulse"], "hat": chosen["verse"]["hat"]},
        "verse": chosen["verse"],
        "prechorus": {"kick": KICKS[pick(("pulse", "four"), rng)], "clap": SNARES["half"], "hat": HATS["eighths"]},
        "chorus": chorus,
        "postchorus": chorus | {"hat": HATS["eighths"]},
        "bridge": {"kick": KICKS["half"], "clap": SNARES["half"], "hat": HATS["ticks"]},
        "dance": chosen["dance"] | {"clap": SNARES["half"]},
        "outro": {"kick": KICKS["four"], "clap": SNARES["backbeat"], "hat": HATS["offbeats"]},
    }


def choose_backing(palette: str, rng: np.random.Generator) -> dict[str, Patterns]:
    """The rhythms of bass, pad, pluck and stab by kind of section."""
    menu = {part: names.split(" | ")[PALETTES.index(palette)].split() for part, names in BACKING_MENUS.items()}
    chosen = {part: BACKING[part.split("_")[-1]][pick(names, rng)] for part, names in menu.items()}
    sustained, verse_pluck = PADS["sustained"], chosen["verse_pluck"]
    chorus = {"bass": chosen["chorus_bass"]} | {track: chosen[track] for track in ("pad", "pluck", "stab")}
    return {
        "intro": {"bass": BASSES["roots"], "pad": sustained, "pluck": verse_pluck},
        "verse": {"bass": chosen["verse_bass"], "pad": sustained, "pluck": verse_pluck},
        "prechorus": {"bass": chosen["prechorus_bass"], "pad": sustained, "pluck": PLUCKS["up_8ths"]},
        "chorus": chorus,
        "postchorus": chorus | {"stab": STABS["push"]},
        "bridge": {"bass": BASSES["long"], "pad": sustained, "pluck": PLUCKS["sparse"]},
        "dance": {"bass": chosen["dance_bass"], "pad": sustained, "stab": chosen["stab"]},
        "outro": {"bass": chosen["chorus_bass"], "pad": sustained, "pluck": verse_pluck},
    }


def arrange(passages: Iterable[Passage], arrangement: Arrangement, tunes: Tunes) -> Tracks:
    """All notes of a song, by track, in order of time."""
    notes = {track: [] for track in TRACKS}
    for passage in passages:
        first_16th = passage.first_bar * SIXTEENTHS_PER_BAR
        played = play(passage, arrangement) | sing(passage, arrangement.vocals, tunes) | effects(passage)
        for track, part in played.items():
            notes[track] += [replace(note, start_16th=note.start_16th + first_16th) for note in part]
    return {track: tuple(sorted(part, key=lambda note: (note.start_16th, note.midi))) for track, part in notes.items()}


def play(passage: Passage, arrangement: Arrangement) -> Tracks:
    """Notes of drums, bass and chords, from the start of the passage."""
    bars = [
        drum_patterns(passage, bar, arrangement) | backing_patterns(passage, bar, arrangement)
        for bar in range(passage.n_bars)
    ]
    players = {"bass": bass, "pad": pad, "pluck": pluck, "stab": stab} | dict.fromkeys(DRUM_TRACKS, strikes)
    return {
        track: tuple(player(timed_hits(passage, [bar.get(track, "") for bar in bars])))
        for track, player in players.items()
    }


def drum_patterns(passage: Passage, bar: int, arrangement: Arrangement) -> Patterns:
    """The drums' rhythms in one bar: the groove, thinned, built up or filled, and crashes."""
    starts_full = passage.kind in ("chorus", "postchorus", "dance") or (passage.kind == "verse" and passage.occurrence)
    crashes = (bar == 0 and starts_full) or (bar == passage.n_bars // 2 and passage.is_last_chorus)
    return _groove(passage, bar, arrangement) | (CRASH if crashes else {})


def _groove(passage: Passage, bar: int, arrangement: Arrangement) -> Patterns:
    groove, bars_left = arrangement.grooves[passage.kind], passage.n_bars - bar
    if passage.kind == "outro" and bars_left == 1:
        return {"kick": "X..............."} | CRASH
    if passage.leads_to_chorus and passage.kind != "intro" and bars_left <= (2 if passage.n_bars == 4 else 3):
        return BUILD[-bars_left]
    if passage.kind in ("intro", "bridge") and bar < passage.n_bars // 2:
        return {"hat": groove["hat"]}
    fill = {}
    if bars_left == 1 and passage.kind != "intro":
        fill = arrangement.big_fill
    elif bar % 4 == 3:
        fill = arrangement.fill
    # a fill replaces the end of the bar; drums that are not in it go on
    return groove | {drum: groove.get(drum, "." * 16)[: -len(end)] + end for drum, end in fill.items()}


def backing_patterns(passage: Passage, bar: int, arrangement: Arrangement) -> Patterns:
    """The rhythms of bass and chords in one bar; tracks enter over the section and over the song."""
    if passage.kind == "outro" and bar == passage.n_bars - 1:
        return {"bass": "R---------------", "pad": "x---------------"}
    kind, first_time, first_half = passage.kind, not passage.occurrence, bar < passage.n_bars // 2
    silent = {
        "bass": kind in ("intro", "bridge") and first_half,
        "pluck": (kind == "prechorus" and first_half)
        or (first_time and (kind == "chorus" or (kind == "verse" and first_half))),
    }
    return {track: rhythm for track, rhythm in arrangement.backing[kind].items() if not silent.get(track)}


def timed_hits(passage: Passage, rhythms: list[str]) -> Iterator[tuple[int, Hit, Chord]]:
    """Each hit of a track's rhythms, one per bar, with its start in the passage and the chord there."""
    for bar, rhythm in enumerate(rhythms):
        for hit in hits(rhythm):
            start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
            yield start_16th, hit, chord_at(passage.chords, start_16th)


def strikes(timed: TimedHits) -> Iterator[Note]:
    """A drum; a roll is two notes of half a sixteenth."""
    for start_16th, hit, _ in timed:
        if hit.symbol == "r":
            yield from (Note(start_16th + half, 0.5, velocity=0.6) for half in (0.0, 0.5))
        else:
            yield Note(start_16th, hit.length_16ths, velocity=hit.velocity)


def bass(timed: TimedHits) -> Iterator[Note]:
    """The bass line: roots, their fifths and octaves, and a step up to the next root, within BASS_RANGE."""
    low, high = BASS_RANGE
    timed = list(timed)
    for (start_16th, hit, chord), (*_, next_chord) in zip(timed, [*timed[1:], timed[-1]] if timed else [], strict=True):
        root = low + (chord.root - low) % 12
        midi = root + {"R": 0, "5": QUALITIES[chord.quality][2], "8": 12}[hit.symbol]
        if next_chord.root != chord.root and hit.length_16ths <= 2 and start_16th % 8 >= 6:
            midi = low + (next_chord.root - low) % 12 - APPROACH_SEMITONES
        velocity = 1.0 if hit.symbol == "R" else 0.8
        yield Note(start_16th, hit.length_16ths, midi if low <= midi <= high else root, velocity)


def pad(timed: TimedHits) -> Iterator[Note]:
    """All tones of the chords, each voicing close to the one before."""
    voices = FIRST_VOICING
    for start_16th, hit, chord in timed:
        voices = voicing(chord, voices)
        yield from (Note(start_16th, hit.length_16ths, midi, hit.velocity) for midi in voices)


def pluck(timed: TimedHits) -> Iterator[Note]:
    """An arpeggio over the triads."""
    for start_16th, hit, chord in timed:
        midi = ladder(chord_tones(chord)[:3], *PLUCK_RANGE)[int(hit.symbol)]
        yield Note(start_16th, 1, midi, 1.0 if hit.start_16th % 4 == 0 else 0.8)


def stab(timed: TimedHits) -> Iterator[Note]:
    """Close triads around STAB_CENTRE."""
    for start_16th, hit, chord in timed:
        triad = ladder(chord_tones(chord)[:3], STAB_CENTRE - 7, STAB_CENTRE + 14)
        lowest = triad.index(nearest(STAB_CENTRE - 3, triad[:-2]))
        yield from (Note(start_16th, hit.length_16ths, midi, hit.velocity) for midi in triad[lowest : lowest + 3])


def effects(passage: Passage) -> Tracks:
    """A riser over the bars before a chorus, an impact at the start of a chorus."""
    n_bars = {"prechorus": 2, "bridge": passage.n_bars // 2, "dance": 2}.get(passage.kind, 1)
    riser = Note((passage.n_bars - n_bars) * SIXTEENTHS_PER_BAR, n_bars * SIXTEENTHS_PER_BAR)
    impact = Note(0, SIXTEENTHS_PER_BAR)
    return {
        "riser": (riser,) if passage.leads_to_chorus else (),
        "impact": (impact,) if passage.kind == "chorus" else (),
    }
