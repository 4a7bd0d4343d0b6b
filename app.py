"""Twice4Life: the page, and the server of its songs. Run with `streamlit run app.py`."""

from functools import partial
from pathlib import Path

import streamlit as st

from kpop.engine import get_engine
from kpop.feedback import open_store
from kpop.model_info import snapshots_path
from kpop.server import lifespan, song_routes
from kpop.settings import Settings
from kpop.ui.assets import STATIC_DIR, base_path, style
from kpop.ui.booth import booth
from kpop.ui.controls import choose, generate, take_four
from kpop.ui.feedback import show_favourites, surprise, thumbs
from kpop.ui.history import show_history
from kpop.ui.how import how_it_works
from kpop.ui.learning import hear_it_learn
from kpop.ui.player import compare, draw_player, longer, make_layout, show_songs
from kpop.ui.session_state import SessionState, get_session
from kpop.ui.sharing import download, keep_song, restore_song, share
from kpop.ui.similarity import show_similarity
from kpop.ui.tasks import preload

MASTHEAD = (
    '<div class="masthead"><h1 class="wordmark">twice<b>4</b>life</h1>'
    '<p class="tagline">K-pop that never existed, until now.</p></div>'
)
TABS = {  # labels
    "Earlier songs": ":material/history: Earlier songs",
    "What people like": ":material/favorite: What people like",
    "Hear it learn": ":material/school: Hear it learn",
    "How it works": ":material/route: How it works",
}


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
    restore_song(session)
    if submitted := session.submit(get_engine()):
        draw_player(session, layout)  # before all else, so that the browser requests the song at once
        keep_song(session.submitted)
    with head:
        st.html(style("page"))
        st.html(MASTHEAD)
    with left:
        controls, buttons, more = st.container(key="controls"), st.container(key="go"), st.container()
    settings = choose(controls, more)
    session.load(get_engine(), settings.model)
    with buttons:
        show_buttons()
    show_songs(session, layout)
    if not submitted:
        draw_player(session, layout)
    with layout.actions:
        show_actions(session)
    with st.container(key="more"):
        show_more(session, settings)


def show_buttons() -> None:
    """The buttons that request songs: by callbacks, so that the next run knows it before it draws anything."""
    wide = {"width": "stretch"}
    st.button("Generate", type="primary", icon=":material/auto_awesome:", on_click=generate, **wide)
    with st.container(horizontal=True):
        st.button("Surprise me", icon=":material/casino:", on_click=surprise, **wide)
        st.button("Four takes", icon=":material/grid_view:", on_click=take_four, **wide)


def show_actions(session: SessionState) -> None:
    """What can be done with the finished song, if there is only one."""
    if session.jobs or len(session.songs) != 1:
        return
    (song,) = session.songs
    with st.container(key="actions", horizontal=True, vertical_alignment="center"):
        thumbs(song.settings)
        download(song)
        share(song.settings)
        longer(song)
        compare(session)
        if session.similarity:
            show_similarity(session.similarity)


def show_more(session: SessionState, settings: Settings) -> None:
    """One row of tabs, closed until one is chosen."""
    song = session.songs[0] if len(session.songs) == 1 else None
    learns = snapshots_path(settings.model).exists()
    tabs = {
        "Earlier songs": partial(show_history, session.history),
        "What people like": show_favourites if open_store() else None,
        "Hear it learn": partial(hear_it_learn, settings.model) if learns else None,
        "How it works": partial(how_it_works, song, settings),
    }
    tabs = {label: show for label, show in tabs.items() if show}
    options = {"label_visibility": "collapsed", "width": "stretch", "key": "tab", "format_func": TABS.get}
    if chosen := st.segmented_control("More", tabs, **options):
        tabs[chosen]()


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
