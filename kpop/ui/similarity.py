"""How new a song is, at one glance, told and to be heard."""

import html

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.similarity.match import SimilarityResult, clock
from kpop.ui.assets import style
from kpop.ui.progress import POLL_S, let_a_rerun_in
from kpop.ui.tasks import BackgroundTask


def show_closeness(comparing: BackgroundTask[SimilarityResult | None], place: DeltaGenerator) -> None:
    """How new the song is, and both moments to listen to, as soon as that is known; nothing where it cannot be."""
    progress = place.empty()
    if not comparing.finished:
        progress.caption("Comparing with the training music…")
    while not comparing.wait(POLL_S):
        let_a_rerun_in()
    progress.empty()
    closeness = None if comparing.error else comparing.result()
    if not closeness:
        return
    st.html(style("closeness"))
    place.html(meter(closeness))
    place.caption(closeness.words)
    with place.expander("Hear both moments", icon=":material/compare_arrows:"):
        here, there = st.columns(2)
        here.caption(f"Here, at {clock(closeness.start_s)} of your song")
        here.audio(closeness.here)
        if closeness.there:
            there.caption(f"There, at {clock(closeness.song_start_s)} of {closeness.song}")
            there.audio(closeness.there)
        else:
            there.caption("The training song itself is not here.")


def meter(closeness: SimilarityResult) -> str:
    """A bar from 0 to 100 % with the song's mark and where unheard songs usually lie."""
    song, low, usual, high = (
        f"{100 * share:.0f}%" for share in (closeness.similarity, closeness.low, closeness.usual, closeness.high)
    )
    kind, sign = ("new", "✓") if closeness.as_new_as_songs_go else ("near", "≈")
    told = f"Your song comes {song} near to training; unheard songs come {low} to {high} near, usually {usual}."
    return f"""
<div class="close close-{kind}">
  <p class="close-verdict"><span aria-hidden="true">{sign}</span> {html.escape(closeness.verdict)}</p>
  <div class="close-bar" role="img" aria-label="{told}">
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
