"""Songs of the user's own: any rate, channels, tempo and format; what can't be used is named and left out."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from kpop.audio.files import read_audio
from kpop.audio.loudness import integrated_loudness, normalise
from kpop.errors import KpopError
from kpop.grid import SAMPLE_RATE_HZ
from kpop.training.beats import metronome
from kpop.training.songs import Song, cached_song, no_labels, to_int16

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
SHORTEST_S = 15.0
SILENCE_LUFS = -60.0


def folder_songs(folder: Path, cache: Path, report: Callable[[str], None]) -> list[Song]:
    """All usable songs in the folder and the folders in it; each one left out is reported with the reason.

    Raises KpopError when the folder is missing or holds no usable song.
    """
    files = sound_files(folder)
    songs = list(usable_songs(files, folder, cache, report))
    if not songs:
        raise KpopError(f"None of the {len(files)} files in {folder} can be used: see the reasons above.")
    return songs


def sound_files(folder: Path) -> list[Path]:
    """The sound files in the folder and the folders in it. Raises KpopError when there are none."""
    if not folder.is_dir():
        raise KpopError(f"There is no folder {folder}: give the folder that your songs are in.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise KpopError(f"There are no songs in {folder}: put wav, flac, ogg or mp3 files there.")
    return files


def usable_songs(files: list[Path], folder: Path, cache: Path, report: Callable[[str], None]) -> Iterator[Song]:
    """The songs in these files of the folder; each one left out is reported with the reason."""
    heard = set()
    for path in files:
        name = str(path.relative_to(folder))
        try:
            key = content_key(path)
            if key in heard:
                raise KpopError("it is a copy of another one.")
            heard.add(key)
            song = cached_song(cache / f"{key}.npz", lambda path=path, name=name: folder_song(path, name))
        except (KpopError, OSError) as error:
            report(f"left out {name}: {error}")
        else:
            report(f"ready: {name} ({len(song.waveform) / SAMPLE_RATE_HZ:.0f} s)")
            yield song


def folder_song(path: Path, name: str) -> Song:
    """One song on the grid. Raises KpopError when it is broken, silent or too short."""
    waveform = read_audio(path)
    if len(waveform) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise KpopError(f"it lasts {len(waveform) / SAMPLE_RATE_HZ:.1f} s, training needs {SHORTEST_S:g} s or more.")
    if integrated_loudness(waveform) < SILENCE_LUFS:
        raise KpopError("it is silent.")
    waveform = normalise(waveform)
    slots, _ = metronome(waveform)
    return Song(name, to_int16(waveform), slots, no_labels(len(slots)))


def content_key(path: Path) -> str:
    """A name for the cache that changes with the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]
