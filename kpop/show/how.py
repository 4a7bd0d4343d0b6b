"""The path of sound, and what was measured along it in one song."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kpop.generation.checkpoints import checkpoint_path
from kpop.generation.settings import GeneratedSong, Settings
from kpop.grid import FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEPS_PER_BEAT, STEPS_PER_S
from kpop.lstm.config import LstmConfig


@dataclass(frozen=True)
class SongFigures:
    """What is worth telling of how a song was made, without its sound.

    length_s: of the song; seed_end_s: where its seed ends; tempo_bpm: beats a minute
    step_s: how long each step of the LSTM sounds; n_steps: of them, the seed's n_seed_steps included
    taken_s: from the beginning to the finished song. stages_s: how long each kind of work took (keys as in
        GeneratedSong.seconds_taken); they overlap, so their sum may be more than taken_s
    """

    settings: Settings
    length_s: float
    seed_end_s: float
    tempo_bpm: float
    step_s: float
    n_steps: int
    n_seed_steps: int
    taken_s: float
    stages_s: dict[str, float]

    @property
    def n_own_steps(self) -> int:
        """Steps that the machine has dreamt up alone."""
        return self.n_steps - self.n_seed_steps

    @property
    def n_frames(self) -> int:
        """Frames of spectrum that its sound was made from."""
        return self.n_steps * FRAMES_PER_STEP

    @property
    def steps_per_s(self) -> float | None:
        """Steps of the LSTM in a second of its work; None if that was not timed."""
        dream_s = self.stages_s.get("dream", 0.0)
        return self.n_steps / dream_s if dream_s > 0 else None

    @property
    def times_real_time(self) -> float | None:
        """How many times faster than it plays the song was made; None if that was not timed."""
        return self.length_s / self.taken_s if self.taken_s > 0 else None


def figures_of(song: GeneratedSong) -> SongFigures:
    """What was measured while the song was made."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    step_s = song.beat.beat_s / STEPS_PER_BEAT * metronome_rate(song.settings.model)
    return SongFigures(
        settings=song.settings,
        length_s=length_s,
        seed_end_s=song.seed_end_s,
        tempo_bpm=song.beat.tempo_bpm,
        step_s=step_s,
        n_steps=steps_of(length_s, step_s),
        n_seed_steps=steps_of(song.seed_end_s, step_s),
        taken_s=song.taken_s,
        stages_s=dict(song.seconds_taken),
    )


def steps_of(length_s: float, step_s: float = 1 / STEPS_PER_S) -> int:
    """Steps of the LSTM that so much of a song takes; one that has begun counts."""
    return math.ceil(length_s / step_s - 1e-6)


def shape_of(model: str) -> LstmConfig | None:
    """The shape of a voice's LSTM; None where that cannot be read."""
    try:
        return LstmConfig(**_told(model)["lstm"])
    except (KeyError, TypeError):
        return None


def metronome_rate(model: str) -> float:
    """Slots of the metronome a step of the LSTM, in the tempo that the voice was trained at."""
    return _told(model).get("info", {}).get("metronome_rate", 1.0)


def _told(model: str) -> dict[str, dict]:
    """What a checkpoint says of itself, from its header alone; nothing where there is no readable one."""
    path = checkpoint_path(model)
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=16)
def _read(path: Path, _changed_ns: int) -> dict[str, dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        return {key: json.loads(metadata[key]) for key in ("lstm", "info") if key in metadata}
    except (SafetensorError, OSError, ValueError):
        return {}
