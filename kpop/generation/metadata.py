"""Title and settings of a song inside its WAV file, as an INFO list: what players show, and JSON in the comment.

INFO lists: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0", 1991.
"""

import io
import json
from dataclasses import asdict, fields

from kpop.errors import KpopError
from kpop.generation.clips import is_built_in
from kpop.generation.titles import song_title, without_folders
from kpop.settings import Settings

MADE_BY = "Twice4Life"
VERSION = 1
LONGEST_NAME = 255


def song_tags(settings: Settings) -> dict[str, str]:
    """Tags for `wav_header`; the comment holds every setting."""
    plain = without_folders(settings)
    comment = {"made_by": MADE_BY, "version": VERSION, **asdict(plain), "own_clip": not is_built_in(plain.clip)}
    return {"INAM": song_title(settings), "IART": MADE_BY, "ISFT": MADE_BY, "ICMT": json.dumps(comment)}


def read_metadata(content: bytes) -> Settings | None:
    """The settings in the comment of a WAV file of ours; None for any other file and for values out of range.

    A clip that the listener brought is in there by name only.
    """
    import soundfile  # slow to import

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            comment = json.loads(file.comment)
        if comment["made_by"] != MADE_BY or comment["version"] != VERSION:
            return None
        return Settings(**{field.name: _checked(comment[field.name], field.type) for field in fields(Settings)})
    except (soundfile.SoundFileError, ValueError, TypeError, KeyError, OverflowError, RecursionError, KpopError):
        return None


def _checked(value: object, kind: type) -> float | int | str:
    """Strict about types: `True` is no number and "30" is no length."""
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is str and len(value) > LONGEST_NAME):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
