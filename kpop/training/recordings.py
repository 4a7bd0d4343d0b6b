"""A folder of recordings as training songs, each on a time grid of its own, on which its bars are whole steps.

Frames are taken where the song's own beats are, so that a drifting tempo is followed without any change of its sound.
"""

import hashlib
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

from kpop.audio.beat import NO_BEAT, BeatTrack, track_beats
from kpop.audio.io import read_audio
from kpop.audio.loudness import integrated_loudness, normalise
from kpop.constants import (
    FRAMES_PER_STEP,
    HOP_LENGTH,
    LABEL_SIZES,
    N_METRE_POSITIONS,
    SAMPLE_RATE_HZ,
    STEPS_PER_BEAT,
    TEMPO_BPM,
)
from kpop.errors import KpopError
from kpop.settings import TEMPO_RANGE_BPM
from kpop.training.data import Songs, TrainingSong, in_processes, to_int16, write_file
from kpop.training.loop import Report

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
MIN_SONG_S = 15.0
MAX_SONG_S = 3_600.0  # of a file, more is not read
SILENCE_LUFS = -60.0
SMOOTHED_BEATS = 8  # over which a drifting tempo is averaged
FRAMES_PER_BEAT = STEPS_PER_BEAT * FRAMES_PER_STEP


@dataclass(frozen=True)
class Recording:
    """A usable file. waveform: int16 (n_samples,), 16 kHz, at the loudness of all songs."""

    name: str
    key: str  # identifies its content
    waveform: np.ndarray
    beats: BeatTrack

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / SAMPLE_RATE_HZ

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.length_s), 60)
        drift = "" if self.beats.is_steady else ", drifting"
        return f"{self.name} ({minutes}:{seconds:02d}, {self.beats.tempo_bpm:.1f} BPM{drift})"


def sound_files(folder: Path) -> list[Path]:
    """The sound files in the folder and its subfolders. Raises KpopError when there are none."""
    if not folder.is_dir():
        raise KpopError(f"There is no folder {folder}: give the folder that your songs are in.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise KpopError(f"There are no songs in {folder}: put wav, flac, ogg or mp3 files there.")
    return files


def folder_songs(folder: Path, cache: Path, n_jobs: int, report: Report, files: list[Path] | None = None) -> Songs:
    """All usable songs in the folder and its subfolders; each is reported, and each left out with the reason.

    files: some of the folder's sound_files(), by default all. Raises KpopError when the folder has none.
    """
    files = sound_files(folder) if files is None else files
    found: dict[str, Recording] = {}
    for path, read in zip(files, in_processes(partial(_read, cache), files, n_jobs, "Reading songs"), strict=True):
        name = str(path.relative_to(folder))
        if isinstance(read, str):
            report(f"left out {name}: {read}")
        elif read[0] in found:
            report(f"left out {name}: it is a copy of {found[read[0]].name}.")
        else:
            key, beats = read
            found[key] = Recording(name, key, np.load(cache / f"{key}.npy", mmap_mode="r"), beats)
    songs, tempi_bpm = [], [recording.beats.tempo_bpm for recording in found.values()]
    for recording in found.values():
        recording = in_octave(recording, usual_tempo(tempi_bpm))
        report(f"ready: {recording}")
        songs.append(on_grid(recording))
    return songs


def _read(cache: Path, path: Path) -> tuple[str, BeatTrack] | str:
    """(key, beats) of a file, whose waveform is then at key.npy in the cache; or why it cannot be used."""
    try:
        key = content_key(path)
        known = cache / f"{key}.npz", cache / f"{key}.npy"
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(known[0]) as file:
            np.load(known[1], mmap_mode="r")
            return key, BeatTrack(file["beats_s"], float(file["tempo_bpm"]), bool(file["is_steady"]))
        waveform = read_audio(path, max_s=MAX_SONG_S)
        length_s = len(waveform) / SAMPLE_RATE_HZ
        if length_s < MIN_SONG_S:
            raise KpopError(f"it lasts {length_s:.1f} s, training needs {MIN_SONG_S:g} s or more.")
        if integrated_loudness(waveform) < SILENCE_LUFS:
            raise KpopError("it is silent.")
        waveform = normalise(waveform)
        beats = track_beats(waveform)
        if beats is NO_BEAT:
            raise KpopError("no clear beat is heard in it.")
        write_file(known[1], partial(np.save, arr=to_int16(waveform, 1)))
        write_file(known[0], partial(np.savez, **vars(beats)))
        return key, beats
    except (KpopError, OSError) as error:
        return f"{error}"


def content_key(path: Path) -> str:
    """Identifies a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


def usual_tempo(tempi_bpm: list[float]) -> float:
    """The middle of tempi whose octaves are unknown: their circular mean, an octave being the whole circle."""
    octaves = np.log2(tempi_bpm)
    middle = np.angle(np.exp(2j * np.pi * octaves).mean()) / (2 * np.pi)
    return float(2 ** (middle + np.round(np.median(octaves) - middle)))


def in_octave(recording: Recording, tempo_bpm: float) -> Recording:
    """The recording with half or twice its tempo if that is nearer to tempo_bpm and within TEMPO_RANGE_BPM."""
    beats, (low_bpm, high_bpm) = recording.beats, TEMPO_RANGE_BPM
    found = [factor for factor in (1, 0.5, 2) if low_bpm <= factor * beats.tempo_bpm <= high_bpm] or [1]
    factor = min(found, key=lambda factor: abs(np.log2(factor * beats.tempo_bpm / tempo_bpm)))
    n_beats = len(beats.beats_s)
    beats_s = np.interp(np.arange(0, n_beats - 1 + 1e-9, 1 / factor), np.arange(n_beats), beats.beats_s)
    return replace(recording, beats=replace(beats, beats_s=beats_s, tempo_bpm=factor * beats.tempo_bpm))


def on_grid(recording: Recording) -> TrainingSong:
    """The recording with FRAMES_PER_BEAT frames in each of its beats, from the downbeat at or before its start on."""
    beats_s, period_s = recording.beats.beats_s, 60 / recording.beats.tempo_bpm
    n_beats = np.arange(len(beats_s))
    line = np.polynomial.Polynomial.fit(n_beats, beats_s, 1)(n_beats)
    beats_s = line + uniform_filter1d(beats_s - line, SMOOTHED_BEATS, mode="nearest")
    n_more = int(np.ceil(max(recording.length_s - beats_s[-1], 0) / period_s)) + 1
    beats_s = np.concatenate([beats_s, beats_s[-1] + period_s * np.arange(1, n_more + 1)])
    end = np.interp(recording.length_s, beats_s, np.arange(len(beats_s)))
    n_steps = int(end * STEPS_PER_BEAT)
    frames = np.arange(n_steps * FRAMES_PER_STEP) / FRAMES_PER_BEAT
    centres = np.rint(np.interp(frames, np.arange(len(beats_s)), beats_s) * SAMPLE_RATE_HZ).astype(np.int32)
    return TrainingSong(
        name=recording.name,
        waveform=recording.waveform,
        metre_positions=(np.arange(n_steps) % N_METRE_POSITIONS).astype(np.int16),
        labels=np.zeros((n_steps, len(LABEL_SIZES)), np.uint8),
        hop=round(HOP_LENGTH * TEMPO_BPM / recording.beats.tempo_bpm),
        centres=centres,
        key=f"{recording.key}-{recording.beats.tempo_bpm:.0f}",
    )
