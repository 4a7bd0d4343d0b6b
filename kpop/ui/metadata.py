"""Restores the settings in the metadata of one of our WAV files."""

import re
from dataclasses import replace
from pathlib import Path

import streamlit as st

from kpop.generation.clips import built_in_clips
from kpop.generation.metadata import read_metadata
from kpop.generation.titles import song_title
from kpop.model_info import available_models
from kpop.settings import Settings
from kpop.ui.requests import set_controls

RESTORED = "restored"


def restore(content: bytes) -> bool:
    """Sets the controls to the settings of the song in this file; False for a file of any other kind. For callbacks.

    What the listener should know about it is kept for `take_restored`.
    """
    settings = read_metadata(content)
    if not settings:
        return False
    sentences = [f"Restored: {song_title(settings)}."]
    if settings.clip not in {clip.name for clip in built_in_clips()}:
        sentences.append(f"It began with a file of yours called {_plain(settings.clip)}: drop that in too.")
        settings = replace(settings, clip=st.session_state.get("clip") or Settings().clip)
    if settings.model not in available_models():
        sentences.append(f"Its voice, {_plain(settings.model)}, is not here, so another will sing.")
        settings = replace(settings, model=st.session_state.get("model") or Settings().model)
    set_controls(settings)
    st.session_state[RESTORED] = " ".join([*sentences, "Press Generate to hear it."])
    return True


def take_restored() -> str | None:
    """Markdown about the file that was just restored, once."""
    return st.session_state.pop(RESTORED, None)


def _plain(name: str) -> str:
    """A name from an untrusted file, without markup, links and folders."""
    stem, dot, suffix = re.sub(r"[^\w .'-]|_", " ", Path(name).name).rpartition(".")
    return " ".join(f"{stem.replace('.', ' ')}{dot}{suffix}".split())[:60] or "something"
