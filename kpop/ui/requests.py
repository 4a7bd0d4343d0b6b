"""Requests that the page makes by itself: for callbacks, before the widgets of a run are created."""

from dataclasses import asdict

import streamlit as st

from kpop.generation.clips import SeedClip
from kpop.settings import Settings
from kpop.ui.session_state import SessionState


def get_session() -> SessionState:
    """This listener's."""
    return st.session_state.setdefault("visit", SessionState())


def set_wishes(settings: Settings) -> None:
    """Puts every widget where it makes this song. For callbacks: before the widgets of a run are made."""
    for key, value in asdict(settings).items():
        st.session_state[key] = value
    st.session_state["endless"] = False


def play_again(settings: Settings, own_clip: SeedClip | None = None) -> None:
    """Sets the wishes and asks for that very song at once. own_clip: what it starts from, unless built in."""
    set_wishes(settings)
    get_session().wish(settings, own_clip, endless=False)
