"""The seed clips to choose from, each by its cover."""

from functools import lru_cache

import streamlit as st

from kpop.generation import clips
from kpop.generation.settings import Settings
from kpop.page.looks import style
from kpop.show.covers import cover_uri

HELP = "The first seconds of your song. The machine goes on from there."


def choose_clip() -> str:
    """Name of the built-in clip that the listener has chosen; the usual one where there is none to choose from.

    It is a radio that goes by the key "clip": session state holds the clip's name, and the address its title, as
    Streamlit binds what is shown and not the value (?clip=Neon+Rain).
    """
    offered = clips.built_in_clips()
    if not offered:
        return Settings().clip
    titles = {clip.name: clip.title for clip in offered}
    if st.session_state.get("clip") not in titles:
        st.session_state["clip"] = offered[0].name  # such as after a song from a file of the listener's own
    st.html(_looks(offered))
    chosen = st.radio(
        "Seed clip",
        titles,
        index=None,  # session state says what is chosen; a clip that was the default would get lost from the address
        format_func=titles.get,
        captions=[f"{clip.title} – {clip.story}" for clip in offered],
        key="clip",
        help=HELP,
        horizontal=True,
        width="stretch",
        on_change="ignore",
        bind="query-params",
    )
    return chosen or offered[0].name  # an address may say "?clip="


@lru_cache(maxsize=1)
def _looks(offered: tuple[clips.ClipInfo, ...]) -> str:
    """The style of the cards, and the cover of each."""
    cover = '.st-key-clip [role="radiogroup"] > :nth-child({}) label::before {{ background-image: url("{}"); }}'
    covers = "\n".join(cover.format(i + 1, cover_uri(clip)) for i, clip in enumerate(offered))
    return f"{style('clip_picker').removesuffix('</style>')}\n{covers}</style>"
