"""What the drummer plays: a groove per kind of section, fills at the ends of phrases, builds before choruses."""

from dataclasses import dataclass

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.form import Scene
from kpop.corpus.patterns import Hit, hits, pick
from kpop.corpus.score import DRUM_TRACKS, Note

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
}
CRASH = {"crash": "X---------------"}
OPEN_HAT = "..x-..x-..x-..x-"

# An "r" is a roll: two hits in one sixteenth.
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
BUILD = (  # the last two bars before a chorus; the last beat often holds its breath
    {"kick": "X...X...X...X...", "snare": "o...o...o...o...", "clap": "", "hat": "x.o.x.o.x.o.x.o."},
    {"kick": "X...X...X...X...", "snare": "o.o.o.o.x.x.x.x.", "clap": "", "hat": "x.o.x.o.x.o.x.o."},
    {"kick": "X...X...........", "snare": "xxxxxxxxXXXX....", "clap": "............X...", "hat": ""},
)


@dataclass(frozen=True)
class Menu:
    """What a palette's drummer may choose from for a kind of section."""

    kicks: tuple[str, ...]
    snares: tuple[str, ...]
    hats: tuple[str, ...]


MENUS = {
    ("neon", "verse"): Menu(("two_step", "broken", "four"), ("backbeat",), ("eighths", "offbeats")),
    ("neon", "chorus"): Menu(("four", "push"), ("backbeat",), ("sixteenths", "eighths")),
    ("neon", "dance"): Menu(("broken", "four"), ("ghosts", "backbeat"), ("gallop", "sixteenths")),
    ("velvet", "verse"): Menu(("half", "trap"), ("half",), ("trap", "eighths")),
    ("velvet", "chorus"): Menu(("four", "two_step"), ("backbeat", "ghosts"), ("sixteenths", "eighths")),
    ("velvet", "dance"): Menu(("trap", "half"), ("half",), ("trap",)),
    ("bubblegum", "verse"): Menu(("bounce", "two_step", "four"), ("backbeat", "ghosts"), ("offbeats", "eighths")),
    ("bubblegum", "chorus"): Menu(("four", "push"), ("backbeat",), ("gallop", "eighths")),
    ("bubblegum", "dance"): Menu(("four", "bounce"), ("ghosts", "rim"), ("gallop",)),
    ("noir", "verse"): Menu(("trap", "broken", "four"), ("backbeat", "half"), ("sixteenths", "trap")),
    ("noir", "chorus"): Menu(("four", "push"), ("backbeat",), ("sixteenths", "gallop")),
    ("noir", "dance"): Menu(("trap", "broken"), ("half", "backbeat"), ("trap", "sixteenths")),
}

Groove = dict[str, str]  # pattern of each drum, one bar


@dataclass(frozen=True)
class Kit:
    """A song's grooves by kind of section, and its fills."""

    grooves: dict[str, Groove]
    fill: Groove
    big_fill: Groove


def choose_groove(menu: Menu, rng: np.random.Generator) -> Groove:
    """One groove of a menu."""
    kick, snare, hat = pick(menu.kicks, rng), pick(menu.snares, rng), pick(menu.hats, rng)
    return {"kick": KICKS[kick], "snare": SNARES[snare], "hat": HATS[hat]}


def choose_kit(palette: str, rng: np.random.Generator) -> Kit:
    """The grooves for one song."""
    chosen = {kind: choose_groove(MENUS[palette, kind], rng) for kind in ("verse", "chorus", "dance")}
    chorus = chosen["chorus"] | {"clap": SNARES["backbeat"], "open_hat": OPEN_HAT}
    grooves = {
        "intro": {"kick": KICKS["pulse"], "hat": chosen["verse"]["hat"]},
        "verse": chosen["verse"],
        "prechorus": {"kick": KICKS[pick(("pulse", "four"), rng)], "clap": SNARES["half"], "hat": HATS["eighths"]},
        "chorus": chorus,
        "postchorus": chorus | {"hat": HATS["eighths"]},
        "bridge": {"kick": KICKS["half"], "clap": SNARES["half"], "hat": HATS["ticks"]},
        "dance": chosen["dance"] | {"clap": SNARES["half"]},
        "outro": {"kick": KICKS["four"], "clap": SNARES["backbeat"], "hat": HATS["offbeats"]},
    }
    return Kit(grooves, pick(FILLS, rng), pick(BIG_FILLS, rng))


def groove_of_bar(scene: Scene, bar: int, kit: Kit) -> Groove:
    """What the drums play in one bar of a scene: the groove of its kind, thinned, built up or filled."""
    groove, bars_left = kit.grooves[scene.kind], scene.n_bars - bar
    if scene.kind == "outro" and bars_left == 1:
        return {"kick": "X..............."} | CRASH
    if scene.leads_to_chorus and scene.kind != "intro" and bars_left <= _build_bars(scene):
        return BUILD[len(BUILD) - bars_left]
    if scene.kind in ("intro", "bridge") and bar < scene.n_bars // 2:
        return {"hat": groove["hat"]}
    if bars_left == 1 and scene.kind != "intro":
        return with_fill(groove, kit.big_fill)
    return with_fill(groove, kit.fill) if bar % 4 == 3 else groove


def _build_bars(scene: Scene) -> int:
    """Bars of build-up at the end of a scene: two when it is short, else three."""
    return 2 if scene.n_bars == 4 else 3


def with_fill(groove: Groove, fill: Groove) -> Groove:
    """The groove with its end replaced by the fill; drums without a part in the fill go on."""
    return groove | {drum: groove.get(drum, "." * 16)[: -len(end)] + end for drum, end in fill.items()}


def drums(scene: Scene, kit: Kit) -> dict[str, tuple[Note, ...]]:
    """Notes of every drum, from the start of the scene."""
    grooves = [groove_of_bar(scene, bar, kit) for bar in range(scene.n_bars)]
    if scene.kind in ("chorus", "postchorus", "dance") or (scene.kind == "verse" and scene.occurrence):
        grooves[0] = grooves[0] | CRASH
    if scene.is_last_chorus:
        middle = scene.n_bars // 2
        grooves[middle] = grooves[middle] | CRASH
    return {drum: _strikes(drum, grooves) for drum in DRUM_TRACKS}


def _strikes(drum: str, grooves: list[Groove]) -> tuple[Note, ...]:
    """The notes of one drum in successive bars."""
    in_bars = ((bar, hit) for bar, groove in enumerate(grooves) for hit in hits(groove.get(drum, "")))
    return tuple(note for bar, hit in in_bars for note in _struck(hit, bar))


def _struck(hit: Hit, bar: int) -> tuple[Note, ...]:
    """A hit as one note, or a roll as two of half a sixteenth."""
    start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
    if hit.symbol == "r":
        return tuple(Note(start_16th + half, 0.5, velocity=0.6) for half in (0.0, 0.5))
    return (Note(start_16th, hit.length_16ths, velocity=hit.velocity),)
