"""Waiting on the page, with news for whoever waits."""

import html
import threading
import time
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.server import is_served
from kpop.ui.session_state import SessionState
from kpop.ui.tasks import BackgroundTask

if TYPE_CHECKING:
    from kpop.engine import Job, PipelineLoader


POLL_S = 0.25


def follow(
    task: "BackgroundTask | PipelineLoader",
    teller: "BackgroundTask | PipelineLoader | Job",
    visit: SessionState,
    news: DeltaGenerator,
) -> None:
    """Progress, as the teller has it, until the task is done.

    A rerun cuts this short, and the next run comes back to it: the task itself goes on.
    """
    told = None
    while not task.wait(POLL_S):
        told = tell(teller, visit, news, told)
        let_a_rerun_in()
    if told:
        news.empty()


def tell(
    teller: "BackgroundTask | PipelineLoader | Job", visit: SessionState, news: DeltaGenerator, told: tuple | None
) -> tuple[str, int]:
    """Sends what is going on, if that is something new: many listeners may be waiting. Returns what was told."""
    live = is_served() and visit.live
    now = (teller.words, 0 if live else round(100 * teller.fraction))
    if now == told:
        return told
    words = html.escape(teller.words)
    if live:
        news.html(f'<p class="live-news">{words}…</p>')  # the live player shows it, and its own progress
    elif teller.fraction:
        news.progress(teller.fraction, words)
    else:
        news.caption(f"{words}…")
    return now


def first_notes_first(job: "Job", patience_s: float) -> None:
    """Leaves processor and browser to the song's first sound before more of the page is drawn, so long at most."""
    news, until_s = threading.Event(), time.monotonic() + patience_s
    stop_news = job.on_news(news.set)
    try:
        while not (job.finished or job.pieces(0) or job.place_in_queue):  # a queue takes longer, and is to be told
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return
            news.wait(min(left_s, POLL_S))
            news.clear()
            let_a_rerun_in()
    finally:
        stop_news()


def let_a_rerun_in() -> None:
    """Streamlit ends a run that is out of date only when it is spoken to."""
    st.session_state.get("visit")
