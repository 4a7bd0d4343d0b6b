"""Thumbs, top list, and surprises by preference. Where feedback is off, nothing is shown or stored."""

import math
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import streamlit as st

from kpop import feedback
from kpop.errors import KpopError
from kpop.feedback import DOWN, KEPT, MADE, UP, open_store
from kpop.generation.clips import is_built_in
from kpop.model_info import available_models
from kpop.settings import Settings
from kpop.ui.assets import escape_markdown
from kpop.ui.session_state import play_again

THUMBS = {UP: ":material/thumb_up: I like this song", DOWN: ":material/thumb_down: Not for me"}
THANKS = {UP: "Thank you! More like this.", DOWN: "Thank you. Less like this.", None: ""}
NOT_COUNTED = "Not counted: you don’t want your votes to count."
EMPTY = "No favourites yet today. Make a song, give it a thumbs up, and it will be the first to stand here."
CACHE_S = 5
DOUBLE_CLICK_S = 0.7
ID_BITS = 63  # of a vote: random, so that no two votes can be traced to one listener
RNG = random.SystemRandom()


@dataclass
class SongVote:
    """This session's vote on one song. stored: the kind that is in the database, None if there is none."""

    settings: Settings
    vote_id: int
    thumb: str | None = None
    kept: bool = False
    stored: str | None = None
    pressed_at_s: float = -math.inf

    def store(self, counts: bool) -> None:
        """Writes a vote that has changed; if another writer is at work, the page's next run tries again."""
        kind, store = self.thumb or (KEPT if self.kept else MADE), open_store()
        if store and counts and kind != self.stored:
            with suppress(KpopError):
                store.write(self.vote_id, feedback.vote_now(kind, self.settings))
                self.stored = kind


@st.fragment
def thumbs(settings: Settings) -> None:
    """Thumbs for the song on the page: a second press withdraws the vote, the other thumb replaces it."""
    if not open_store():
        return
    vote = _vote(settings)
    key = f"thumb_{vote.vote_id}"

    def press() -> None:
        now_s = time.monotonic()
        if st.session_state[key] is None and now_s - vote.pressed_at_s < DOUBLE_CLICK_S:
            st.session_state[key] = vote.thumb  # the second press of a double click does not withdraw the vote
        vote.thumb, vote.pressed_at_s = st.session_state[key], now_s
        vote.store(_counts())

    st.session_state.setdefault(key, vote.thumb)
    with st.container(horizontal=True, vertical_alignment="center", key="thumbs_row"):
        options = {"format_func": THUMBS.get, "label_visibility": "collapsed"}
        st.segmented_control("Do you like this song?", THUMBS, key=key, on_change=press, **options)
        thanks = THANKS[vote.thumb] if _counts() or not vote.thumb else NOT_COUNTED
        st.html(f'<p class="thanks" role="status">{thanks}</p>')
    vote.store(_counts())


def keeper(settings: Settings) -> Callable[[], None]:
    """A function for any thread that records that the song was downloaded, or chosen among variations."""
    vote, counts = _vote(settings), _counts()

    def keep() -> None:
        vote.kept = True
        vote.store(counts)

    return keep


def _vote(settings: Settings) -> SongVote:
    """The same song is the same vote, however often it is played in this session."""
    votes = st.session_state.setdefault("votes", {})
    return votes.setdefault(settings, SongVote(settings, secrets.randbits(ID_BITS)))


def _counts() -> bool:
    return st.session_state.get("thumbs_count", True)


def surprise() -> None:
    """Requests a song that is likely to please, with the length and model of the controls. For callbacks."""
    chosen = {key: st.session_state[key] for key in ("length_s", "model") if st.session_state.get(key)}
    play_again(replace(sample_settings(), **chosen))


def sample_settings() -> Settings:
    """Settings sampled by preference."""
    return feedback.starting_settings(_preferences(), RNG)


@st.cache_data(ttl=CACHE_S, show_spinner=False)
def _preferences() -> feedback.Preferences:
    store, votes = open_store(), []
    with suppress(KpopError):
        votes = store.votes(feedback.MAX_VOTES) if store else []
    return feedback.Preferences.from_votes(votes)


def show_favourites() -> None:
    """Today's top list, and the switch for this listener's own votes."""
    st.caption("*Surprise me* offers more often what people like.")
    with st.container(key="hits"):
        hits = _hits()
        if not hits:
            st.html(f'<p class="no-hits">{EMPTY}</p>')
        for place, (title, settings, n_likes) in enumerate(hits):
            times = f"{n_likes} time{'' if n_likes == 1 else 's'}"
            label = f"Play **{escape_markdown(title)}** · liked or downloaded {times}"
            options = {"icon": ":material/play_arrow:", "width": "stretch"}
            st.button(label, key=f"hit_{place}", on_click=play_again, args=(settings,), **options)
    st.toggle("Count my votes", value=True, key="thumbs_count", persist_state="session")
    st.caption("Kept on this machine: how a song was made, and the thumb it got. Nothing about you.")


@st.cache_data(ttl=CACHE_S, show_spinner=False)
def _hits() -> list[tuple[str, Settings, int]]:
    """Top list without songs whose clip or model is gone."""
    store, models, hits = open_store(), available_models(), []
    with suppress(KpopError):
        hits = store.top(feedback.start_of_today()) if store else []
    return [hit for hit in hits if is_built_in(hit[1].clip) and hit[1].model in models]
