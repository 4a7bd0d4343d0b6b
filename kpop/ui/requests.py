"""Requests that the page makes by itself. For callbacks: session state can be set before a run creates its widgets."""

from dataclasses import asdict

import streamlit as st

from kpop.generation.clips import SeedClip
from kpop.settings import Settings
from kpop.ui.session_state import SessionState


def get_session() -> SessionState:
    """The state of this browser session, created on its first run."""
    return st.session_state.setdefault("session", SessionState())


def set_controls(settings: Settings) -> None:
    """Sets every control to these settings, and "Endless" off."""
    for key, value in asdict(settings).items():
        st.session_state[key] = value
    st.session_state["endless"] = False


def play_again(settings: Settings, own_clip: SeedClip | None = None) -> None:
    """Sets the controls and requests this song. own_clip: replaces the built-in clip of the settings."""
    set_controls(settings)
    get_session().request(settings, own_clip)


def yield_to_rerun() -> None:
    """End this run if a newer one is due: Streamlit checks that only when it is called."""
    get_session()
