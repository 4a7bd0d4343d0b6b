"""How new a song is, told and to be heard."""

from streamlit.delta_generator import DeltaGenerator

from kpop.page.waiting import POLL_S, let_a_rerun_in
from kpop.show.background import BackgroundTask
from kpop.show.closeness import Closeness


def show_closeness(comparing: BackgroundTask[Closeness | None], place: DeltaGenerator) -> None:
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
    place.caption(closeness.words)
    with place.expander("Hear both moments", icon=":material/compare_arrows:"):
        here, there = place.columns(2)
        here.caption("Here, in your song")
        here.audio(closeness.here)
        if closeness.there:
            there.caption("There, in the training song")
            there.audio(closeness.there)
        else:
            there.caption("The training song itself is not here.")
