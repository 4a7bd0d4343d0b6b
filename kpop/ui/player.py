"""The player and the spectrograms of the songs on the page; see player.js."""

import html
import random
from dataclasses import asdict, fields, replace
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.engine import get_engine
from kpop.generation.titles import song_title
from kpop.server import SongFile
from kpop.settings import RANDOMNESS_RANGE, TEMPERATURE_RANGE, Beat, Settings
from kpop.ui.assets import STATIC_DIR
from kpop.ui.controls import N_VARIATIONS
from kpop.ui.feedback import record_kept
from kpop.ui.session_state import SessionState, set_controls
from kpop.ui.song import RenderedSong

REDRAW_S = 0.5
STILL = {"displayModeBar": False, "scrollZoom": False}  # a finger scrolls past the figure
HEIGHTS_PX = {1: 360, 2: 260, N_VARIATIONS: 200}  # of a figure, by their number
LETTERS = "ABCD"
INVITATION = (
    "He knows every real one by heart. Pick the first few seconds, decide how much of them the machine may forget,"
    " press <b>Generate</b> – and it dreams up the rest of a song that nobody has ever heard."
)
SENT = (
    "Everything is set as it was for that song: press <b>Generate</b>, and the machine dreams it again, note for note."
)
N_BARS = 36
LABELS = {"randomness": "seed randomness", "temperature": "temperature", "seed_number": "seed number"}
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
    """A fragment, at the same place on every run: elsewhere the player would be made anew, and fall silent."""
    with layout.player:
        st.fragment(run_every=REDRAW_S if session.busy else None)(_update_player)(session, session.busy, base_path)


def _update_player(session: SessionState, busy: bool, base_path: str) -> None:
    """busy: when the page was drawn; once the session no longer is, the page is drawn again."""
    if (session.rendering and session.rendering.finished) or (busy and not session.busy):
        st.rerun()
    show_player(key="player", data=player_data(session, base_path))


def player_data(session: SessionState, base_path: str) -> dict:
    """For player.js: the songs on the page, or the one in the making; which of them is to start; status and error."""
    if job := session.job:
        length_s, known = None if job.endless else job.settings.length_s, session.preview
        track = _track(0, session.files[0], song_title(job.settings), length_s, known.seed_end_s, known.beat, base_path)
        tracks = [track | {"growth": _growth(session)}]
    else:
        tracks = [
            _track(i, song.file, song.title, song.length_s, song.seed_end_s, song.beat, base_path)
            for i, song in enumerate(session.songs)
        ]
    return {"tracks": tracks, "play": session.play, "status": session.status, "error": session.error}


def _track(
    index: int, file: SongFile, title: str, length_s: float | None, seed_end_s: float, beat: Beat, base_path: str
) -> dict:
    track = {"url": file.url(base_path), "title": title, "length_s": length_s, "seed_end_s": seed_end_s}
    return track | {"plot": f"track-{index}", "beat": asdict(beat)}


def _growth(session: SessionState) -> dict | None:
    """The image of the song in the making, and the seconds that it covers."""
    if not session.job.pcm.n_bytes:
        return None
    from kpop.ui.growth import GrowingSpectrogram, png_uri  # imports scipy, which the page must not wait for

    session.growing = session.growing or GrowingSpectrogram(session.job.pcm)
    session.growing.update()
    if not len(session.growing.columns):
        return None
    from_s, to_s = session.growing.span_s
    return {"image": png_uri(session.growing.columns), "from_s": from_s, "to_s": to_s}


def show_songs(session: SessionState, layout: Layout) -> None:
    """The song in the making, if it plays; else the finished ones, or a welcome."""
    songs = session.songs
    with layout.first.container(key="track-0"):
        if session.job:
            show_frame(session)
        elif songs:
            show_song(songs[0], 0, session)
        else:
            show_welcome(session.sent)
    if not session.job:
        for i, song in enumerate(songs[1:], 1):
            with layout.others.container(key=f"track-{i}"):
                show_song(song, i, session)


def show_sent(session: SessionState) -> None:
    """At the top, where a phone shows it: that somebody has sent a song, until the first one is made."""
    waiting = session.sent and not (session.songs or session.jobs)
    text = f"Somebody sent you “{html.escape(session.sent)}”: press Generate to hear it." if waiting else ""
    st.html(f'<p class="sent">{text}</p>')


def show_welcome(sent: str | None) -> None:
    """sent: title of a song whose link brought the listener here."""
    title, text = ("Kevin needs new songs.", INVITATION)
    if sent:
        title, text = f"Somebody sent you “{html.escape(sent)}”", SENT
    rng, bar = random.Random(4), '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>'
    bars = "".join(bar.format(rng.uniform(15, 95), rng.uniform(0, 5)) for _ in range(N_BARS))
    welcome = (STATIC_DIR / "welcome.html").read_text(encoding="utf-8")
    st.html(welcome.format(title=title, words=text, bars=bars))


def show_frame(session: SessionState) -> None:
    """The frame in which the player lets the picture of a song in the making grow."""
    from kpop.ui.spectrogram import empty_figure  # imports scipy, which the page must not wait for

    job = session.job
    title, length_s = song_title(job.settings), None if job.endless else job.settings.length_s
    show_title(title, "Endless: until you leave or make another song" if job.endless else "Being made…")
    show_figure(empty_figure(length_s, session.preview.seed_end_s), 0, 1, title)


def show_song(song: RenderedSong, index: int, session: SessionState) -> None:
    if len(session.songs) == 1:
        show_title(song.title, song.facts)
    else:
        show_version(song, index, session)
    show_figure(song.figure, index, len(session.songs), song.title)


def show_title(title: str, facts: str) -> None:
    st.html(f'<h2 class="now" id="song">{html.escape(title)}</h2><p class="facts">{html.escape(facts)}</p>')


def show_version(song: RenderedSong, index: int, session: SessionState) -> None:
    """The heading of one of several songs: how it differs from the first, and a button that removes the others."""
    first, settings = session.songs[0].settings, song.settings
    text = f"temperature {settings.temperature:.2f} · seed randomness {settings.randomness:.2f}"
    text = difference(first, settings) if index else text
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(f'<h2 class="now">{LETTERS[index]} · {html.escape(song.title)}</h2><p class="facts">{text}</p>')
        st.button("Keep this one", key=f"keep-{index}", on_click=keep, args=(session, index))


def keep(session: SessionState, index: int) -> None:
    """Remove the other songs. For callbacks."""
    song = session.songs[index]
    record_kept(song.settings)
    set_controls(song.settings)
    session.show((song,), get_engine())


def show_figure(figure, index: int, n_songs: int, title: str) -> None:
    if figure.layout.height != HEIGHTS_PX[n_songs]:
        figure.update_layout(height=HEIGHTS_PX[n_songs])
    st.plotly_chart(figure, config=STILL, key=f"spectrogram-{index}", alt=f"Spectrogram of {title}")


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
