"""Seed clips: a few seconds of music that a song continues, built in or from the listener's own file."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kpop.audio.io import read_audio
from kpop.constants import HOP_LENGTH, TEMPO_BPM
from kpop.errors import KpopError
from kpop.model_info import MODELS_DIR

CLIPS_DIR = MODELS_DIR / "clips"
LONGEST_FILE_S = 60.0  # of a file, more is never read


@dataclass(frozen=True)
class ClipInfo:
    """A built-in clip's name (for the command line), title, and half a sentence about it."""

    name: str
    title: str
    story: str


@dataclass(frozen=True)
class SeedClip:
    """Music to start a song from."""

    name: str
    title: str
    waveform: np.ndarray  # float32 (n_samples,), 16 kHz, -14 LUFS, at most CLIP_STEPS at its tempo
    metre_position: int = 0  # of its first step
    labels: np.ndarray | None = None  # uint8 (n_steps, 5), of step_labels(); None if unknown
    tempo_bpm: float | None = None  # of the clip and so of the song; None for the model's


@cache
def _catalogue() -> dict[str, dict]:
    try:
        entries = json.loads((CLIPS_DIR / "clips.json").read_text(encoding="utf-8"))
        return {entry["name"]: entry for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # missing or damaged: songs can still be made from files


def built_in_clips() -> tuple[ClipInfo, ...]:
    """The built-in clips, all from songs that no model was trained on."""
    return tuple(ClipInfo(entry["name"], entry["title"], entry["story"]) for entry in _catalogue().values())


def is_built_in(name: str) -> bool:
    """Whether a clip of this name is built in; a listener's own file has a suffix and so another name."""
    return name in _catalogue()


def built_in_clip(name: str) -> SeedClip:
    """A built-in clip of CLIP_STEPS steps. Raises KpopError when there is none of that name."""
    if not is_built_in(name):
        raise KpopError(f"There is no seed clip {name}: choose one of {', '.join(_catalogue())} or a sound file.")
    entry = _catalogue()[name]
    runs = np.array(entry["labels"])  # rows of [length, classes ...]
    labels = np.repeat(runs[:, 1:].astype(np.uint8), runs[:, 0], axis=0)
    tempo_bpm = TEMPO_BPM * HOP_LENGTH / entry["hop"]
    return SeedClip(name, entry["title"], read_audio(clip_path(name)), labels=labels, tempo_bpm=tempo_bpm)


def clip_path(name: str) -> Path:
    """The sound file of a built-in clip, existing or not."""
    return CLIPS_DIR / f"{name}.flac"


def clip_from_file(source: BinaryIO | str | Path, name: str, tempo_bpm: float | None = None) -> SeedClip:
    """The beginning of a sound file, from its first sound on, at -14 LUFS, with its tempo where there is a clear beat.

    tempo_bpm: within 3 %, where it is known. Raises KpopError when the file is broken, silent, or holds less than two
    seconds of sound.
    """
    return clip_from_waveform(read_audio(source, max_s=LONGEST_FILE_S), name, tempo_bpm)


def clip_from_waveform(waveform: np.ndarray, name: str, tempo_bpm: float | None = None) -> SeedClip:
    """As clip_from_file(), of a waveform float32 (n_samples,) at 16 kHz."""
    from kpop.generation.recording import prepare_recording  # imports scipy, which the page must not wait for

    clip, metre_position, tempo_bpm = prepare_recording(waveform, name, tempo_bpm)
    return SeedClip(name, Path(name).stem, clip, metre_position, None, tempo_bpm)


def find_clip(name: str, tempo_bpm: float | None = None) -> SeedClip:
    """The sound file at that path, or else a built-in clip by its name or title. KpopError when it is neither.

    tempo_bpm: of a sound file, as for clip_from_file().
    """
    if Path(name).is_file():
        return clip_from_file(name, Path(name).name, tempo_bpm)
    return built_in_clip(next((clip.name for clip in built_in_clips() if clip.title.lower() == name.lower()), name))
