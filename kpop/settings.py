"""What is requested of a song, validated in one place, and the song that results."""

from dataclasses import dataclass, field

import numpy as np

from kpop.constants import BEATS_PER_BAR, HOP_LENGTH, TEMPO_BPM
from kpop.errors import KpopError

LENGTH_RANGE_S = (4.0, 300.0)
TEMPERATURE_RANGE = (0.0, 2.0)
RANDOMNESS_RANGE = (0.0, 1.0)
TEMPO_RANGE_BPM = (60.0, 200.0)  # of a clip, where a listener corrects it


@dataclass(frozen=True)
class Settings:
    """Everything that determines a song. Raises KpopError for a value out of range."""

    randomness: float = 0.3  # share of the seed that is random, 0 (the clip as it is) to 1 (nothing of it remains)
    temperature: float = 1.0  # probabilities are raised to 1/temperature; 0 takes the most likely token, 2 is wild
    length_s: float = 30.0  # of the whole song, seed included, 4 to 300
    seed_number: int = 7  # of the random generators; same settings and number, same samples
    clip: str = "first-snow"  # name of a built-in seed clip, or of the file that was given
    model: str = "twice4life"  # name of a checkpoint in models/

    def __post_init__(self) -> None:
        for what, value, (low, high) in (
            ("Seed randomness", self.randomness, RANDOMNESS_RANGE),
            ("Temperature", self.temperature, TEMPERATURE_RANGE),
            ("Length in seconds", self.length_s, LENGTH_RANGE_S),
            ("Seed number", self.seed_number, (0, 2**32 - 1)),
        ):
            if not low <= value <= high:  # also catches NaN
                wrong = f"{what} must be between {low:g} and {high:g}, not {value:g}"
                raise KpopError(f"{wrong}: choose a value in that range.")


@dataclass(frozen=True)
class Beat:
    """A song's beat grid: beats at first_downbeat_s + n * beat_s, n from 0 on; every beats_per_bar-th is a downbeat."""

    first_downbeat_s: float
    beat_s: float
    beats_per_bar: int

    @property
    def tempo_bpm(self) -> float:
        """Beats a minute."""
        return 60 / self.beat_s


GRID_BEAT = Beat(0.0, 60 / TEMPO_BPM, BEATS_PER_BAR)


@dataclass(frozen=True)
class GeneratedSong:
    """A finished song."""

    waveform: np.ndarray  # (n_samples,) float32, 16 kHz mono, about -14 LUFS, true peak below -1 dBFS
    log_mel_db: np.ndarray  # (n_frames, n_mels) float32, dB relative to the loudest cell
    seed_end_s: float  # where the seed ends and generation begins
    settings: Settings  # what it was generated with
    seconds_taken: dict[str, float] = field(default_factory=dict)  # wall clock by stage; sampler passes are shared
    taken_s: float = 0.0  # wall clock from start to end; the stages overlap
    beat: Beat = GRID_BEAT
    hop: int = HOP_LENGTH  # samples between STFT frames
    sections: np.ndarray = field(default_factory=lambda: np.zeros(0, int))  # (n_steps,) section labels, 0 unknown
