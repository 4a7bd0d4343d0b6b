"""What the composer hands to the band: sections, chords and notes on the grid of sixteenths."""

from dataclasses import dataclass

DRUM_TRACKS = ("kick", "snare", "clap", "hat", "open_hat", "crash")
CHORD_TRACKS = ("pad", "pluck", "stab")
VOICE_TRACKS = ("lead", "harmony", "harmony2", "adlib", "chop", "shout")
EFFECT_TRACKS = ("riser", "impact")
TRACKS = (*DRUM_TRACKS, "bass", *CHORD_TRACKS, *VOICE_TRACKS, *EFFECT_TRACKS)


@dataclass(frozen=True)
class Note:
    """One note of one track. Times in sixteenths from the start of the song, multiples of 0.5."""

    start_16th: float
    length_16ths: float
    midi: int = 0  # pitch; unused by drums and effects
    velocity: float = 1.0  # 0..1, one of a few levels so that hits repeat exactly
    syllable: str = ""  # voices: consonant and vowel ("na", "ya", "oh"); "" slides on with the vowel before


@dataclass(frozen=True)
class Chord:
    """A chord: root pitch class 0..11 (C = 0) and quality."""

    root: int
    quality: str  # "maj", "min", "maj7", "min7", "7", "sus4", "dim", "add9"


@dataclass(frozen=True)
class Section:
    """A part of the form: kind is "intro", "verse", "prechorus", "chorus", "postchorus", "bridge", "dance", "outro"."""

    kind: str
    first_bar: int
    n_bars: int
    tonic: int  # pitch class 0..11 of the key here (a last chorus may be transposed)
    mode: str  # "major" or "minor"


@dataclass(frozen=True)
class Score:
    """A whole song, everything that its rendering depends on."""

    number: int
    palette: str  # which group plays: chooses kit, patches and singers
    sections: tuple[Section, ...]
    chords: tuple[tuple[Chord, Chord], ...]  # per bar: first half, second half
    tracks: dict[str, tuple[Note, ...]]  # keys from TRACKS

    @property
    def n_bars(self) -> int:
        """Length of the song in bars."""
        return len(self.chords)
