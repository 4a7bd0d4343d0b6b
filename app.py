"""Twice4Life: the page, and the server of its sound. Run with `streamlit run app.py`."""

import html
import random
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.generation.settings import Settings
from kpop.page.closeness import show_closeness
from kpop.page.waiting import POLL_S, follow, let_a_rerun_in, tell
from kpop.page.wishes import choose_settings, the_visit
from kpop.serve.audience import audience
from kpop.serve.lifespan import is_served, lifespan
from kpop.serve.live import live_route, state_route
from kpop.show import player
from kpop.show.visit import Visit
from kpop.show.warming import engine_state, find_job, warming

LOOKS = Path(__file__).parent / ".streamlit"
N_BARS = 36
STILL = {"displayModeBar": False, "scrollZoom": False}  # a picture to point at, which lets a finger scroll past


def page() -> None:
    st.set_page_config("Twice4Life", page_icon=str(LOOKS / "icon.svg"), layout="wide")
    st.html(LOOKS / "page.css")
    st.html('<h1 class="wordmark">twice<b>4</b>life</h1><p class="tagline">K-pop that never existed, until now.</p>')
    wishes, stage = st.columns([5, 8], gap="large")
    live = stage.container(key="live")
    with wishes:
        settings, own_clip, endless = choose_settings(Settings())
        pressed = st.button("Generate", type="primary", width="stretch", icon=":material/auto_awesome:")
        news = st.empty()
    visit = the_visit()
    if pressed:
        visit.wish(settings, own_clip, endless)
    warmed = warming()
    asked = warmed.finished and not warmed.error and visit.ask(warmed.result(), base_path())
    if asked:
        if is_served():
            audience().expect(visit.job)  # it may be done before its listener is there
        show_live(visit, live)  # before all else: its sound is on the way already
    with stage:
        place = show_performance(visit)
    if not asked:
        show_live(visit, live)  # after the song's own player, which may have to take over
    follow_up(visit, settings.model, place, news)


def show_live(visit: Visit, live: DeltaGenerator) -> None:
    """The live player, on every run at the same place: taken away, it would fall silent."""
    if is_served():
        with live:
            parts = {"html": player.HTML, "css": player.CSS, "js": player.JS, "isolate_styles": False}
            st.components.v2.component("live_player", **parts)(key="player", data=visit.live)


def follow_up(visit: Visit, model: str, place: DeltaGenerator | None, news: DeltaGenerator) -> None:
    """What comes after the page is drawn: waiting, with news for whoever waits."""
    comparing = visit.performance and visit.performance.closeness
    known = comparing and comparing.finished
    if known:
        show_closeness(comparing, place)
    if visit.sentence:
        news.error(visit.sentence, icon=":material/error:")
        visit.sentence = None
    elif performing := visit.performing:
        follow(performing, visit.job or performing, visit, news)
        let_a_rerun_in()
        visit.end_waiting(performing)
        st.rerun()
    elif visit.job:
        follow_endless(visit, news)
    elif warm_up(visit, model, news) and visit.performance:
        news.html('<a class="jump" href="#song">Your song is ready &darr;</a>')
    if comparing and not known:
        show_closeness(comparing, place)


def warm_up(visit: Visit, model: str, news: DeltaGenerator) -> bool:
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


def show_performance(visit: Visit) -> DeltaGenerator | None:
    """Shows the song, if there is one, and returns the place below it."""
    performance = visit.performance
    if not performance:
        place = st.empty()
        if not visit.live or not is_served():
            welcome = (LOOKS / "welcome.html").read_text(encoding="utf-8")
            place.html(welcome.format(bars=dancing_bars()))
        return None
    title = html.escape(performance.title)
    st.html(f'<h2 class="now" id="song">{title}</h2><p class="facts">{performance.facts}</p>')
    st.plotly_chart(performance.figure, config=STILL, key="spectrogram", alt=f"Spectrogram of {performance.title}")
    st.container(key="song").audio(performance.wav, alt=performance.title)
    st.download_button("Download WAV", performance.wav, performance.file_name, "audio/wav", on_click="ignore")
    return st.container()


def dancing_bars() -> str:
    """Bars as on an old hi-fi, each swaying at its own moment."""
    chance = random.Random(4)
    bar = '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>'
    return "".join(bar.format(chance.uniform(15, 95), chance.uniform(0, 5)) for _ in range(N_BARS))


def follow_endless(visit: Visit, news: DeltaGenerator) -> None:
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
    routes = [state_route(engine_state, base_path()), live_route(find_job, audience(), base_path())]
    app = st.App(Path(__file__), routes=routes, lifespan=lifespan(audience(), address))
