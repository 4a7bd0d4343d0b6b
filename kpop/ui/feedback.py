"""Thumbs, what people like, and a start that pleases. Where feedback is off, nothing of this is shown or kept."""

import logging
import math
import random
import re
import secrets
import time
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import streamlit as st

from kpop.errors import KpopError
from kpop.feedback import (
    DOWN,
    KEPT,
    MADE,
    UP,
    Hit,
    Store,
    Taste,
    csv_text,
    start_of_today,
    starting_settings,
    the_store,
    vote_now,
)
from kpop.generation.clips import built_in_clips
from kpop.model_info import available_models
from kpop.settings import Settings
from kpop.ui.assets import style
from kpop.ui.requests import play_again

THUMBS = {UP: ":material/thumb_up: I like this song", DOWN: ":material/thumb_down: Not for me"}
THANKS = {UP: "Thank you! More like this.", DOWN: "Thank you. Less like this.", None: ""}
NOT_COUNTED = "Not counted: your switch is off."
PATIENCE_S = 0.1  # with another writer: a page must not wait, and what could not be kept is tried again at its next run
FRESH_S = 5
DOUBLE_CLICK_S = 0.7
N_HITS = 10
ID_BITS = 63  # of a vote, by chance, so that nothing tells which votes are one listener's
MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!:$~|])")
HOW = (
    "Seed clips and settings that people like are offered more often; what few have tried still gets its chance now and"
    " then. That is called Thompson sampling."
)
WHAT_IS_KEPT = "Kept on this machine: how a song was made, and the thumb it got. Nothing about you."
EMPTY = "No favourites yet today. Make a song, give it a thumbs up, and it will be the first to stand here."

_log = logging.getLogger(__name__)


@dataclass
class Word:
    """What a listener has said in this visit about one song, and what of it has been stored."""

    settings: Settings
    own_clip: bool
    title: str
    vote_id: int
    thumb: str | None = None
    kept: bool = False
    stored: str | None = None
    said_at_s: float = -math.inf

    @property
    def kind(self) -> str:
        return self.thumb or (KEPT if self.kept else MADE)


@st.fragment
def thumbs(settings: Settings, own_clip: bool, title: str) -> None:
    """Two thumbs for the song on the page; a second press takes the vote back, the other thumb replaces it."""
    if not _store():
        return
    word = _word(settings, own_clip, title)
    key = f"thumb_{word.vote_id}"
    st.session_state.setdefault(key, word.thumb)
    with st.container(horizontal=True, vertical_alignment="center", key="thumbs_row"):
        st.segmented_control(
            "Do you like this song?",
            THUMBS,
            format_func=THUMBS.get,
            key=key,
            label_visibility="collapsed",
            on_change=_say,
            args=(word, key),
        )
        words = THANKS[word.thumb] if _counts() or not word.thumb else NOT_COUNTED
        st.html(f'<p class="thanks" role="status">{words}</p>')
    _keep(word)


def kept(settings: Settings, own_clip: bool, title: str) -> None:
    """Notes that a song was downloaded, shared, or chosen as the best of several. For callbacks."""
    word = _word(settings, own_clip, title)
    word.kept = True
    _keep(word)


def starting() -> Settings:
    """What a visit begins with: drawn once by what people like; the defaults if its address asks for something."""
    if "starting" not in st.session_state:
        asked = any(field.name in st.query_params for field in fields(Settings))
        drawn = _store() and not asked
        st.session_state.starting = starting_settings(_taste(), chance()) if drawn else Settings()
    return st.session_state.starting


def surprise() -> None:
    """Asks at once for a song that is likely to please, as long as the listener's and in their voice. For callbacks."""
    drawn = starting_settings(_taste(), chance())
    own = {key: st.session_state[key] for key in ("length_s", "model") if st.session_state.get(key)}
    play_again(replace(drawn, **own))


def feedback_corner() -> None:
    """What people like, with today's favourites to play, and the listener's say over their own thumbs."""
    store = _store()
    if not store:
        return
    st.html(style("feedback"))
    with st.expander("What people like", icon=":material/favorite:"):
        st.caption(HOW)
        _show_hits(_hits())
        st.toggle("Let my thumbs count", value=True, key="thumbs_count", on_change="ignore")
        st.caption(WHAT_IS_KEPT)
        st.download_button(
            "Download as CSV",
            partial(_csv, store),
            "twice4life-votes.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _show_hits(hits: list[Hit]) -> None:
    st.html('<h3 class="hits-title">Today’s favourites</h3>')
    with st.container(key="hits"):
        if not hits:
            st.html(f'<p class="no-hits">{EMPTY}</p>')
        for place, hit in enumerate(hits):
            st.button(
                hit_label(hit),
                key=f"hit_{place}",
                icon=":material/play_arrow:",
                on_click=play_again,
                args=(hit.settings,),
                width="stretch",
            )


def hit_label(hit: Hit) -> str:
    """A song on the top list, as Markdown: what it is called, and its hearts."""
    title = MARKDOWN.sub(r"\\\1", hit.title)
    hearts = f"{hit.hearts} heart{'' if hit.hearts == 1 else 's'}"
    return f"Play **{title}** · {hearts}"


def _say(word: Word, key: str) -> None:
    """Takes down a press. The second one of a double click is no wish to take the vote back."""
    now_s = time.monotonic()
    if st.session_state[key] is None and now_s - word.said_at_s < DOUBLE_CLICK_S:
        st.session_state[key] = word.thumb
    word.thumb, word.said_at_s = st.session_state[key], now_s
    _keep(word)


def _word(settings: Settings, own_clip: bool, title: str) -> Word:
    """This visit's word on that song: the same song is the same vote, however often it is played."""
    said = st.session_state.setdefault("said", {})
    fresh = Word(settings, own_clip, title, secrets.randbits(ID_BITS))
    return said.setdefault((settings, own_clip), fresh)


def _keep(word: Word) -> None:
    """Stores what has been said, if that is new and wanted; what cannot be stored now waits for the next run."""
    store = _store()
    if not store or not _counts() or word.kind == word.stored:
        return
    try:
        store.write(word.vote_id, vote_now(word.kind, word.settings, word.own_clip, word.title))
        word.stored = word.kind
    except KpopError as error:
        _log.info("A vote waits: %s", error)


def chance() -> random.Random:
    return random.SystemRandom()


def _counts() -> bool:
    return st.session_state.get("thumbs_count", True)


def _store() -> Store | None:
    return the_store(PATIENCE_S)


def _taste() -> Taste:
    """What people like, at most FRESH_S old; nothing known where there is no telling."""
    store = _store()
    try:
        return _read_taste(str(store.path)) if store else Taste.of([])
    except KpopError as error:
        _log.info("No taste for now: %s", error)
        return Taste.of([])


def _hits() -> list[Hit]:
    """The top list of the day, without what can no longer be made."""
    try:
        hits = _read_hits(str(_store().path), start_of_today())
    except KpopError as error:
        _log.info("No top list for now: %s", error)
        return []
    clips, models = {clip.name for clip in built_in_clips()}, available_models()
    return [hit for hit in hits if hit.settings.clip in clips and hit.settings.model in models]


@st.cache_data(ttl=FRESH_S, max_entries=2, show_spinner=False)
def _read_taste(path: str) -> Taste:
    return Taste.of(Store(Path(path), PATIENCE_S))


@st.cache_data(ttl=FRESH_S, max_entries=2, show_spinner=False)
def _read_hits(path: str, since: str) -> list[Hit]:
    return Store(Path(path), PATIENCE_S).top(since, N_HITS)


def _csv(store: Store) -> str:
    return csv_text(store.votes())
