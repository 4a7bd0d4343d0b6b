"""The player and the spectrograms of the songs on the page; see player.js."""

import html
import random
from collections import namedtuple
from dataclasses import asdict, replace

import streamlit as st

from kpop.engine import get_engine
from kpop.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.ui.assets import STATIC_DIR, base_path
from kpop.ui.feedback import keeper
from kpop.ui.session_state import LONGER_S, SessionState, make_longer, set_controls
from kpop.ui.sharing import download
from kpop.ui.song import PageSong

REDRAW_S = 0.5
STILL = {"displayModeBar": False, "scrollZoom": False}  # a finger scrolls past the figure
HEIGHT_PX, SMALL_PX = 360, 200  # of the figure of the only song, of one of several
LETTERS = "ABCD"
WELCOME = """<section class="welcome"><p>Pick a clip: a song’s first few seconds. Choose how much it may change, press
<b>Generate</b>, and hear how a song goes on that nobody has ever heard.</p>
<div class="bars" aria-hidden="true">{}</div></section>"""
BAR, N_BARS = '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>', 36
HEADING = '<h2 class="now"{}>{}</h2><p class="facts">{}</p>'
INVITATION = HEADING.format(' id="song"', "Kevin needs new songs.", "He knows every real one by heart.")
LABELS = {"randomness": "seed randomness"}  # other fields: their names
FAR = 0.5  # a difference in settings that everybody hears
CHANGES = {"Temperature": ("temperature", TEMPERATURE_RANGE), "Seed randomness": ("randomness", RANDOMNESS_RANGE)}

show_player = st.components.v2.component(
    "player",
    html='<div class="player-host"></div>',
    css=(STATIC_DIR / "player.css").read_text(encoding="utf-8"),
    js=(STATIC_DIR / "player.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)

# Containers that are there on every run, so that nothing in them is drawn anew because something else appears.
Layout = namedtuple("Layout", ["heading", "player", "songs", "actions"])


def make_layout() -> Layout:
    """In the current container, top to bottom."""
    return Layout(*(st.container(key=f"layout-{name}") for name in Layout._fields))


def draw_player(session: SessionState, layout: Layout) -> None:
    """A fragment, at the same place on every run: elsewhere the player would be made anew, and fall silent.

    Once the session is no longer busy, or its songs have been rendered, the whole page is drawn again.
    """
    was_busy = session.busy

    @st.fragment(run_every=REDRAW_S if was_busy else None)
    def update() -> None:
        if (session.rendering and session.rendering.finished) or (was_busy and not session.busy):
            st.rerun()
        data = player_data(session) | {"grid": bool(st.session_state.get("grid"))}
        show_player(key="player", data=[data])  # a dict would make Streamlit load pandas

    with layout.player:
        update()


def player_data(session: SessionState) -> dict:
    """For player.js: the songs on the page, which of them is to start and how, and what is going on."""
    tracks = [
        {"url": song.file.url(base_path()), "title": song.title, "length_s": song.length_s, "beat": asdict(song.beat)}
        | {"plot": f"track-{i}"}
        for i, song in enumerate(session.shown)
    ]
    if any(job.pcm.n_bytes for job in session.jobs):
        from kpop.ui.spectrogram import GrowingSpectrogram, png_uri  # imports scipy, which the page must not wait for

        session.growing = session.growing or tuple(GrowingSpectrogram(job.pcm) for job in session.jobs)
        for track, growing in zip(tracks[-len(session.jobs) :], session.growing, strict=True):
            growing.update()
            if len(growing.columns):
                from_s, to_s = growing.span_s
                track["growth"] = {"image": png_uri(growing.columns), "from_s": from_s, "to_s": to_s}
    continues = bool(session.submitted and session.submitted.continues)
    words = {"status": session.status, "error": session.error, "notice": session.notice}
    return {"tracks": tracks, "play": session.play, "continues": continues, "session": session.id, **words}


def show_songs(session: SessionState, layout: Layout) -> None:
    """The songs in the making or the finished ones, or a welcome: several as a grid, each with its own buttons."""
    songs = session.shown
    with layout.heading:
        if not songs:
            st.html(INVITATION)
        elif len(songs) == 1:
            st.html(HEADING.format(' id="song"', html.escape(songs[0].title), html.escape(songs[0].facts)))
        else:
            facts = html.escape(songs[0].facts)
            st.html(HEADING.format(' id="song"', f"Takes A to {LETTERS[len(songs) - 1]}", facts))
    if len(songs) > 1:
        with layout.songs:
            columns = [column for _ in range(0, len(songs), 2) for column in st.columns(2)]
            for i in range(len(songs)):
                with columns[i].container(key=f"track-{i}"):
                    show_take(session, songs, i)
        return
    with layout.songs.container(key="track-0"):
        if songs:
            show_figure(songs[0], "spectrogram-0", HEIGHT_PX)
        else:
            rng = random.Random(4)
            bars = "".join(BAR.format(rng.uniform(15, 95), rng.uniform(0, 5)) for _ in range(N_BARS))
            st.html(WELCOME.format(bars))


def show_take(session: SessionState, songs: tuple[PageSong, ...], index: int) -> None:
    """One of several songs: what it is, its spectrogram, and buttons to keep and to download it."""
    song, name = songs[index], f"Take {LETTERS[index]}"
    changes = [difference(songs[0].settings, each.settings) for each in songs]
    facts = f'<p class="facts">{changes[index]}</p>' if any(changes) else ""
    st.html(f'<h3 class="take">{name}: {html.escape(song.title)}</h3>{facts}')
    show_figure(song, f"spectrogram-{index}", SMALL_PX)
    with st.container(horizontal=True):
        options = {"on_click": keep, "args": (session, song), "disabled": not song.figure}
        st.button(f"Keep {LETTERS[index]}", key=f"keep-{index}", **options)
        download(song, f"Download {LETTERS[index]}")


def show_figure(song: PageSong, key: str, height: int | str) -> None:
    """A song's spectrogram, or an empty figure over which the player draws it. height: in px, or "stretch"."""
    from kpop.ui.spectrogram import empty_figure  # imports scipy, which the page must not wait for

    figure = song.figure or empty_figure(song.length_s, song.seed_end_s)
    st.plotly_chart(figure, config=STILL, key=key, alt=f"Spectrogram of {song.title}", height=height)


def keep(session: SessionState, song: PageSong) -> None:
    """Remove the other songs; it plays on. For callbacks."""
    keeper(song.settings)()
    set_controls(song.settings)
    session.show((song,), get_engine())


def difference(one: Settings, other: Settings) -> str:
    """What has changed but the seed number, e.g. "temperature 1.00 → 1.60"."""
    changes, values = [], asdict(other)
    for name, value in asdict(one).items():
        if value != values[name] and name != "seed_number":
            shape = "{:.2f} → {:.2f}" if isinstance(value, float) else "{} → {}"
            changes.append(f"{LABELS.get(name, name)} {shape.format(value, values[name])}")
    return " · ".join(changes)


def longer(song: PageSong) -> None:
    """A request for the same song, LONGER_S longer."""
    is_longest = song.settings.length_s >= LENGTH_RANGE_S[1]
    with st.container(key="longer", width="content"):
        label, icon = f"{LONGER_S:.0f} s longer", ":material/more_time:"
        st.button(label, icon=icon, on_click=make_longer, disabled=is_longest)


@st.fragment
def compare(session: SessionState) -> None:
    """A request for another version of the song, with the same seed and one slider changed."""
    song = session.songs[0]
    with st.popover("Compare", icon=":material/compare:"):
        st.caption("The same song with one slider moved, to switch between while they play.")
        label = st.radio("Change only", CHANGES, horizontal=True, key="compare-what")
        name, span = CHANGES[label]
        value = getattr(song.settings, name)
        far = value + FAR if value + FAR <= span[1] else value - FAR
        other = st.slider(f"{label} of the other song", *span, value=far, step=0.05, key=f"compare-{name}-{value}")
        if st.button("Make the other one", type="primary", disabled=other == value, key="compare-go"):
            session.request(replace(song.settings, **{name: other}), own_clip=song.own_clip, beside=True)
            st.rerun()
        if other == value:
            st.caption("That is the song you have: move the slider.")
