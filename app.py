"""Twice4Life: the page, and the server of its sound. Run with `streamlit run app.py`."""

from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.server import audience, is_served, lifespan, live_route, state_route
from kpop.ui.assets import LOOKS, style
from kpop.ui.booth import booth, is_booth
from kpop.ui.controls import Choice, choose, generate, take_four
from kpop.ui.feedback import feedback_corner, starting, surprise, thumbs
from kpop.ui.history import show_history
from kpop.ui.how import how_it_works
from kpop.ui.learning import hear_it_learn
from kpop.ui.player import compare, set_stage, show_player, show_sent, show_songs
from kpop.ui.progress import POLL_S, first_notes_first, follow, let_a_rerun_in, tell
from kpop.ui.requests import get_session
from kpop.ui.session_state import SessionState
from kpop.ui.sharing import share
from kpop.ui.similarity import show_closeness
from kpop.ui.tasks import engine_state, find_job, warming

SHORT_WAIT_S, LONG_WAIT_S = 0.15, 3.0  # for the first notes, before the picture and before all the rest
MASTHEAD = (
    '<div class="masthead"><h1 class="wordmark">twice<b>4</b>life</h1>'
    '<p class="tagline">K-pop that never existed, until now.</p></div>'
)


def page() -> None:
    st.set_page_config("Twice4Life", page_icon=str(LOOKS / "icon.svg"), layout="wide")
    if is_booth():
        return booth(base_path())
    visit, head = get_session(), st.container(key="head")
    wishes, middle = st.columns([5, 8], gap="large")
    with middle:
        stage = set_stage()
    warmed = warming()
    asked = warmed.finished and not warmed.error and visit.ask(warmed.result(), base_path())
    if asked:
        if is_served() and visit.job:
            audience().expect(visit.job)  # it may be done before its listener is there
        show_player(visit, stage)  # before all else: its sound is on the way already
        wait_for_notes(visit, SHORT_WAIT_S)
    with head:
        st.html(style("page"))
        st.html(MASTHEAD)
    with wishes:
        first, buttons, news, more = st.container(key="wishes"), st.container(), st.empty(), st.container()
    choice = choose(starting(), first, more)
    with head:
        show_sent(visit)
    with buttons:
        ask_for()
    show_songs(visit, stage)
    if asked:
        wait_for_notes(visit, LONG_WAIT_S)
    else:
        show_player(visit, stage)  # after the song's own player, which may have to take over
    with stage.below:
        place = show_more(visit)
    unfold(visit, choice)
    follow_up(visit, choice.settings.model, place, news)


def wait_for_notes(visit: SessionState, patience_s: float) -> None:
    if visit.job:
        first_notes_first(visit.job, patience_s)


def ask_for() -> None:
    """The buttons that begin something: by callbacks, so that a run knows of it before it draws anything."""
    wide = {"width": "stretch"}
    st.button("Generate", type="primary", icon=":material/auto_awesome:", on_click=generate, **wide)
    with st.container(horizontal=True):
        st.button("Surprise me", icon=":material/casino:", on_click=surprise, **wide)
        st.button("Four takes", icon=":material/grid_view:", on_click=take_four, **wide)


def show_more(visit: SessionState) -> DeltaGenerator:
    """What can be done with the one song on the page. Returns the place for how new it is."""
    if len(visit.performances) == 1 and not visit.job:
        (song,) = visit.performances
        own = song.own_clip is not None
        with st.container(key="deeds", horizontal=True, vertical_alignment="center"):
            thumbs(song.settings, own, song.title)
            share(song.settings, own, song.wav, song.file_name)
            compare(visit)
    return st.container()


def unfold(visit: SessionState, choice: Choice) -> None:
    """What is there for whoever wants more."""
    song = visit.performances[0] if len(visit.performances) == 1 else None
    with st.container(key="more"):
        show_history(visit.history)
        feedback_corner()
        hear_it_learn(choice.settings.model)
        how_it_works(song, choice.settings)


def follow_up(visit: SessionState, model: str, place: DeltaGenerator, news: DeltaGenerator) -> None:
    """What comes after the page is drawn: waiting, with news for whoever waits."""
    comparing = visit.closeness
    known = comparing and comparing.finished
    if known:
        show_closeness(comparing, place)
    if visit.sentence:
        news.error(visit.sentence, icon=":material/error:")
        visit.sentence = None
    elif performing := visit.performing:
        teller = visit.jobs[0] if len(visit.jobs) == 1 else performing
        follow(performing, teller, visit, news)
        let_a_rerun_in()
        visit.end_waiting(warming().result(), performing)
        st.rerun()
    elif visit.job:
        follow_endless(visit, news)
    elif warm_up(visit, model, news) and visit.performances:
        news.html('<a class="jump" href="#song">Your song is ready &darr;</a>')
    if comparing and not known:
        show_closeness(comparing, place)


def warm_up(visit: SessionState, model: str, news: DeltaGenerator) -> bool:
    """Waits for the engine, which a wish may wait for as well, and the voice; True once they are there."""
    warmed = warming()
    follow(warmed, warmed, visit, news)
    if visit.wishes and not warmed.error:
        st.rerun()
    loading = warmed if warmed.error else warmed.result().voices.get(model)
    follow(loading, loading, visit, news)
    if loading.error:
        news.error(f"{loading.error}", icon=":material/error:")
    return not loading.error


def follow_endless(visit: SessionState, news: DeltaGenerator) -> None:
    """News until the first notes of a song that never ends; the rest is between the live player and the engine."""
    job, told = visit.job, None
    while not job.finished and not job.pieces(0):
        told = tell(job, visit, news, told)
        job.wait(POLL_S)
        let_a_rerun_in()
    news.empty()
    if job.error and not job.cancelled:
        visit.live = None
        news.error(f"{job.error}", icon=":material/error:")


def base_path() -> str:
    """Where the page lives on its server: "" for the root."""
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def address() -> str | None:
    """Of the page, for the listener's browser; None where there is no screen."""
    if st.get_option("server.headless"):
        return None
    return f"http://localhost:{st.get_option('server.port')}{base_path()}"


if __name__ == "__main__":
    page()
else:  # `streamlit run` finds this by reading, and serves it; the page itself it runs for each visitor, as above
    routes = [
        state_route(engine_state, base_path()),
        live_route(find_job, audience(), base_path()),
    ]
    app = st.App(Path(__file__), routes=routes, lifespan=lifespan(audience(), address))
