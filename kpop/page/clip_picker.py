"""The seed clips to choose from."""

import streamlit as st

from kpop.generation.clips import built_in_clips
from kpop.generation.settings import Settings


def choose_clip() -> str:
    """Name of the built-in clip that the listener has chosen."""
    labels = {clip.name: f"{clip.title} – {clip.story}" for clip in built_in_clips()}
    help_text = "The first seconds of your song. The machine goes on from there."
    quiet = {"on_change": "ignore", "bind": "query-params"}
    return (
        st.selectbox("Seed clip", labels, format_func=labels.get, key="clip", help=help_text, **quiet)
        or Settings().clip
    )
