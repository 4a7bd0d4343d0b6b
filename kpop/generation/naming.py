"""File names that tell what a song is called."""

import re

from kpop.generation.settings import Settings
from kpop.generation.titles import song_title

LONGEST_NAME = 80


def song_file_name(settings: Settings) -> str:
    """For example "twice4life-neon-butterfly.wav"; safe on every file system."""
    spoken = song_title(settings).lower().replace("'", "")
    plain = re.sub(r"[^a-z0-9]+", "-", spoken).strip("-")
    return f"twice4life-{plain[:LONGEST_NAME]}.wav"
