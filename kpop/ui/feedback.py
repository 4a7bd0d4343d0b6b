"""Thumbs, top list, and starting settings by preference. Where feedback is off, nothing is shown or stored."""

import math
import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

import streamlit as st

from kpop.errors import KpopError
from kpop.feedback import (
    DOWN,
    KEPT,
    MADE,
    MAX_VOTES,
    N_TOP,
    UP,
    Hit,
    Preferences,
    Store,
    csv_text,
    open_store,
    start_of_today,
    starting_settings,
    vote_now,
)
from kpop.generation.clips import is_built_in
from kpop.generation.titles import song_title
from kpop.model_info import available_models
from kpop.settings import Settings
from kpop.ui.assets import escape_markdown
from kpop.ui.session_state import play_again

THUMBS = {UP: ":material/thumb_up: I like this song", DOWN: ":material/thumb_down: Not for me"}
THANKS = {UP: "Thank you! More like this.", DOWN: "Thank you. Less like this.", None: ""}
NOT_COUNTED = "Not counted: your switch is off."
TIMEOUT_S = 0.1  # for another writer: the page must not wait, and retries on its next run
CACHE_S = 5
DOUBLE_CLICK_S = 0.7
ID_BITS = 63  # of a vote: random, so that no two votes can be traced to one listener
HOW = (
    "Seed clips and settings that people like are offered more often; what few have tried still gets its chance now and"
    " then. That is called Thompson sampling."
)
WHAT_IS_KEPT = "Kept on this machine: how a song was made, and the thumb it got. Nothing about you."
EMPTY = "No favourites yet today. Make a song, give it a thumbs up, and it will be the first to stand here."


@dataclass
class SongVote:
    """This session's vote on one song. stored: the kind that is in the database, None if there is none."""

    settings: Settings
    vote_id: int
    thumb: str | None = None
    kept: bool = False
    stored: str | None = None
    pressed_at_s: float = -math.inf

    def store(self) -> None:
        """Writes a vote that has changed; if another writer is at work, the page's next run tries again."""
        kind, store = self.thumb or (KEPT if self.kept else MADE), open_store(TIMEOUT_S)
        if store and _counts() and kind != self.stored:
            own_clip = not is_built_in(self.settings.clip)
            with suppress(KpopError):
                store.write(self.vote_id, vote_now(kind, self.settings, own_clip, song_title(self.settings)))
                self.stored = kind


@st.fragment
def thumbs(settings: Settings) -> None:
    """Thumbs for the song on the page: a second press withdraws the vote, the other thumb replaces it."""
    if not open_store(TIMEOUT_S):
        return
    vote = _vote(settings)
    key = f"thumb_{vote.vote_id}"
    st.session_state.setdefault(key, vote.thumb)
    with st.container(horizontal=True, vertical_alignment="center", key="thumbs_row"):
        label, options = "Do you like this song?", {"format_func": THUMBS.get, "label_visibility": "collapsed"}
        st.segmented_control(label, THUMBS, key=key, on_change=_press, args=(vote, key), **options)
        thanks = THANKS[vote.thumb] if _counts() or not vote.thumb else NOT_COUNTED
        st.html(f'<p class="thanks" role="status">{thanks}</p>')
    vote.store()


def _press(vote: SongVote, key: str) -> None:
    """The second press of a double click must not withdraw the vote."""
    now_s = time.monotonic()
    if st.session_state[key] is None and now_s - vote.pressed_at_s < DOUBLE_CLICK_S:
        st.session_state[key] = vote.thumb
    vote.thumb, vote.pressed_at_s = st.session_state[key], now_s
    vote.store()


def record_kept(settings: Settings) -> None:
    """Records that a song was downloaded, shared, or chosen among variations. For callbacks."""
    vote = _vote(settings)
    vote.kept = True
    vote.store()


def _vote(settings: Settings) -> SongVote:
    """The same song is the same vote, however often it is played in this session."""
    votes = st.session_state.setdefault("votes", {})
    return votes.setdefault(settings, SongVote(settings, secrets.randbits(ID_BITS)))


def _counts() -> bool:
    return st.session_state.get("thumbs_count", True)


def starting() -> Settings:
    """Settings at the start of the session, sampled once by preference; the defaults if the query sets any."""
    if "starting" not in st.session_state:
        requested = any(field.name in st.query_params for field in fields(Settings))
        st.session_state.starting = Settings() if requested or not open_store(TIMEOUT_S) else sample_settings()
    return st.session_state.starting


def surprise() -> None:
    """Requests a song that is likely to please, with the length and model of the controls. For callbacks."""
    chosen = {key: st.session_state[key] for key in ("length_s", "model") if st.session_state.get(key)}
    play_again(replace(sample_settings(), **chosen))


def sample_settings() -> Settings:
    """Settings sampled by preference."""
    store = open_store(TIMEOUT_S)
    return starting_settings(_preferences(store and str(store.path)), random_generator())


def random_generator() -> random.Random:
    return random.SystemRandom()


@st.cache_data(ttl=CACHE_S, max_entries=2, show_spinner=False)
def _preferences(path: str | None) -> Preferences:
    votes = []
    with suppress(KpopError):
        votes = Store(Path(path), TIMEOUT_S).votes(MAX_VOTES) if path else []
    return Preferences.from_votes(votes)


def feedback_corner() -> None:
    """Today's top list, the switch for this listener's own votes, and all votes as CSV."""
    store = open_store(TIMEOUT_S)
    if not store:
        return
    with st.expander("What people like", icon=":material/favorite:"):
        st.caption(HOW)
        st.html('<h3 class="hits-title">Today’s favourites</h3>')
        with st.container(key="hits"):
            hits = _hits(str(store.path), start_of_today())
            if not hits:
                st.html(f'<p class="no-hits">{EMPTY}</p>')
            for place, hit in enumerate(hits):
                label = f"Play **{escape_markdown(hit.title)}** · {hit.hearts} heart{'' if hit.hearts == 1 else 's'}"
                options = {"icon": ":material/play_arrow:", "width": "stretch"}
                st.button(label, key=f"hit_{place}", on_click=play_again, args=(hit.settings,), **options)
        st.toggle("Let my thumbs count", value=True, key="thumbs_count", on_change="ignore")
        st.caption(WHAT_IS_KEPT)
        file, options = ("twice4life-votes.csv", "text/csv"), {"icon": ":material/download:", "on_click": "ignore"}
        st.download_button("Download as CSV", lambda: csv_text(store.votes()), *file, **options)


@st.cache_data(ttl=CACHE_S, max_entries=2, show_spinner=False)
def _hits(path: str, since: str) -> list[Hit]:
    """Top list without songs whose clip or model is gone."""
    models, hits = available_models(), []
    with suppress(KpopError):
        hits = Store(Path(path), TIMEOUT_S).top(since, N_TOP)
    return [hit for hit in hits if is_built_in(hit.settings.clip) and hit.settings.model in models]
