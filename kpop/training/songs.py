"""The songs of a training run: waveform, metronome and labels, prepared once and kept in a cache folder."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpop.errors import KpopError
from kpop.grid import LABEL_SIZES, STEP_SAMPLES
from kpop.lstm.config import N_METRONOME_SLOTS

HELD_OUT_SHARE = 0.05


@dataclass(frozen=True)
class Song:
    """One song on the grid.

    name: what to call it; waveform: (n_steps * STEP_SAMPLES,) int16, 16 kHz
    slots: (n_steps,) int16, metronome position 0..255 of each step
    labels: (n_steps, len(LABEL_SIZES)) uint8, classes of section, key, chord and tune, 0 where they are not known
    """

    name: str
    waveform: np.ndarray
    slots: np.ndarray
    labels: np.ndarray

    @property
    def n_steps(self) -> int:
        """Length in code steps."""
        return len(self.slots)


def no_labels(n_steps: int) -> np.ndarray:
    """Labels (n_steps, len(LABEL_SIZES)) uint8 of a song of which nothing is known."""
    return np.zeros((n_steps, len(LABEL_SIZES)), np.uint8)


def metronome_rate(songs: Iterable[Song]) -> float:
    """Metronome slots a step, the median over songs: 1 at our corpus's tempo, 0.8 for songs at 100 BPM."""
    paths = [np.unwrap(song.slots.astype(float), period=N_METRONOME_SLOTS) for song in songs]
    return float(np.median([(path[-1] - path[0]) / max(len(path) - 1, 1) for path in paths]))


def cached_song(cache_file: Path, prepare: Callable[[], Song]) -> Song:
    """The song in cache_file, or else what prepare() makes, which is then kept there."""
    try:
        with np.load(cache_file, allow_pickle=False) as held:
            return Song(str(held["name"]), held["waveform"], held["slots"], held["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or half written: make it again
    song = prepare()
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    beside = cache_file.with_suffix(f".{os.getpid()}.npz")
    np.savez(beside, name=song.name, waveform=song.waveform, slots=song.slots, labels=song.labels)
    beside.replace(cache_file)
    return song


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """(n,) float32 in -1..1 -> whole steps of int16; the rest of the last step is dropped."""
    whole = len(waveform) // STEP_SAMPLES * STEP_SAMPLES
    return np.round(waveform[:whole] * 32767).clip(-32768, 32767).astype(np.int16)


def split(songs: Iterable[Song]) -> tuple[list[Song], list[Song]]:
    """(training songs, held-out songs): about every twentieth is held out, one at least.

    A song's name alone decides, so with more songs later none changes sides (unless so few are held out by name that
    one had to be taken). Raises KpopError when there are fewer than two.
    """
    ranked = sorted(songs, key=_lot)
    if len(ranked) < 2:
        raise KpopError("Training needs at least two usable songs, one of them to be held out: add more songs.")
    n_held_out = min(max(1, sum(_lot(song) < HELD_OUT_SHARE for song in ranked)), len(ranked) - 1)
    return ranked[n_held_out:], ranked[:n_held_out]


def songs_id(songs: list[Song], held_out: list[Song]) -> str:
    """The same for the same songs on the same sides, else another."""
    sides = [sorted(song.name for song in side) for side in (songs, held_out)]
    return hashlib.sha256(repr(sides).encode()).hexdigest()[:16]


def _lot(song: Song) -> float:
    """0..1, drawn by the song's name."""
    return int.from_bytes(hashlib.sha256(song.name.encode()).digest()[:6]) / 2**48
