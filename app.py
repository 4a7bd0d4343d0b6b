"""Twice4Life: the page, and the server of its songs. Run with `streamlit run app.py`."""

from functools import partial
from pathlib import Path

import streamlit as st

from kpop.engine import get_engine
from kpop.server import lifespan, song_routes
from kpop.ui.assets import STATIC_DIR, base_path, style
from kpop.ui.booth import booth
from kpop.ui.controls import choose, generate, take_four
from kpop.ui.feedback import feedback_corner, starting, surprise, thumbs
from kpop.ui.history import show_history
from kpop.ui.how import how_it_works
from kpop.ui.learning import hear_it_learn
from kpop.ui.player import compare, draw_player, make_layout, show_sent, show_songs
from kpop.ui.session_state import SessionState, get_session
from kpop.ui.sharing import share
from kpop.ui.similarity import show_similarity
from kpop.ui.tasks import preload

MASTHEAD = (
    '<div class="masthead"><h1 class="wordmark">twice<b>4</b>life</h1>'
    '<p class="tagline">K-pop that never existed, until now.</p></div>'
)


def page() -> None:
    st.set_page_config("Twice4Life", page_icon=str(STATIC_DIR / "icon.svg"), layout="wide")
    preload()
    if st.query_params.get("booth") == "1":
        return booth()
    session, head = get_session(), st.container(key="head")
    left, right = st.columns([5, 8], gap="large")
    with right:
        layout = make_layout()
    session.update(get_engine())
    if submitted := session.submit(get_engine()):
        draw_player(session, layout)  # before all else, so that the browser requests the song at once
    with head:
        st.html(style("page"))
        st.html(MASTHEAD)
    with left:
        controls, buttons, more = st.container(key="controls"), st.container(), st.container()
    settings = choose(starting(), controls, more)
    session.load(get_engine(), settings.model)
    with head:
        show_sent(session)
    with buttons:
        show_buttons(session)
    show_songs(session, layout)
    if not submitted:
        draw_player(session, layout)
    song = session.songs[0] if len(session.songs) == 1 else None
    with layout.below:
        if song and not session.job:
            with st.container(key="actions", horizontal=True, vertical_alignment="center"):
                thumbs(song.settings)
                share(song.settings, song.file.read, song.file.file_name)
                compare(session)
        similarity = st.container()
    with st.container(key="more"):
        show_history(session.history)
        feedback_corner()
        hear_it_learn(settings.model)
        how_it_works(song, settings)
    if session.similarity:
        show_similarity(session.similarity, similarity)


def show_buttons(session: SessionState) -> None:
    """The buttons that request songs: by callbacks, so that the next run knows it before it draws anything."""
    wide = {"width": "stretch"}
    st.button("Generate", type="primary", icon=":material/auto_awesome:", on_click=generate, **wide)
    with st.container(horizontal=True):
        st.button("Surprise me", icon=":material/casino:", on_click=surprise, **wide)
        st.button("Four takes", icon=":material/grid_view:", on_click=take_four, **wide)
    if session.songs and not session.busy:
        st.html('<a class="jump" href="#song">Your song is ready &darr;</a>')


def address() -> str | None:
    """Of the page, to be opened in the browser of this computer; None where there is no screen."""
    if st.get_option("server.headless"):
        return None
    return f"http://localhost:{st.get_option('server.port')}{base_path()}"


if __name__ == "__main__":
    page()
else:  # `streamlit run` imports this to find the server's application; each visitor's page runs the script as above
    routes = song_routes(lambda: get_engine().state(), base_path())
    app = st.App(Path(__file__), routes=routes, lifespan=partial(lifespan, address=address, start=preload))
