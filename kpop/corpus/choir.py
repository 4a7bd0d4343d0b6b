"""Who sings which vocal track: the doubled lead, the softer harmonies, ad-libs, chops and gang shouts."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kpop.constants import SIXTEENTH_SAMPLES, STEP_SAMPLES
from kpop.corpus.score import Note
from kpop.corpus.voice import LEADS, Singer, phrases, sing
from kpop.corpus.waves import n_samples, ramped

DOUBLE_DELAY_S = 0.018
DOUBLE_LEVEL = 0.40
PHRASED_TRACKS = ("lead", "harmony", "harmony2", "adlib")  # sung in one breath where notes touch
CHOP_GATE_16THS = 1.5  # chops are cut this short
SHOUT_MIDI = 64  # where a shout without a pitch lies
SHOUT_CENTS = (-480.0, -35.0, 40.0, 470.0)  # the gang: not quite together, not quite in tune


def _lead(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """The lead with its double a moment later and a little flat."""
    main = sing(singer, phrase)
    double = sing(replace(singer, cents=-7.0, formant_scale=0.98 * singer.formant_scale), phrase)
    delay = n_samples(DOUBLE_DELAY_S)
    both = np.append(main, np.zeros(delay))
    both[delay:] += DOUBLE_LEVEL * double
    return both


def _harmony(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """A softer second singer."""
    other = replace(singer, formant_scale=0.94 * singer.formant_scale, tilt=singer.tilt + 0.25, vibrato_cents=20.0)
    return sing(replace(other, breath=0.018, scoop_cents=30.0), phrase)


def _second_harmony(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """A third singer, lighter than the second."""
    other = replace(singer, formant_scale=1.05 * singer.formant_scale, tilt=singer.tilt + 0.2, vibrato_cents=15.0)
    return sing(replace(other, breath=0.018, scoop_cents=20.0), phrase)


def _adlib(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """The lead singer undoubled, sliding in from further below."""
    return sing(replace(singer, scoop_cents=140.0), phrase)


def _chop(singer: Singer, notes: tuple[Note, ...]) -> np.ndarray:
    """One syllable cut off like a sample."""
    (note,) = notes
    short = replace(note, length_16ths=min(note.length_16ths, CHOP_GATE_16THS))
    sampled = replace(singer, formant_scale=1.1 * singer.formant_scale, vibrato_cents=0.0, scoop_cents=160.0)
    return sing(sampled, (short,))


def _shout(singer: Singer, notes: tuple[Note, ...]) -> np.ndarray:
    """Several voices at once, each falling in pitch."""
    (note,) = notes
    spoken = replace(note, midi=note.midi or SHOUT_MIDI, syllable=note.syllable or "hey")
    gang = replace(singer, tilt=0.75, breath=0.04, vibrato_cents=0.0, scoop_cents=-260.0)
    voices = [sing(replace(gang, cents=cents, formant_scale=1.0 + cents / 4_800), (spoken,)) for cents in SHOUT_CENTS]
    return ramped(np.sum(voices, axis=0) / 2, 0.002, 0.02)


def performances(track: str, palette: str, notes: tuple[Note, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, waveform) of everything sung on a track of VOICE_TRACKS.

    Voices start a code step early, so that vowels, not consonants, fall on the beat.
    """
    singer = LEADS[palette]
    runs = phrases(notes) if track in PHRASED_TRACKS else [(note,) for note in notes]
    perform = {
        "lead": _lead,
        "harmony": _harmony,
        "harmony2": _second_harmony,
        "adlib": _adlib,
        "chop": _chop,
        "shout": _shout,
    }[track]
    for run in runs:
        yield round(run[0].start_16th * SIXTEENTH_SAMPLES) - STEP_SAMPLES, perform(singer, run)
