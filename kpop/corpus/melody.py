"""The voices: a tune written from motifs of one bar and its words, the harmonies, ad-libs, chops and shouts made of it,
and raps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kpop.constants import SIXTEENTHS_PER_BAR
from kpop.corpus.lyrics import CHANTS, CHOPS, HOOKS, RHYMES, SHOUTS, line
from kpop.corpus.score import Chord, Chords, Note, Passage
from kpop.corpus.theory import Hit, chord_at, chord_scale, chord_tones, hits, ladder, nearest, pick, scale_step

# Ranges and centres are MIDI pitches.
TUNE_RANGE = (55, 73)
VOICE_RANGE = (50, 81)
SECOND_RANGE = (45, 81)  # of the second harmony
HIGHEST_UNDER = 71  # highest lead with a second harmony above it
MELISMA_SHARE = 0.15  # of the steps that may continue the vowel before
STEPS = (0, 0, 0, 1, 1, 1, -1, -1, -1, -1, 2, -2, 3, -3)  # scale steps, by how often they are drawn
MOVING_STEPS = tuple(step for step in STEPS if step)
WIDEST = 3  # scale steps between the first note of a motif and any other
ADLIB_STEPS = (2, 3, 2, 1)  # scale steps of a run above the note that the lead ended on
LONGEST_ADLIB_16THS = 8
CHOP_CENTRE = 69
VOCAL_OPTIONS = (  # of each field of VocalPatterns
    ("x-x...x-..x-x...", "..x-..x-..x-..x-", "xx.x-.xx.x-...x-", "x-....x-x-....x-"),  # chop
    ("............x-x-", ".............xx-"),  # answer
    CHOPS,
    ("............X-..", "............x-X-", "........X-..X-.."),  # shout
    SHOUTS,
)
SHOUT_LOWEST = 57
INSTRUMENTAL_SHARE = 0.5  # of songs whose post-chorus has chops instead of a chant
RAP_SHARE = 0.55  # of songs whose second verse is rapped
RAP_RHYTHMS = (  # of two bars; the last syllable rhymes
    "x-x-xxx-x-xxx-x-|x-xxx-x-x-x-x-..",
    "xxx-x-xxx-x-x-x-|xxx-xxx-x-x-x-..",
    "..xxx-x-xxx-x-x-|x-xxx-xxx-x-x-..",
    "x-xxxxx-x-x-xxx-|x-x-xxxxx-x-x-..",
    "x--x--x-x--x--x-|x-xxx-x-x--x--..",
    "x-xxx-..xxx-x-..|x-xxx-xxx-xxx-..",
)
RAP_CONTOUR = (3, 0, 1, -1)  # semitones by quarter of the beat: stressed syllables are higher

Key = tuple[int, str]  # tonic and mode
Motif = tuple[tuple[Hit, int, bool], ...]  # of each note in a bar: hit, scale steps from the first, continues a vowel
Tunes = dict[str, list[tuple[Note, ...]]]  # by kind of section: the tune, and that of its repeats where it differs


@dataclass(frozen=True)
class TuneStyle:
    """How tunes of a kind of section are written. Schemes and rhythms to choose from are separated by blanks."""

    schemes: str  # motif of each bar: small letters run on, capitals end a line
    bodies: str  # rhythms of the motifs that run on
    endings: str  # rhythms of those that end a line
    centre: int  # MIDI pitch that motifs start near
    climb: tuple[int, ...] = (0, 0, 0, 0)  # semitones added to the centre, bar by bar
    words: str = "lines"  # "lines" of their own, "hook" at the ends of them, or the song's "chant" throughout


STYLES = {
    "verse": TuneStyle(
        "aAaBaAaC aaaAaaaC abaAabaC aAbBaAbC",
        "x-x-x-x-x---.... ..x-x-x-x-x-x-.. x-xxx-x-x-x-.... ..xxx-x-xxx-x-.. "
        "x--x--x-x-x-.... ....x-x-x-xxx-.. x-x-xx-xx-x-....",
        "x-x-x---........ ..x-x-x---...... x--x--x---...... x-x-xxx---......",
        60,
    ),
    "prechorus": TuneStyle(
        "aaaA abaA aAaB",
        "x---x---x-x-x-.. x--x--x-x---x-.. x-x-x-x-x-x-x-.. ..x-x-x-x---x-.. x-----x-x-x-x-..",
        "x-x-x-x-x-----.. x---x---x-----.. x--x--x-x-----..",
        62,
        (0, 2, 3, 5),
    ),
    "chorus": TuneStyle(
        "aAaBaAaC abaAabaB aabAaabB aAbAaAbB",
        "x-----x-x---x--- x---x---x--x--x- x--x--x-x-----x- x-x-x---x-x-x--- x-----x-x-x-x---",
        "x-------x-----.. x---x-------.... x--x--x-----.... x-x-x-------....",
        68,
        (0, 0, 2, 0),
        "hook",
    ),
    "postchorus": TuneStyle(
        "aAaA aaaA aAaB",
        "x-x-x-..x-x-x-.. x-xxx-x-x-x-x--- xx.xx.x-xx.xx.x- x--x--x-x--x--x-",
        "x-x-x-..x---.... xx.xx.x-x---.... x--x--x-----....",
        66,
        (0, 0, 0, 0),
        "chant",
    ),
    "bridge": TuneStyle(
        "aAbBaAbB aAaBaAaB",
        "x-------x---x--- x---x---x-----.. ..x---x-x-----.. x-----x-x-------",
        "x-----------.... x---x-------.... x-------x---....",
        64,
        (0, 0, 2, 3),
    ),
}


def write_tunes(chords_of: dict[str, Chords], key: Key, rng: np.random.Generator) -> Tunes:
    """The tunes of a song over the chords of each kind of section, in the first key, from time 0.

    A repeated verse has words of its own and differs in the last bar, or is rapped: then it is under "rap".
    """
    repeated = {"hook": tuple(pick(HOOKS, rng).split()), "chant": tuple(pick(CHANTS, rng).split())}
    tunes = {}
    for kind, style in STYLES.items():
        scheme = pick(style.schemes.split(), rng)
        motifs = {
            letter: draw_motif(pick((style.endings if letter.isupper() else style.bodies).split(), rng), rng)
            for letter in sorted({*scheme, "Z"})
        }
        schemes = (scheme, scheme[:-1] + "Z") if kind == "verse" else (scheme,)
        tunes[kind] = [
            write_words(write_tune(each, motifs, chords_of[kind], style, key), each, style.words, repeated, rng)
            for each in schemes
        ]
    if rng.random() < INSTRUMENTAL_SHARE:
        tunes["postchorus"] = [()]
    tunes["rap"] = [write_rap(len(chords_of["verse"]), rng)] if rng.random() < RAP_SHARE else []
    return tunes


def write_words(
    notes: tuple[Note, ...], scheme: str, words: str, repeated: dict[str, tuple[str, ...]], rng: np.random.Generator
) -> tuple[Note, ...]:
    """The notes with syllables in the place of "?": lines of words, each ending with a capital of the scheme, that
    rhyme in pairs; at the ends or everywhere the repeated syllables of `words`, a key of `repeated` or "lines"."""
    syllables, first_bar, n_lines, rhyme = {}, 0, 0, pick(tuple(RHYMES), rng)
    bars = [note.start_16th // SIXTEENTHS_PER_BAR for note in notes]
    for bar in range(int(bars[-1]) + 1):
        if not scheme[bar % len(scheme)].isupper() and bar != bars[-1]:
            continue
        line_notes = [i for i, note in enumerate(notes) if first_bar <= bars[i] <= bar and note.syllable]
        own = [i for i in line_notes if words == "lines" or (words == "hook" and bars[i] < bar)]
        if own:
            syllables |= zip(own, line(len(own), rhyme, rng), strict=True)
        for n, i in enumerate(i for i in line_notes if i not in own):
            syllables[i] = repeated[words][n % len(repeated[words])]
        first_bar, n_lines = bar + 1, n_lines + 1
        if n_lines % 2 == 0:
            rhyme = pick(tuple(RHYMES), rng)
    return tuple(replace(note, syllable=syllables.get(i, "")) for i, note in enumerate(notes))


def write_rap(n_bars: int, rng: np.random.Generator) -> tuple[Note, ...]:
    """Spoken lines of two bars that rhyme in pairs, from time 0; midi is relative to the rapper's speaking pitch."""
    notes, rhyme = [], ""
    for first_bar in range(0, n_bars, 2):
        rhyme = pick(tuple(RHYMES), rng) if first_bar % 4 == 0 else rhyme
        rhythm = hits(pick(RAP_RHYTHMS, rng).replace("|", ""))
        for hit, syllable in zip(rhythm, line(len(rhythm), rhyme, rng), strict=True):
            start_16th = first_bar * SIXTEENTHS_PER_BAR + hit.start_16th
            velocity = 1.0 if hit.start_16th % 4 == 0 else 0.8
            notes.append(Note(start_16th, hit.length_16ths, RAP_CONTOUR[hit.start_16th % 4], velocity, syllable))
    return tuple(notes)


def draw_motif(rhythm: str, rng: np.random.Generator) -> Motif:
    """A random walk of mostly steps over a rhythm; some notes, a step away and without a rest, continue a vowel."""
    notes, offsets = hits(rhythm), [0]
    while len(offsets) < len(notes):
        # A note is repeated once at most, or slow motifs would stand still.
        step = pick(STEPS if offsets[-2:-1] != offsets[-1:] else MOVING_STEPS, rng)
        # A walk that would go too far turns back, as tunes do after a leap.
        offsets.append(offsets[-1] + step if abs(offsets[-1] + step) <= WIDEST else offsets[-1] - step)
    continues = [False]
    for i in range(1, len(notes)):
        touches = notes[i - 1].start_16th + notes[i - 1].length_16ths == notes[i].start_16th
        may_continue = touches and not continues[-1] and abs(offsets[i] - offsets[i - 1]) == 1
        continues.append(bool(may_continue and rng.random() < MELISMA_SHARE))
    return tuple(zip(notes, offsets, continues, strict=True))


def write_tune(scheme: str, motifs: dict[str, Motif], chords: Chords, style: TuneStyle, key: Key) -> tuple[Note, ...]:
    """The motifs of a scheme over the chords, from time 0, each from the chord tone nearest to its bar's centre.

    Syllables are "?" where a word is to be sung, "" where a vowel goes on.
    """
    notes = []
    for bar in range(len(chords)):
        centre = style.centre + style.climb[bar % len(style.climb)]
        anchor = midi = nearest(centre, ladder(chord_tones(chords[bar][0]), *TUNE_RANGE))
        motif, previous_offset = motifs[scheme[bar % len(scheme)]], 0
        for hit, offset, continues in motif:
            start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
            chord = chord_at(chords, start_16th)
            wanted = scale_step(anchor, offset, ladder(chord_scale(chord, *key), *TUNE_RANGE))
            strong = is_strong(hit.start_16th, hit.length_16ths)
            midi = _chord_tone(wanted, midi, offset - previous_offset, chord) if strong else wanted
            notes.append(Note(start_16th, hit.length_16ths, midi, 1.0 if strong else 0.8, "" if continues else "?"))
            previous_offset = offset
    return tuple(notes)


def is_strong(start_16th: float, length_16ths: float) -> bool:
    """Whether a note must be a chord tone: it starts on beat one or three, or is long."""
    return start_16th % 8 == 0 or length_16ths >= 4


def _chord_tone(wanted: int, previous: int, move: int, chord: Chord) -> int:
    """The chord tone nearest to the wanted pitch, or the next one in the move's direction if that is the previous."""
    tones = ladder(chord_tones(chord), *TUNE_RANGE)
    midi = nearest(wanted, tones)
    return scale_step(midi, int(np.sign(move)), tones) if midi == previous else midi


@dataclass(frozen=True)
class VocalPatterns:
    """Rhythms and syllables of chops and shouts of one song, each picked from its field of VOCAL_OPTIONS."""

    chop: str
    answer: str
    chop_syllable: str
    shout: str
    shout_syllable: str


def sing(passage: Passage, patterns: VocalPatterns, tunes: Tunes) -> dict[str, Iterable[Note]]:
    """Notes of the voice tracks, from the start of the passage."""
    melody = lead(passage, tunes)
    return {
        "lead": melody,
        "harmony": harmony(passage, melody),
        "harmony2": second_harmony(passage, melody),
        "adlib": adlibs(passage, melody),
        "chop": chops(passage, patterns, melody),
        "shout": shouts(passage, patterns),
        "rap": tunes["rap"][0] if _is_rapped(passage, tunes) else (),
    }


def _is_rapped(passage: Passage, tunes: Tunes) -> bool:
    return passage.kind == "verse" and passage.occurrence == 1 and bool(tunes["rap"])


def lead(passage: Passage, tunes: Tunes) -> tuple[Note, ...]:
    """The tune of a passage, in its key."""
    if _is_rapped(passage, tunes):
        return ()
    variants = tunes.get("chorus" if passage.kind == "outro" else passage.kind, [()])
    tune = variants[min(passage.occurrence, len(variants) - 1)]
    # The hook fades out in the outro, and the last bar of a bridge belongs to the build-up.
    n_bars = {"outro": 2, "bridge": passage.n_bars - 1}.get(passage.kind, passage.n_bars)
    kept = (note for note in tune if note.start_16th < n_bars * SIXTEENTHS_PER_BAR)
    return tuple(replace(note, midi=note.midi + passage.semitones_up) for note in kept)


def harmony(passage: Passage, melody: tuple[Note, ...]) -> Iterator[Note]:
    """A third below in choruses (in the first, only the second half) and post-choruses; long vowels in bridges."""
    if passage.kind == "bridge":
        yield from _long_notes(passage)
    elif passage.kind in ("chorus", "postchorus"):
        joins_late = passage.kind == "chorus" and passage.occurrence == 0
        from_16th = passage.n_bars // 2 * SIXTEENTHS_PER_BAR if joins_late else 0
        yield from (_third_below(note, passage) for note in melody if note.start_16th >= from_16th)


def _long_notes(passage: Passage) -> Iterator[Note]:
    """One long note per bar, close to the one before; a breath after every second."""
    midi = 62
    for bar, (chord, _) in enumerate(passage.chords[:-1]):
        midi = nearest(midi, ladder(chord_tones(chord), *VOICE_RANGE))
        length_16ths = 16 if bar % 2 == 0 and bar + 2 < passage.n_bars else 14
        yield Note(bar * SIXTEENTHS_PER_BAR, length_16ths, midi, 0.6, "" if bar % 2 else "ooh")


def _third_below(note: Note, passage: Passage) -> Note:
    """The chord tone a third or fourth below a strong note; the third in the scale below any other."""
    chord = chord_at(passage.chords, note.start_16th)
    if is_strong(note.start_16th, note.length_16ths):
        midi = nearest(note.midi - 4, [p for p in ladder(chord_tones(chord), *VOICE_RANGE) if p <= note.midi - 3])
    else:
        midi = scale_step(note.midi, -2, _scale(passage, chord))
    return replace(note, midi=midi, velocity=0.6)


def _scale(passage: Passage, chord: Chord) -> tuple[int, ...]:
    return ladder(chord_scale(chord, passage.tonic, passage.mode), *VOICE_RANGE)


def second_harmony(passage: Passage, melody: tuple[Note, ...]) -> Iterator[Note]:
    """The third part in the last chorus and in post-choruses: a third above, or a sixth below a lead that lies high."""
    if not (passage.is_last_chorus or passage.kind == "postchorus"):
        return
    above = max((note.midi for note in melody), default=0) <= HIGHEST_UNDER
    for note in melody:  # its chord tones beyond the first harmony
        tones = ladder(chord_tones(chord_at(passage.chords, note.start_16th)), *SECOND_RANGE)
        if above:
            midi = nearest(note.midi + 4, [pitch for pitch in tones if pitch >= note.midi + 3])
        else:
            midi = nearest(note.midi - 9, [pitch for pitch in tones if pitch <= note.midi - 7])
        yield replace(note, midi=midi, velocity=0.6)


def adlibs(passage: Passage, melody: tuple[Note, ...]) -> Iterator[Note]:
    """Runs in the last chorus and the outro where the lead rests: a turn in the chord's scale, its last note held."""
    if not (passage.is_last_chorus or passage.kind == "outro"):
        return
    n_bars = passage.n_bars - (passage.kind == "outro")  # the last bar belongs to the final chord
    ends = [*(note.start_16th for note in melody[1:]), n_bars * SIXTEENTHS_PER_BAR]
    for before, end_16th in zip(melody, ends, strict=False):
        held_16ths = min(end_16th - before.end_16th, LONGEST_ADLIB_16THS) - len(ADLIB_STEPS) + 1
        if held_16ths < 1:
            continue
        scale = _scale(passage, chord_at(passage.chords, before.end_16th))
        for i, (n_steps, length) in enumerate(zip(ADLIB_STEPS, (1, 1, 1, held_16ths), strict=True)):
            yield Note(before.end_16th + i, length, scale_step(before.midi, n_steps, scale), 0.8, "" if i else "oh")


def chops(passage: Passage, patterns: VocalPatterns, melody: tuple[Note, ...]) -> Iterator[Note]:
    """Vocal chops throughout dance breaks and later intros, and as answers in choruses, where the lead rests.

    They alternate between two chord tones.
    """
    for bar in range(passage.n_bars):
        rhythm = ""
        if passage.kind == "dance" or (passage.kind == "intro" and bar >= passage.n_bars // 2):
            rhythm = patterns.chop
        elif (passage.kind == "postchorus" and bar % 2 == 1) or (passage.kind == "chorus" and bar % 4 == 3):
            rhythm = patterns.answer
        for i, hit in enumerate(hits(rhythm)):
            start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
            tones = ladder(chord_tones(chord_at(passage.chords, start_16th)), *VOICE_RANGE)
            midi = scale_step(nearest(CHOP_CENTRE, tones), i % 2, tones)
            note = Note(start_16th, hit.length_16ths, midi, 0.8, patterns.chop_syllable)
            if not any(sung.start_16th < note.end_16th and note.start_16th < sung.end_16th for sung in melody):
                yield note


def shouts(passage: Passage, patterns: VocalPatterns) -> Iterator[Note]:
    """Shouts on the tonic in every fourth bar, in every second one of dance breaks and the last chorus."""
    if passage.kind not in ("prechorus", "chorus", "postchorus", "dance"):
        return
    every = 2 if passage.kind == "dance" or passage.is_last_chorus else 4
    midi = SHOUT_LOWEST + (passage.tonic - SHOUT_LOWEST) % 12
    for bar in range(every - 1, passage.n_bars, every):
        for hit in hits(patterns.shout):
            start_16th = bar * SIXTEENTHS_PER_BAR + hit.start_16th
            yield Note(start_16th, hit.length_16ths, midi, hit.velocity, patterns.shout_syllable)
