"""What is known of a song because we wrote it: ground truth for measures."""

import numpy as np

from kpop.constants import (
    HIGHEST_TUNE_MIDI,
    LOWEST_TUNE_MIDI,
    SAMPLE_RATE_HZ,
    SIXTEENTH_SAMPLES,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_SIXTEENTH,
    TEMPO_BPM,
)
from kpop.corpus.score import Chord, Note, Score

FIRST_MAJOR = 1
FIRST_MINOR = 13
MINOR_QUALITIES = ("min", "min7", "dim")
KINDS = ("intro", "verse", "prechorus", "chorus", "postchorus", "bridge", "dance", "outro")
BLOCK_BARS = 4  # the first four bars of a section and the later ones are told apart
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


def step_labels(score: Score) -> np.ndarray:
    """Labels (n_bars * STEPS_PER_BAR, 4) uint8 of each step: classes of section, key, chord and tune (LABEL_SIZES)."""
    steps = np.zeros((score.n_bars * STEPS_PER_BAR, 4), np.uint8)
    for section in score.sections:
        first, length = section.first_bar * STEPS_PER_BAR, section.n_bars * STEPS_PER_BAR
        later = np.arange(length) >= BLOCK_BARS * STEPS_PER_BAR
        steps[first : first + length, 0] = 1 + 2 * KINDS.index(section.kind) + later
        steps[first : first + length, 1] = section.tonic + (FIRST_MINOR if section.mode == "minor" else FIRST_MAJOR)
    steps[:, 2] = np.repeat(chord_classes(score), STEPS_PER_SIXTEENTH)
    for note in score.tracks["lead"]:
        first, stop = (
            round(time * STEPS_PER_SIXTEENTH) for time in (note.start_16th, note.start_16th + note.length_16ths)
        )
        steps[first:stop, 3] = tune_class(note.midi, begins=False)
        steps[first, 3] = tune_class(note.midi, begins=True)
    return steps


def tune_class(midi: int, begins: bool) -> int:
    """1, 3, 5 ... for a note as it begins, 2, 4, 6 ... as it goes on, from LOWEST_TUNE_MIDI up."""
    return 1 + 2 * (min(max(midi, LOWEST_TUNE_MIDI), HIGHEST_TUNE_MIDI) - LOWEST_TUNE_MIDI) + (not begins)
