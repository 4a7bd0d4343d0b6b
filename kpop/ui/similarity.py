"""Novelty badge: how similar a song is to the training music at its closest moment, with both moments to listen to."""

import html
from typing import TYPE_CHECKING

import streamlit as st

from kpop.ui.assets import clock
from kpop.ui.tasks import POLL_S, BackgroundTask

if TYPE_CHECKING:
    from kpop.similarity.index import SimilarityResult

BADGES = {True: ("Original", ":material/verified:"), False: ("Close to a training song", ":material/compare_arrows:")}
SENTENCES = {
    True: "No closer to the training music than songs come that the model has never heard.",
    False: "Closer to the training music than most songs come that the model has never heard.",
}


def show_similarity(comparing: "BackgroundTask[SimilarityResult | None]") -> None:
    """The badge, as soon as the result is there, with the details behind it; nothing if there is none."""
    waiting = not comparing.finished

    @st.fragment(run_every=POLL_S if waiting else None)
    def badge() -> None:
        if waiting and comparing.finished:
            st.rerun()
        if not comparing.finished:
            st.popover("Comparing…", icon=":material/hourglass:", disabled=True)
        elif not comparing.error and (result := comparing.result()):
            label, icon = BADGES[is_new(result)]
            with st.popover(label, icon=icon, key="novelty", on_change="rerun") as details:
                if details.open:
                    show_details(result)

    badge()


def is_new(result: "SimilarityResult") -> bool:
    """Whether a song that the model was not trained on might be as similar."""
    return result.similarity <= result.high


def show_details(result: "SimilarityResult") -> None:
    """The meter, and both moments."""
    st.html(meter(result))
    here, there = st.columns(2)
    here.caption(f"Your song, {clock(int(result.start_s))}")
    here.audio(result.here)
    there.caption(f"Training song, {clock(int(result.song_start_s))}: {result.song}")
    if result.number is None:
        there.caption("The training song itself is not here.")
    else:
        with there, st.spinner("Rendering the training song…"):
            st.audio(result.there)


def meter(result: "SimilarityResult") -> str:
    """HTML of a bar from 0 to 100 % with the song's similarity and the range of unheard songs."""
    song, low, usual, high = (f"{share:.0%}" for share in (result.similarity, result.low, result.usual, result.high))
    kind, verdict = "new" if is_new(result) else "near", SENTENCES[is_new(result)]
    label = f"Your song comes {song} near to training; unheard songs come {low} to {high} near, usually {usual}."
    return f"""
<div class="close close-{kind}">
  <p class="close-verdict">{html.escape(verdict)}</p>
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
