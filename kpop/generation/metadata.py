"""A song's title and all its settings inside its WAV file, and out of it again.

They stand in a LIST chunk of kind INFO behind the sound, as the RIFF specification has it (Microsoft and IBM,
"Multimedia Programming Interface and Data Specifications 1.0", 1991), which players read and everything else skips.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields

import numpy as np

from kpop.audio.io import wav_bytes
from kpop.errors import KpopError
from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_title, without_folders
from kpop.settings import Settings

MADE_BY = "Twice4Life"
VERSION = 1
RIFF_HEADER_BYTES, CHUNK_HEADER_BYTES = 12, 8
MOST_CHUNKS = 64  # of a file, or of its list: a stranger's file may claim millions
LONGEST_LIST_BYTES = 1 << 14
LONGEST_NAME = 255


def stamp(settings: Settings) -> dict[str, str]:
    """What players show of the song, and as its comment all that makes it again. For `wav_bytes`."""
    plain = without_folders(settings)
    own_clip = plain.clip not in {clip.name for clip in built_in_clips()}
    comment = {"made_by": MADE_BY, "version": VERSION, **asdict(plain), "own_clip": own_clip}
    return {"INAM": song_title(settings), "IART": MADE_BY, "ISFT": MADE_BY, "ICMT": json.dumps(comment)}


def song_wav(waveform: np.ndarray, settings: Settings) -> bytes:
    """The WAV file of a song, (n_samples,) within -1..1, with its title and settings inside."""
    return wav_bytes(waveform, stamp(settings))


def read_metadata(content: bytes) -> Settings | None:
    """The settings inside a WAV file of ours; None for any other file and for a stamp that is damaged or tampered with.

    Looks at the heads of the chunks alone, never at the sound. A clip of the listener's own is in there by name only.
    """
    if content[:4] != b"RIFF" or content[8:RIFF_HEADER_BYTES] != b"WAVE":
        return None
    lists = (body for name, body in _chunks(content, RIFF_HEADER_BYTES) if name == b"LIST" and body[:4] == b"INFO")
    for body in lists:
        for name, text in _chunks(body, 4):
            if name == b"ICMT" and (settings := _settings(text.split(b"\0")[0])):
                return settings
    return None


def _chunks(content: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk, as far as they are whole; bodies too long to be a list of ours come empty."""
    for _ in range(MOST_CHUNKS):
        body = start + CHUNK_HEADER_BYTES
        if body > len(content):
            return
        n_bytes = int.from_bytes(content[start + 4 : body], "little")
        yield content[start : start + 4], content[body : body + n_bytes] if n_bytes <= LONGEST_LIST_BYTES else b""
        start = body + n_bytes + n_bytes % 2  # chunks begin at even places


def _settings(comment: bytes) -> Settings | None:
    """Strict about types: what is no number, or a number that is none, is no setting."""
    try:
        said = json.loads(comment)
        if said["made_by"] != MADE_BY or said["version"] != VERSION:
            return None
        return Settings(**{field.name: _value(said[field.name], field.type) for field in fields(Settings)})
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, KpopError):
        return None


def _value(value: object, kind: type) -> float | int | str:
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is not kind or (kind is str and len(value) > LONGEST_NAME):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
