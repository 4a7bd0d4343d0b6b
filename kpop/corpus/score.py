"""A song as notes: tracks, sections and chords on a grid of sixteenths."""

from dataclasses import dataclass

from kpop.constants import HOP_LENGTH, SIXTEENTH_SAMPLES, SIXTEENTHS_PER_BAR, TEMPO_BPM

DRUM_TRACKS = ("kick", "snare", "clap", "hat", "open_hat", "crash")
VOICE_TRACKS = ("lead", "harmony", "harmony2", "adlib", "chop", "shout", "rap")
TRACKS = (*DRUM_TRACKS, "bass", "pad", "pluck", "stab", *VOICE_TRACKS, "riser", "impact")
KINDS = ("intro", "verse", "prechorus", "chorus", "postchorus", "bridge", "dance", "outro")  # of sections
# Groups: each has its own kit, patches, singers, keys, tempos and patterns.
PALETTES = ("neon", "velvet", "bubblegum", "noir", "citrus", "aurora")


@dataclass(frozen=True)
class Note:
    """One note of one track. Times in sixteenths from the start of the song, multiples of 0.5."""

    start_16th: float
    length_16ths: float
    midi: int = 0  # pitch; unused by drums and effects
    velocity: float = 1.0  # 0..1, one of a few levels so that hits repeat exactly
    syllable: str = ""  # voices: one of lyrics.syllables(); "" continues the vowel before

    @property
    def end_16th(self) -> float:
        """Where the note is released."""
        return self.start_16th + self.length_16ths


@dataclass(frozen=True)
class Chord:
    """A chord: root pitch class 0..11 (C = 0) and quality, a key of theory.QUALITIES."""

    root: int
    quality: str


Chords = tuple[tuple[Chord, Chord], ...]  # per bar: first half, second half


@dataclass(frozen=True)
class Section:
    """A section of the form. kind: one of KINDS; tonic: pitch class 0..11; mode: "major" or "minor"."""

    kind: str
    first_bar: int
    n_bars: int
    tonic: int
    mode: str


@dataclass(frozen=True)
class Passage(Section):
    """A section with its chords and its position in the form."""

    chords: Chords
    occurrence: int  # how many sections of its kind came before
    is_last_chorus: bool
    leads_to_chorus: bool
    semitones_up: int  # transposition against the first section


@dataclass(frozen=True)
class Score:
    """A whole song, everything that its rendering depends on. palette: one of PALETTES; tracks: keys from TRACKS.

    hop: samples between STFT frames at which a sixteenth is a whole number of frames, as at HOP_LENGTH and TEMPO_BPM.
    """

    number: int
    palette: str
    hop: int
    sections: tuple[Section, ...]
    chords: Chords
    tracks: dict[str, tuple[Note, ...]]

    @property
    def n_bars(self) -> int:
        """Length of the song in bars."""
        return len(self.chords)

    @property
    def tempo_bpm(self) -> float:
        """Beats per minute."""
        return TEMPO_BPM * HOP_LENGTH / self.hop

    @property
    def sixteenth_samples(self) -> int:
        """Samples in a sixteenth."""
        return SIXTEENTH_SAMPLES // HOP_LENGTH * self.hop

    @property
    def bar_samples(self) -> int:
        """Samples in a bar."""
        return SIXTEENTHS_PER_BAR * self.sixteenth_samples
