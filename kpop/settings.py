"""What a listener chooses, checked in one place, and what they get."""

from dataclasses import dataclass, field

import numpy as np

from kpop.constants import BEATS_PER_BAR, TEMPO_BPM
from kpop.errors import KpopError

LENGTH_RANGE_S = (4.0, 300.0)
TEMPERATURE_RANGE = (0.0, 2.0)
RANDOMNESS_RANGE = (0.0, 1.0)


@dataclass(frozen=True)
class Settings:
    """Everything that decides a song.

    randomness: share of the seed that is chance, 0 (the clip as it is) to 1 (nothing of it remains)
    temperature: probabilities are raised to 1/temperature; 0 takes the likeliest path, 2 is wild
    length_s: seconds of the whole song, seed included, 4 to 300
    seed_number: same settings and number, same bytes; another number, another song
    clip: name of a built-in seed clip, or of the file that was given
    model: name of a checkpoint in models/

    Raises KpopError for a value out of range.
    """

    randomness: float = 0.3
    temperature: float = 1.0
    length_s: float = 30.0
    seed_number: int = 7
    clip: str = "first-snow"
    model: str = "twice4life"

    def __post_init__(self) -> None:
        _require("Seed randomness", self.randomness, RANDOMNESS_RANGE)
        _require("Temperature", self.temperature, TEMPERATURE_RANGE)
        _require("Length in seconds", self.length_s, LENGTH_RANGE_S)
        _require("Seed number", self.seed_number, (0, 2**32 - 1))


def _require(what: str, value: float, span: tuple[float, float]) -> None:
    low, high = span
    if not low <= value <= high:  # also catches NaN
        raise KpopError(f"{what} must be between {low:g} and {high:g}, not {value:g}: choose a value in that range.")


@dataclass(frozen=True)
class Beat:
    """Where a song's bars lie: a beat at first_downbeat_s + n * beat_s, n from 0 on, a bar at every beats_per_bar-th.

    first_downbeat_s: seconds from the song's start to the first bar that begins there or later
    """

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
    """A finished song and everything about it.

    waveform: (n_samples,) float32, 16 kHz mono, -14 LUFS, true peak below -1 dBFS
    log_mel_db: (n_frames, n_mels) float32, dB relative to the song's loudest cell
    mel_centres_hz: (n_mels,) centre frequency of each mel band
    seed_end_s: where the seed ends and the machine goes on alone
    settings: what it was made with
    seconds_taken: wall-clock seconds of each stage; stages overlap, and passes are shared with other songs
    taken_s: wall-clock seconds from the beginning to the finished song
    beat: where its beats and bars lie
    """

    waveform: np.ndarray
    log_mel_db: np.ndarray
    mel_centres_hz: np.ndarray
    seed_end_s: float
    settings: Settings
    seconds_taken: dict[str, float] = field(default_factory=dict)
    taken_s: float = 0.0
    beat: Beat = GRID_BEAT
