"""The whole band in every scene: who plays, and the effects that join the scenes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.backing import Part, backing, choose_parts
from kpop.corpus.drumming import Kit, choose_kit, drums
from kpop.corpus.form import Scene
from kpop.corpus.melody import Tunes
from kpop.corpus.score import TRACKS, Note
from kpop.corpus.vocals import Singers, adlibs, choose_singers, chops, harmony, lead, second_harmony, shouts

Tracks = dict[str, tuple[Note, ...]]


@dataclass(frozen=True)
class Band:
    """What the members of the band have agreed to play in a song."""

    kit: Kit
    parts: dict[str, Part]
    singers: Singers


def rehearse(palette: str, rng: np.random.Generator) -> Band:
    """The agreements for one song of a palette."""
    return Band(choose_kit(palette, rng), choose_parts(palette, rng), choose_singers(rng))


def play(scenes: Iterable[Scene], band: Band, tunes: Tunes) -> Tracks:
    """All notes of a song, by track, in order of time."""
    notes = {track: [] for track in TRACKS}
    for scene in scenes:
        first_16th = scene.section.first_bar * SIXTEENTHS_PER_BAR
        for track, played in play_scene(scene, band, tunes).items():
            notes[track] += [replace(note, start_16th=note.start_16th + first_16th) for note in played]
    return {track: tuple(sorted(played, key=_order)) for track, played in notes.items()}


def _order(note: Note) -> tuple[float, int]:
    return note.start_16th, note.midi


def play_scene(scene: Scene, band: Band, tunes: Tunes) -> Tracks:
    """Notes of one scene by track, from its start."""
    melody = lead(scene, tunes)
    voices = {
        "lead": melody,
        "harmony": harmony(scene, melody),
        "harmony2": second_harmony(scene, melody),
        "adlib": adlibs(scene, melody),
        "chop": chops(scene, band.singers, melody),
        "shout": shouts(scene, band.singers),
    }
    return drums(scene, band.kit) | backing(scene, band.parts) | voices | effects(scene)


def effects(scene: Scene) -> Tracks:
    """A riser that fills the bars before a chorus, and the impact where the chorus arrives."""
    n_bars = {"prechorus": 2, "bridge": scene.n_bars // 2, "dance": 2}.get(scene.kind, 1)
    start_16th, length_16ths = (scene.n_bars - n_bars) * SIXTEENTHS_PER_BAR, n_bars * SIXTEENTHS_PER_BAR
    return {
        "riser": (Note(start_16th, length_16ths),) if scene.leads_to_chorus else (),
        "impact": (Note(0, SIXTEENTHS_PER_BAR),) if scene.kind == "chorus" else (),
    }
