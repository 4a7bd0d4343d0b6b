"""The player and the spectrograms of the songs on the page; see player.js."""

import html
import random
from dataclasses import asdict, fields, replace
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.engine import get_engine
from kpop.settings import RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.ui.assets import STATIC_DIR
from kpop.ui.controls import N_VARIATIONS
from kpop.ui.feedback import record_kept
from kpop.ui.session_state import SessionState, set_controls
from kpop.ui.song import SongPreview

REDRAW_S = 0.5
STILL = {"displayModeBar": False, "scrollZoom": False}  # a finger scrolls past the figure
HEIGHTS_PX = {1: 360, 2: 260, N_VARIATIONS: 200}  # of a figure, by their number
LETTERS = "ABCD"
WELCOME = '<section class="welcome"><h2>{}</h2><p>{}</p><div class="bars" aria-hidden="true">{}</div></section>'
BAR = '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>'
INVITATION = (
    "He knows every real one by heart. Pick the first few seconds, decide how much of them the machine may forget,"
    " press <b>Generate</b> – and it dreams up the rest of a song that nobody has ever heard."
)
SENT = (
    "Everything is set as it was for that song: press <b>Generate</b>, and the machine dreams it again, note for note."
)
N_BARS = 36
HEADING = '<h2 class="now"{}>{}</h2><p class="facts">{}</p>'
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


class Layout(NamedTuple):
    """Containers that are there on every run, so that nothing in them is drawn anew because something else appears."""

    first: DeltaGenerator
    player: DeltaGenerator
    others: DeltaGenerator
    below: DeltaGenerator


def make_layout() -> Layout:
    """In the current container, top to bottom."""
    return Layout(*(st.container(key=f"layout-{name}") for name in Layout._fields))


def draw_player(session: SessionState, layout: Layout, base_path: str) -> None:
    """A fragment, at the same place on every run: elsewhere the player would be made anew, and fall silent.

    Once the session is no longer busy, or its songs have been rendered, the whole page is drawn again.
    """
    was_busy = session.busy

    @st.fragment(run_every=REDRAW_S if was_busy else None)
    def update() -> None:
        if (session.rendering and session.rendering.finished) or (was_busy and not session.busy):
            st.rerun()
        show_player(key="player", data=[player_data(session, base_path)])  # a dict would make Streamlit load pandas

    with layout.player:
        update()


def player_data(session: SessionState, base_path: str) -> dict:
    """For player.js: the songs on the page, or the one in the making; which of them is to start; status and error."""
    songs = [(session.files[0], session.preview)] if session.job else [(song.file, song) for song in session.songs]
    tracks = [
        {"url": file.url(base_path), "title": song.title, "length_s": song.length_s, "beat": asdict(song.beat)}
        | {"plot": f"track-{i}"}
        for i, (file, song) in enumerate(songs)
    ]
    if session.job:
        tracks[0]["growth"] = _growth(session)
    return {"tracks": tracks, "play": session.play, "status": session.status, "error": session.error}


def _growth(session: SessionState) -> dict | None:
    """The image of the song in the making, and the seconds that it covers."""
    if not session.job.pcm.n_bytes:
        return None
    from kpop.ui.spectrogram import GrowingSpectrogram, png_uri  # imports scipy, which the page must not wait for

    session.growing = session.growing or GrowingSpectrogram(session.job.pcm)
    session.growing.update()
    if not len(session.growing.columns):
        return None
    from_s, to_s = session.growing.span_s
    return {"image": png_uri(session.growing.columns), "from_s": from_s, "to_s": to_s}


def show_songs(session: SessionState, layout: Layout) -> None:
    """The song in the making, if it plays; else the finished ones, or a welcome."""
    songs = (session.preview,) if session.job else session.songs
    with layout.first.container(key="track-0"):
        if songs:
            show_song(session, songs, 0)
        else:
            show_welcome(session.sent)
    for i in range(1, len(songs)):
        with layout.others.container(key=f"track-{i}"):
            show_song(session, songs, i)


def show_sent(session: SessionState) -> None:
    """At the top, where a phone shows it: that somebody has sent a song, until the first one is made."""
    waiting = session.sent and not (session.songs or session.jobs)
    text = f"Somebody sent you “{html.escape(session.sent)}”: press Generate to hear it." if waiting else ""
    st.html(f'<p class="sent">{text}</p>')


def show_welcome(sent: str | None) -> None:
    """sent: title of a song whose link brought the listener here."""
    title, text = (f"Somebody sent you “{html.escape(sent)}”", SENT) if sent else ("Kevin needs new songs.", INVITATION)
    rng = random.Random(4)
    bars = "".join(BAR.format(rng.uniform(15, 95), rng.uniform(0, 5)) for _ in range(N_BARS))
    st.html(WELCOME.format(title, text, bars))


def show_song(session: SessionState, songs: tuple[SongPreview, ...], index: int) -> None:
    """One of several has a heading that says how it differs from the first, and a button that removes the others."""
    song, first, anchor = songs[index], songs[0].settings, "" if index else ' id="song"'
    if len(songs) == 1:
        st.html(HEADING.format(anchor, html.escape(song.title), song.facts))
    else:
        facts = f"temperature {first.temperature:.2f} · seed randomness {first.randomness:.2f}"
        facts = difference(first, song.settings) if index else facts
        with st.container(horizontal=True, vertical_alignment="center"):
            st.html(HEADING.format(anchor, f"{LETTERS[index]} · {html.escape(song.title)}", facts))
            st.button("Keep this one", key=f"keep-{index}", on_click=keep, args=(session, index))
    from kpop.ui.spectrogram import empty_figure  # imports scipy, which the page must not wait for

    figure, height_px = song.figure or empty_figure(song.length_s, song.seed_end_s), HEIGHTS_PX[len(songs)]
    if figure.layout.height != height_px:
        figure.update_layout(height=height_px)
    st.plotly_chart(figure, config=STILL, key=f"spectrogram-{index}", alt=f"Spectrogram of {song.title}")


def keep(session: SessionState, index: int) -> None:
    """Remove the other songs. For callbacks."""
    song = session.songs[index]
    record_kept(song.settings)
    set_controls(song.settings)
    session.show((song,), get_engine())


def difference(one: Settings, other: Settings) -> str:
    """What has changed, e.g. "temperature 1.00 → 1.60"."""
    pairs = [(field.name, getattr(one, field.name), getattr(other, field.name)) for field in fields(Settings)]
    return " · ".join(f"{LABELS.get(name, name)} {_text(a)} → {_text(b)}" for name, a, b in pairs if a != b)


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value}"


@st.fragment
def compare(session: SessionState) -> None:
    """A request for another version of the song, with the same seed and one slider changed."""
    settings = session.songs[0].settings
    with st.popover("Compare", icon=":material/compare:"):
        st.caption("The same song with one slider moved, to switch between while they play.")
        label = st.radio("Change only", CHANGES, horizontal=True, key="compare-what")
        name, span = CHANGES[label]
        value = getattr(settings, name)
        far = value + FAR if value + FAR <= span[1] else value - FAR
        other = st.slider(f"{label} of the other song", *span, value=far, step=0.05, key=f"compare-{name}-{value}")
        if st.button("Make the other one", type="primary", disabled=other == value, key="compare-go"):
            own_clip = session.songs[0].own_clip
            session.request(replace(settings, **{name: other}), own_clip=own_clip, beside=True)
            st.rerun()
        if other == value:
            st.caption("That is the song you have: move the slider.")
