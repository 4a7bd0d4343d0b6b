"""What is known of a song because we wrote it: ground truth for measures."""

import numpy as np

from kpop.corpus.score import Chord, Note, Score
from kpop.grid import SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES, SIXTEENTHS_PER_BAR, TEMPO_BPM

FIRST_MAJOR = 1
FIRST_MINOR = 13
MINOR_QUALITIES = ("min", "min7", "dim")
PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def labels(score: Score) -> dict:
    """The labels of a song, ready for JSON: times in seconds, two chords per bar, the tune that the lead sings."""
    return {
        "number": score.number,
        "tempo_bpm": TEMPO_BPM,
        "keys": list(dict.fromkeys(f"{PITCH_NAMES[section.tonic]} {section.mode}" for section in score.sections)),
        "palette": score.palette,
        "sections": [
            {
                "kind": section.kind,
                "start_s": seconds(section.first_bar * SIXTEENTHS_PER_BAR),
                "end_s": seconds((section.first_bar + section.n_bars) * SIXTEENTHS_PER_BAR),
                "key": f"{PITCH_NAMES[section.tonic]} {section.mode}",
            }
            for section in score.sections
        ],
        "chords": [[chord_name(chord) for chord in bar] for bar in score.chords],
        "lead": [note_label(note) for note in score.tracks["lead"]],
    }


def seconds(n_16ths: float) -> float:
    """Seconds from the start of a song."""
    return n_16ths * SIXTEENTH_SAMPLES / SAMPLE_RATE_HZ


def chord_name(chord: Chord) -> str:
    """A chord as "root:quality", for example "F#:min7"."""
    return f"{PITCH_NAMES[chord.root]}:{chord.quality}"


def note_label(note: Note) -> dict:
    """A sung note, ready for JSON."""
    return {
        "start_s": seconds(note.start_16th),
        "end_s": seconds(note.start_16th + note.length_16ths),
        "midi": note.midi,
        "syllable": note.syllable,
    }


def chord_class(chord: Chord) -> int:
    """1 + root for chords like major ("maj", "maj7", "7", "sus4", "add9"), 13 + root for "min", "min7" and "dim"."""
    return chord.root + (FIRST_MINOR if chord.quality in MINOR_QUALITIES else FIRST_MAJOR)


def chord_classes(score: Score) -> np.ndarray:
    """Class of the chord at each sixteenth, int64 of shape (n_bars * 16,), 0 to 24; 0, no chord, is not used yet."""
    halves = [chord_class(chord) for bar in score.chords for chord in bar]
    return np.repeat(np.array(halves, dtype=np.int64), SIXTEENTHS_PER_BAR // 2)
