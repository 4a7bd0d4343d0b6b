"""Seed clips: a few seconds of music that a song grows from, built in or of the listener's own."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kpop.audio.io import read_audio
from kpop.constants import BAR_SAMPLES, SIXTEENTH_SAMPLES, STEPS_PER_BAR
from kpop.errors import KpopError
from kpop.model_info import MODELS_DIR

CLIPS_DIR = MODELS_DIR / "clips"
SEED_BARS = 4
SEED_STEPS = SEED_BARS * STEPS_PER_BAR
CLIP_SAMPLES = SEED_BARS * BAR_SAMPLES + SIXTEENTH_SAMPLES * 4  # and a beat more: what the end of the seed leads to
LONGEST_FILE_S = 60.0  # more of a file than this is never heard as a seed, so it is not read


@dataclass(frozen=True)
class ClipInfo:
    """A built-in clip as a listener sees it: name for the command line, title, and half a sentence about it."""

    name: str
    title: str
    story: str


@dataclass(frozen=True)
class SeedClip:
    """Music to start from.

    waveform: (n_samples,) float32, 16 kHz, -14 LUFS, at most four bars and a beat long
    first_slot: metronome position of its first step
    labels: (n_steps, len(LABEL_SIZES)) uint8 classes of section, key, chord and tune, or None where they are not known
    tempo_bpm: the song's, too; None for that of the model
    """

    name: str
    title: str
    waveform: np.ndarray
    first_slot: int = 0
    labels: np.ndarray | None = None
    tempo_bpm: float | None = None


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, dict]:
    listing = CLIPS_DIR / "clips.json"
    if not listing.is_file():
        return {}
    try:
        return {entry["name"]: entry for entry in json.loads(listing.read_text(encoding="utf-8"))}
    except (ValueError, KeyError, TypeError):
        return {}  # damaged: a listener's own file is still welcome


def built_in_clips() -> tuple[ClipInfo, ...]:
    """What there is to choose from; all from songs that no model was trained on."""
    return tuple(ClipInfo(entry["name"], entry["title"], entry["story"]) for entry in _catalogue().values())


def built_in_clip(name: str) -> SeedClip:
    """A built-in clip, four bars and a beat long. Raises KpopError when there is none of that name."""
    entry = _catalogue().get(name)
    if entry is None:
        raise KpopError(
            f"There is no seed clip called {name}: choose one of {', '.join(_catalogue())} or a sound file."
        )
    waveform = read_audio(CLIPS_DIR / f"{name}.flac")
    return SeedClip(name, entry["title"], waveform, 0, _unpacked(entry["labels"]))


def packed(labels: np.ndarray) -> list[list[int]]:
    """Labels (n_steps, n_labels) as runs for JSON: each [length, classes ...]."""
    edges = np.flatnonzero(np.any(np.diff(labels, axis=0), axis=1)) + 1
    starts, stops = [0, *edges], [*edges, len(labels)]
    return [[int(stop - start), *labels[start].tolist()] for start, stop in zip(starts, stops, strict=True)]


def _unpacked(runs: list[list[int]]) -> np.ndarray:
    return np.repeat(np.array([run[1:] for run in runs], np.uint8), [run[0] for run in runs], axis=0)


def clip_from_file(source: BinaryIO | str | Path, name: str) -> SeedClip:
    """The beginning of any sound file, from its first sound on, at -14 LUFS, with its own tempo where a beat is clear.

    Raises KpopError when the file is broken, silent, or holds less than two seconds of sound.
    """
    # here, because it brings scipy, and the page that lists the clips must not wait for it
    from kpop.generation.recording import heard

    waveform, first_slot, tempo_bpm = heard(read_audio(source, max_s=LONGEST_FILE_S), name)
    return SeedClip(name, Path(name).stem, waveform, first_slot, None, tempo_bpm)


def find_clip(name: str) -> SeedClip:
    """A built-in clip by its name, or else the sound file at that path. Raises KpopError when it is neither."""
    return clip_from_file(name, Path(name).name) if Path(name).is_file() else built_in_clip(name)
