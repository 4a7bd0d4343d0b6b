"""The list of the session's earlier songs, each with a button that plays it again."""

import html
from datetime import timedelta

import streamlit as st

from kpop.ui.requests import play_again
from kpop.ui.session_state import Entry, History

EMPTY = "Nothing yet. Your latest songs wait here until you leave, so roll the dice without fear."
CLIP_GONE = " · your file is no longer kept here"


def show_history(history: History) -> None:
    with st.expander("Earlier songs", icon=":material/history:"), st.container(key="earlier"):
        if not len(history):
            st.caption(EMPTY)
        for entry in history:
            _show_entry(entry)


def _show_entry(entry: Entry) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(f'<p class="earlier"><b>{html.escape(entry.title)}</b><span>{html.escape(_facts(entry))}</span></p>')
        st.button(
            f"Play again *{entry.title}*",  # the style sheet hides the title, which only screen readers need
            key=f"again-{entry.serial}",
            icon=":material/replay:",
            disabled=not entry.playable,
            on_click=play_again,
            args=(entry.settings, entry.own_clip),
        )


def _facts(entry: Entry) -> str:
    settings = entry.settings
    time = entry.when - timedelta(minutes=st.context.timezone_offset or 0)  # offset: minutes from local time to UTC
    return (
        f"{time:%H:%M} · {entry.clip_title} · randomness {settings.randomness:.2f}"
        f" · temperature {settings.temperature:.2f} · {settings.length_s:.0f} s{'' if entry.playable else CLIP_GONE}"
    )
