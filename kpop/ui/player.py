"""The player and the spectrograms of the songs on the page; see player.js."""

import html
import random
from collections import namedtuple
from dataclasses import asdict, replace

import streamlit as st

from kpop.engine import get_engine
from kpop.settings import RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.ui.assets import STATIC_DIR, base_path
from kpop.ui.controls import N_VARIATIONS
from kpop.ui.feedback import keeper
from kpop.ui.session_state import SessionState, set_controls
from kpop.ui.song import PageSong

REDRAW_S = 0.5
STILL = {"displayModeBar": False, "scrollZoom": False}  # a finger scrolls past the figure
HEIGHTS_PX = {1: 360, 2: 260, N_VARIATIONS: 200}  # of a figure, by their number
LETTERS = "ABCD"
WELCOME = """<section class="welcome"><h2>Kevin needs new songs.</h2>
<p>He knows every real one by heart. Pick the first few seconds, decide how much of them the machine may forget, press
<b>Generate</b> – and it dreams up the rest of a song that nobody has ever heard.</p>
<div class="bars" aria-hidden="true">{}</div></section>"""
BAR, N_BARS = '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>', 36
SENT = "Somebody sent you “{}”: press Generate, and the machine dreams it again, note for note."
HEADING = '<h2 class="now"{}>{}</h2><p class="facts">{}</p>'
FACTS = "temperature {0.temperature:.2f} · seed randomness {0.randomness:.2f}"
LABELS = {"randomness": "seed randomness", "seed_number": "seed number"}  # other fields: their names
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
Layout = namedtuple("Layout", ["first", "player", "others", "below"])


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
        show_player(key="player", data=[player_data(session)])  # a dict would make Streamlit load pandas

    with layout.player:
        update()


def player_data(session: SessionState) -> dict:
    """For player.js: the songs on the page, or the one in the making; which of them is to start; status and error."""
    songs = [replace(session.preview, file=session.files[0])] if session.job else session.songs
    tracks = [
        {"url": song.file.url(base_path()), "title": song.title, "length_s": song.length_s, "beat": asdict(song.beat)}
        | {"plot": f"track-{i}"}
        for i, song in enumerate(songs)
    ]
    if session.job and session.job.pcm.n_bytes:
        from kpop.ui.spectrogram import GrowingSpectrogram, png_uri  # imports scipy, which the page must not wait for

        growing = session.growing = session.growing or GrowingSpectrogram(session.job.pcm)
        growing.update()
        if len(growing.columns):
            from_s, to_s = growing.span_s
            tracks[0]["growth"] = {"image": png_uri(growing.columns), "from_s": from_s, "to_s": to_s}
    return {"tracks": tracks, "play": session.play, "status": session.status, "error": session.error}


def show_songs(session: SessionState, layout: Layout) -> None:
    """The song in the making, if it plays; else the finished ones, or a welcome."""
    songs = (session.preview,) if session.job else session.songs
    with layout.first.container(key="track-0"):
        if songs:
            show_song(session, songs, 0)
        else:
            rng = random.Random(4)
            bars = "".join(BAR.format(rng.uniform(15, 95), rng.uniform(0, 5)) for _ in range(N_BARS))
            st.html(WELCOME.format(bars))
    for i in range(1, len(songs)):
        with layout.others.container(key=f"track-{i}"):
            show_song(session, songs, i)


def show_sent(session: SessionState) -> None:
    """At the top, where a phone shows it: that somebody has sent a song, until the first one is made."""
    waiting = session.sent and not (session.songs or session.jobs)
    st.html(f'<p class="sent">{SENT.format(html.escape(session.sent)) if waiting else ""}</p>')


def show_song(session: SessionState, songs: tuple[PageSong, ...], index: int) -> None:
    """One of several has a heading that says how it differs from the first, and a button that removes the others."""
    song, anchor = songs[index], "" if index else ' id="song"'
    if len(songs) == 1:
        st.html(HEADING.format(anchor, html.escape(song.title), song.facts))
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            facts = difference(songs[0].settings, song.settings) if index else FACTS.format(song.settings)
            st.html(HEADING.format(anchor, f"{LETTERS[index]} · {html.escape(song.title)}", facts))
            st.button("Keep this one", key=f"keep-{index}", on_click=keep, args=(session, song))
    show_figure(song, f"spectrogram-{index}", HEIGHTS_PX[len(songs)])


def show_figure(song: PageSong, key: str, height: int | str) -> None:
    """A song's spectrogram, or an empty figure over which the player draws it. height: in px, or "stretch"."""
    from kpop.ui.spectrogram import empty_figure  # imports scipy, which the page must not wait for

    figure = song.figure or empty_figure(song.length_s, song.seed_end_s)
    st.plotly_chart(figure, config=STILL, key=key, alt=f"Spectrogram of {song.title}", height=height)


def keep(session: SessionState, song: PageSong) -> None:
    """Remove the other songs. For callbacks."""
    keeper(song.settings)()
    set_controls(song.settings)
    session.show((song,), get_engine())


def difference(one: Settings, other: Settings) -> str:
    """What has changed, e.g. "temperature 1.00 → 1.60"."""
    changes, values = [], asdict(other)
    for name, value in asdict(one).items():
        if value != values[name]:
            shape = "{:.2f} → {:.2f}" if isinstance(value, float) else "{} → {}"
            changes.append(f"{LABELS.get(name, name)} {shape.format(value, values[name])}")
    return " · ".join(changes)


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
