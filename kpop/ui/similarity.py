"""Novelty meter: how similar a song is to the training music at its closest moment, with both moments to listen to."""

import html
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.ui.tasks import POLL_S, BackgroundTask

if TYPE_CHECKING:
    from kpop.similarity.index import SimilarityResult

IS_NEW = "New: no closer to its training music than a song that it never heard."
IS_CLOSE = "Closer than most unheard songs come: listen to both."


def show_similarity(comparing: "BackgroundTask[SimilarityResult | None]", container: DeltaGenerator) -> None:
    """Waits for the result and shows it in `container`; nothing if there is none."""
    progress = container.empty()
    if not comparing.finished:
        progress.caption("Comparing with the training music…")
    while not comparing.wait(POLL_S):
        st.session_state.get("session")  # a call to Streamlit, which ends this run if a newer one is due
    progress.empty()
    result = None if comparing.error else comparing.result()
    if not result:
        return
    container.html(meter(result))
    container.caption(
        f"Closest moment in training: {result.song} at {clock(result.song_start_s)}, {result.similarity:.0%} alike – "
        f"an unheard song of this length reaches {result.usual:.0%}"
    )
    with container:
        hear_both(result)


@st.fragment
def hear_both(result: "SimilarityResult") -> None:
    """An expander with both moments; the training song's is rendered only while it is open."""
    moments = st.expander("Hear both moments", icon=":material/compare_arrows:", key="moments", on_change="rerun")
    if not moments.open:
        return
    here, there = moments.columns(2)
    here.caption(f"Here, at {clock(result.start_s)} of your song")
    here.audio(result.here)
    if result.number is None:
        there.caption("The training song itself is not here.")
        return
    there.caption(f"There, at {clock(result.song_start_s)} of {result.song}")
    with there, st.spinner("Rendering the training song…"):
        st.audio(result.there)


def meter(result: "SimilarityResult") -> str:
    """HTML of a bar from 0 to 100 % with the song's similarity and the range of unheard songs."""
    song, low, usual, high = (f"{share:.0%}" for share in (result.similarity, result.low, result.usual, result.high))
    is_new = result.similarity <= result.high  # a song that the model was not trained on might be as similar
    kind, sign, verdict = ("new", "✓", IS_NEW) if is_new else ("near", "≈", IS_CLOSE)
    label = f"Your song comes {song} near to training; unheard songs come {low} to {high} near, usually {usual}."
    return f"""
<div class="close close-{kind}">
  <p class="close-verdict"><span aria-hidden="true">{sign}</span> {html.escape(verdict)}</p>
  <div class="close-bar" role="img" aria-label="{label}">
    <i class="close-range" style="left:{low};right:calc(100% - {high})"></i>
    <i class="close-usual" style="left:{usual}"></i>
    <i class="close-fill" style="width:{song}"></i><i class="close-song" style="left:{song}"></i>
  </div>
  <p class="close-ends" aria-hidden="true"><span>nothing alike</span><span>the same two bars</span></p>
  <p class="close-legend" aria-hidden="true">
    <span><i class="close-song"></i>your song {song}</span>
    <span><i class="close-range"></i>unheard songs {low} to {high}</span>
    <span><i class="close-usual"></i>their middle {usual}</span>
  </p>
</div>"""


def clock(seconds: float) -> str:
    """Minutes and seconds, as players show them."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
