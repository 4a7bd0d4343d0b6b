"""File names that tell how a song was made."""

import re
from pathlib import Path

from kpop.generation.settings import Settings


def song_file_name(settings: Settings) -> str:
    """For example "twice4life-first-snow-r0.30-t1.00-30s-7.wav"; safe on every file system."""
    model = _plain(Path(settings.model).stem)
    clip = _plain(Path(settings.clip).stem)
    knobs = f"r{settings.randomness:.2f}-t{settings.temperature:.2f}-{settings.length_s:g}s-{settings.seed_number}"
    return f"{model}-{clip}-{knobs}.wav"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "own"
