"""The earlier songs of this visit, to be heard again."""

import html
from datetime import timedelta

import streamlit as st

from kpop.ui.assets import style
from kpop.ui.requests import play_again
from kpop.ui.session_state import Entry, History

EMPTY = "Nothing yet. Your latest songs wait here until you leave, so roll the dice without fear."
CLIP_GONE = " · your file is no longer kept here"


def show_history(history: History) -> None:
    """The list, folded up at first. A press sets the wishes, and the song is made again."""
    st.html(style("sharing"))
    with st.expander("Earlier songs", icon=":material/history:"), st.container(key="earlier"):
        if not len(history):
            st.caption(EMPTY)
        for entry in history:
            _show_entry(entry)


def _show_entry(entry: Entry) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(f'<p class="earlier"><b>{html.escape(entry.title)}</b><span>{html.escape(_facts(entry))}</span></p>')
        st.button(
            f"Play again *{entry.title}*",  # the page's looks leave the title to those who hear the page
            key=f"again-{entry.serial}",
            icon=":material/replay:",
            disabled=not entry.playable,
            on_click=play_again,
            args=(entry.settings, entry.own_clip),
        )


def _facts(entry: Entry) -> str:
    made = entry.settings
    return (
        f"{_clock(entry)} · {entry.clip_title} · randomness {made.randomness:.2f}"
        f" · temperature {made.temperature:.2f} · {entry.length_s:.0f} s{'' if entry.playable else CLIP_GONE}"
    )


def _clock(entry: Entry) -> str:
    """When the song was made, by the listener's own clock. The browser counts minutes from there to UTC."""
    return f"{entry.when - timedelta(minutes=st.context.timezone_offset or 0):%H:%M}"
