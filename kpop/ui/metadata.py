"""A WAV file of ours brings back the settings that it carries."""

from dataclasses import replace
from pathlib import Path

import streamlit as st

from kpop.generation.clips import built_in_clips
from kpop.generation.metadata import read_metadata
from kpop.generation.titles import song_title
from kpop.model_info import available_models
from kpop.settings import Settings
from kpop.ui.requests import set_wishes

RESTORED = "restored"


def restore(content: bytes) -> bool:
    """Sets the wishes as they were for the song in a WAV of ours; False, and nothing done, for any other file.

    For callbacks: before the widgets of a run are made. Such a file is not itself meant as a seed. What there is to
    say about it waits for `take_restored()`.
    """
    settings = read_metadata(content)
    if not settings:
        return False
    possible, missing = _possible_here(settings)
    set_wishes(possible)
    st.session_state[RESTORED] = " ".join(
        [f"Restored: {song_title(settings)}.", *missing, "Press Generate to hear it."]
    )
    return True


def take_restored() -> str | None:
    """What to say about the file that was just restored, once; Markdown in it has been defused."""
    return st.session_state.pop(RESTORED, None)


def _possible_here(settings: Settings) -> tuple[Settings, list[str]]:
    """The settings with what this installation has, and a sentence about each thing that it has not.

    A file may come from anybody: no name out of it is ever used as a path.
    """
    missing = []
    if settings.clip not in {clip.name for clip in built_in_clips()}:
        missing.append(f"It began with a file of yours called {_harmless(settings.clip)}: drop that in too.")
        settings = replace(settings, clip=st.session_state.get("clip") or Settings().clip)
    if settings.model not in available_models():
        missing.append(f"Its voice, {_harmless(settings.model)}, is not here, so another will sing.")
        settings = replace(settings, model=st.session_state.get("model") or Settings().model)
    return settings, missing


def _harmless(name: str) -> str:
    """A name out of a stranger's file as plain words: no markup, no links."""
    kept = "".join(letter if letter.isalnum() or letter in " -.'" else " " for letter in Path(name).name)
    stem, dot, ending = kept.rpartition(".")
    return " ".join(f"{stem.replace('.', ' ')}{dot}{ending}".split())[:60] or "something"
