"""What the singers do with the tune: lead, harmonies, choir, ad-libs, vocal chops and shouts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.form import Scene
from kpop.corpus.harmony import chord_at, chord_scale, chord_tones, ladder, nearest, scale_step
from kpop.corpus.melody import Tunes, is_strong
from kpop.corpus.patterns import hits, pick
from kpop.corpus.score import Note

VOICE_RANGE = (55, 84)
SECOND_RANGE = (48, 84)  # of the second harmony
HIGHEST_UNDER = 76  # a lead that climbs above this leaves no room for a voice above it
ADLIB_STEPS = (2, 3, 2, 1)  # scale steps of a run above the note that the lead ended on
ADLIB_SYLLABLE = "o"
LONGEST_ADLIB_16THS = 8
CHOP_CENTRE = 74
CHOP_BARS = ("x-x...x-..x-x...", "..x-..x-..x-..x-", "xx.x-.xx.x-...x-", "x-....x-x-....x-")
CHOP_ANSWERS = ("............x-x-", ".............xx-")
SHOUT_BARS = ("............X-..", "............x-X-", "........X-..X-..")
CHOP_SYLLABLES = ("a", "o", "e")
SHOUT_SYLLABLES = ("he", "ha", "ho")


@dataclass(frozen=True)
class Singers:
    """The habits of a song's singers."""

    chop: str
    answer: str
    chop_syllable: str
    shout: str
    shout_syllable: str


def choose_singers(rng: np.random.Generator) -> Singers:
    """The habits for one song."""
    return Singers(
        pick(CHOP_BARS, rng),
        pick(CHOP_ANSWERS, rng),
        pick(CHOP_SYLLABLES, rng),
        pick(SHOUT_BARS, rng),
        pick(SHOUT_SYLLABLES, rng),
    )


def lead(scene: Scene, tunes: Tunes) -> tuple[Note, ...]:
    """The tune of a scene in its key, from the start of the scene."""
    variants = tunes.get("chorus" if scene.kind == "outro" else scene.kind, [()])
    tune = variants[min(scene.occurrence, len(variants) - 1)]
    # The hook fades out in the outro, and the end of a bridge is left to the build-up.
    n_bars = {"outro": 2, "bridge": scene.n_bars - 1}.get(scene.kind, scene.n_bars)
    kept = (note for note in tune if note.start_16th < n_bars * SIXTEENTHS_PER_BAR)
    return tuple(replace(note, midi=note.midi + scene.semitones_up) for note in kept)


def harmony(scene: Scene, melody: tuple[Note, ...]) -> tuple[Note, ...]:
    """A third below in choruses (in the first, only the second half) and post-choruses; a choir of oohs in bridges."""
    if scene.kind == "bridge":
        return tuple(_oohs(scene))
    if scene.kind not in ("chorus", "postchorus"):
        return ()
    joins_late = scene.kind == "chorus" and scene.occurrence == 0
    from_16th = scene.n_bars // 2 * SIXTEENTHS_PER_BAR if joins_late else 0
    return tuple(_third_below(note, scene) for note in melody if note.start_16th >= from_16th)


def _third_below(note: Note, scene: Scene) -> Note:
    """The note that sings along: the chord tone a third or fourth below, or the third in the scale on light beats."""
    chord = chord_at(scene.bars, note.start_16th)
    scale = ladder(chord_scale(chord, scene.section.tonic, scene.section.mode), *VOICE_RANGE)
    midi = scale_step(note.midi, -2, scale)
    if is_strong(int(note.start_16th) % SIXTEENTHS_PER_BAR, int(note.length_16ths)):
        midi = nearest(note.midi - 4, tuple(p for p in ladder(chord_tones(chord), *VOICE_RANGE) if p <= note.midi - 3))
    return replace(note, midi=midi, velocity=0.6)


def second_harmony(scene: Scene, melody: tuple[Note, ...]) -> tuple[Note, ...]:
    """The third part in the last chorus and in post-choruses: a third above, or a sixth below a lead that lies high."""
    if not (scene.is_last_chorus or scene.kind == "postchorus"):
        return ()
    above = max((note.midi for note in melody), default=0) <= HIGHEST_UNDER
    return tuple(_outer_voice(note, scene, above) for note in melody)


def _outer_voice(note: Note, scene: Scene, above: bool) -> Note:
    """The chord tone a third or fourth above the note, or about a sixth below it, beyond the first harmony."""
    tones = ladder(chord_tones(chord_at(scene.bars, note.start_16th)), *SECOND_RANGE)
    if above:
        midi = nearest(note.midi + 4, tuple(pitch for pitch in tones if pitch >= note.midi + 3))
    else:
        midi = nearest(note.midi - 9, tuple(pitch for pitch in tones if pitch <= note.midi - 7))
    return replace(note, midi=midi, velocity=0.6)


def adlibs(scene: Scene, melody: tuple[Note, ...]) -> tuple[Note, ...]:
    """Runs on an open vowel where the lead rests for a beat or longer, in the last chorus and the outro."""
    if not (scene.is_last_chorus or scene.kind == "outro"):
        return ()
    n_bars = scene.n_bars - (scene.kind == "outro")  # the last bar belongs to the final chord
    starts = [*(note.start_16th for note in melody[1:]), n_bars * SIXTEENTHS_PER_BAR]
    return tuple(run for note, stop in zip(melody, starts, strict=False) for run in _run(scene, note, stop))


def _run(scene: Scene, before: Note, stop_16th: float) -> Iterator[Note]:
    """A turn down the scale of the chord after a note of the lead, held at its end; nothing in a short rest."""
    first_16th = before.start_16th + before.length_16ths
    length_16ths = min(stop_16th - first_16th, LONGEST_ADLIB_16THS)
    if length_16ths < len(ADLIB_STEPS):
        return
    chord = chord_at(scene.bars, first_16th)
    scale = ladder(chord_scale(chord, scene.section.tonic, scene.section.mode), *VOICE_RANGE)
    held_16ths = length_16ths - len(ADLIB_STEPS) + 1
    for i, n_steps in enumerate(ADLIB_STEPS):
        is_last = i == len(ADLIB_STEPS) - 1
        midi = scale_step(before.midi, n_steps, scale)
        yield Note(first_16th + i, held_16ths if is_last else 1, midi, 0.8, "" if i else ADLIB_SYLLABLE)


def _oohs(scene: Scene) -> Iterator[Note]:
    """One long note per bar, close to the one before; a breath before every other."""
    midi = 67
    for bar, (chord, _) in enumerate(scene.bars[:-1]):
        midi = nearest(midi, ladder(chord_tones(chord), *VOICE_RANGE))
        length_16ths = 16 if bar % 2 == 0 and bar + 2 < scene.n_bars else 14
        yield Note(bar * SIXTEENTHS_PER_BAR, length_16ths, midi, 0.6, "" if bar % 2 else "u")


def chops(scene: Scene, singers: Singers, melody: tuple[Note, ...]) -> tuple[Note, ...]:
    """A pattern of vocal chops in dance breaks and wordless sections; elsewhere an answer where the lead breathes."""
    patterns = {
        "dance": lambda bar: singers.chop,
        "intro": lambda bar: singers.chop if bar >= scene.n_bars // 2 else "",
        "postchorus": lambda bar: singers.answer if bar % 2 else "",
        "chorus": lambda bar: singers.answer if bar % 4 == 3 else "",
    }
    pattern_of = patterns.get(scene.kind, lambda bar: "")
    notes = (note for bar in range(scene.n_bars) for note in _chop_bar(scene, bar, pattern_of(bar), singers))
    return tuple(note for note in notes if not _overlaps(note, melody))


def _chop_bar(scene: Scene, bar: int, pattern: str, singers: Singers) -> Iterator[Note]:
    """A bar of chops, which swing between two tones of the chord."""
    for i, hit in enumerate(hits(pattern)):
        start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
        tones = ladder(chord_tones(chord_at(scene.bars, start_16th)), *VOICE_RANGE)
        midi = scale_step(nearest(CHOP_CENTRE, tones), i % 2, tones)
        yield Note(start_16th, hit.length_16ths, midi, 0.8, singers.chop_syllable)


def _overlaps(note: Note, melody: tuple[Note, ...]) -> bool:
    """Whether the lead sings during the note."""
    end_16th = note.start_16th + note.length_16ths
    return any(sung.start_16th < end_16th and note.start_16th < sung.start_16th + sung.length_16ths for sung in melody)


def shouts(scene: Scene, singers: Singers) -> tuple[Note, ...]:
    """The group calls at the ends of lines: every fourth bar, every other one in dance breaks and the last chorus."""
    if scene.kind not in ("prechorus", "chorus", "postchorus", "dance"):
        return ()
    every = 2 if scene.kind == "dance" or scene.is_last_chorus else 4
    midi = 62 + (scene.section.tonic - 62) % 12  # the tonic, in a shouting register
    return tuple(
        Note(bar * SIXTEENTHS_PER_BAR + hit.start_16th, hit.length_16ths, midi, hit.velocity, singers.shout_syllable)
        for bar in range(every - 1, scene.n_bars, every)
        for hit in hits(singers.shout)
    )
