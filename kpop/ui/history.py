"""The list of the session's earlier songs, each with a button that plays it again."""

import html
from datetime import timedelta
from pathlib import Path

import streamlit as st

from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_title
from kpop.ui.assets import clock
from kpop.ui.session_state import Entry, play_again

EMPTY = "Nothing yet. Your latest songs stay here until you leave."


def show_history(history: tuple[Entry, ...]) -> None:
    clips = {clip.name: clip.title for clip in built_in_clips()}
    utc_offset = timedelta(minutes=-(st.context.timezone_offset or 0))  # Streamlit's: from local time to UTC
    with st.container(key="earlier"):
        if not history:
            st.caption(EMPTY)
        for entry in history:
            song, title = entry.settings, song_title(entry.settings)
            facts = (
                f"{entry.when + utc_offset:%H:%M} · {clips.get(song.clip, Path(song.clip).stem)}"
                f" · randomness {song.randomness:.2f} · temperature {song.temperature:.2f} · {clock(song.length_s)}"
            )
            with st.container(horizontal=True, vertical_alignment="center"):
                st.html(f'<p class="earlier"><b>{html.escape(title)}</b><span>{html.escape(facts)}</span></p>')
                st.button(
                    f"Play again *{title}*",  # the style sheet hides the title, which only screen readers need
                    key=f"again-{id(entry)}",
                    icon=":material/replay:",
                    on_click=play_again,
                    args=(song, entry.own_clip),
                )
