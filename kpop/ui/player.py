"""The stage and its live player in the browser: what they are built from, and what they are told.

The stage: pictures and players of the songs on the page, and the one that is heard while it is made.
"""

import html
import random
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.generation.titles import song_title
from kpop.server import is_served
from kpop.settings import RANDOMNESS_RANGE, TEMPERATURE_RANGE, Beat, Settings
from kpop.ui.assets import STATIC_DIR
from kpop.ui.feedback import record_kept
from kpop.ui.requests import set_controls
from kpop.ui.session_state import N_TAKES, SessionState
from kpop.ui.song import RenderedSong
from kpop.ui.tasks import warming

if TYPE_CHECKING:
    from kpop.ui.session_state import SessionState


N_BANDS = 128
_HERE = Path(__file__).parent / "static"
_SCRIPTS = ("live_sound.js", "picture.js", "handover.js", "stage.js", "player.js")


def _text(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


HTML, CSS, JS = _text("player.html"), _text("player.css"), _text(*_SCRIPTS)


def stage_data(visit: "SessionState") -> dict:
    """What the stage is told: the songs on it, and the one that is being made."""
    return {"songs": _songs(visit), "live": visit.live}


def _songs(visit: "SessionState") -> list[dict]:
    """One for every picture on the page, the song in the making first."""
    if job := visit.job:
        length_s = None if job.endless else job.settings.length_s
        return [_song(song_title(job.settings), length_s, visit.outline.seed_end_s, visit.outline.beat)]
    return [_song(song.title, song.settings.length_s, song.seed_end_s, song.beat) for song in visit.performances]


def _song(title: str, length_s: float | None, seed_end_s: float, beat: Beat) -> dict:
    return {
        "title": title,
        "length_s": length_s,
        "seed_end_s": seed_end_s,
        "beat": {
            "first_downbeat_s": beat.first_downbeat_s,
            "beat_s": beat.beat_s,
            "beats_per_bar": beat.beats_per_bar,
        },
    }


STILL = {"displayModeBar": False, "scrollZoom": False}  # a picture to point at, which lets a finger scroll past
HEIGHTS_PX = {1: 360, 2: 260, N_TAKES: 200}  # of a picture, by how many there are
LETTERS = "ABCD"
INVITATION = (
    "He knows every real one by heart. Pick the first few seconds, decide how much of them the machine may forget,"
    " press <b>Generate</b> – and it dreams up the rest of a song that nobody has ever heard."
)
SENT = (
    "Everything is set as it was for that song: press <b>Generate</b>, and the machine dreams it again, note for note."
)
N_BARS = 36
SHOWN_AS = {"randomness": "seed randomness", "temperature": "temperature", "seed_number": "seed number"}
FAR = 0.5  # far enough for a difference that everybody hears
CHANGES = {"Temperature": ("temperature", TEMPERATURE_RANGE), "Seed randomness": ("randomness", RANDOMNESS_RANGE)}


class Stage(NamedTuple):
    """Places that are there on every run, so that nothing on them is made anew because something else appears."""

    first: DeltaGenerator
    others: DeltaGenerator
    player: DeltaGenerator
    below: DeltaGenerator


def set_stage() -> Stage:
    return Stage(*(st.container(key=f"stage-{name}") for name in Stage._fields))


def show_player(visit: SessionState, stage: Stage) -> None:
    """Playheads and the live player, on every run at the same place: taken away, it would fall silent."""
    parts = {"html": HTML, "css": CSS, "js": JS, "isolate_styles": False}
    with stage.player:
        st.components.v2.component("live_player", **parts)(key="player", data=stage_data(visit))


def show_songs(visit: SessionState, stage: Stage) -> None:
    """The song in the making, if one is heard; else the finished ones, or a welcome."""
    songs = visit.performances
    with stage.first.container(key="lane-0"):
        if visit.job and is_served():
            show_frame(visit)
        elif songs:
            show_song(songs[0], 0, len(songs), visit)
        else:
            show_welcome(visit.sent)
    if not visit.job:
        for i, song in enumerate(songs[1:], 1):
            with stage.others.container(key=f"lane-{i}"):
                show_song(song, i, len(songs), visit)


def show_sent(visit: SessionState) -> None:
    """At the very top, where a phone shows it: that somebody has passed on a song, until the first one is made."""
    waiting = visit.sent and not (visit.performances or visit.jobs)
    words = f"Somebody sent you “{html.escape(visit.sent)}”: press Generate to hear it." if waiting else ""
    st.html(f'<p class="sent">{words}</p>')


def show_welcome(sent: str | None) -> None:
    """sent: title of a song that somebody has passed on by a link."""
    title, words = ("Kevin needs new songs.", INVITATION)
    if sent:
        title, words = f"Somebody sent you “{html.escape(sent)}”", SENT
    welcome = (STATIC_DIR / "welcome.html").read_text(encoding="utf-8")
    st.html(welcome.format(title=title, words=words, bars=dancing_bars()))


def show_frame(visit: SessionState) -> None:
    """Where the song in the making will be drawn; the song before it sounds on until this one does."""
    from kpop.ui.spectrogram import empty_figure  # plotly takes a while: the page must not wait for it

    job = visit.job
    show_title(song_title(job.settings), "Endless: until you press Stop or leave" if job.endless else "Being made…")
    length_s = None if job.endless else job.settings.length_s
    show_picture(empty_figure(length_s, visit.outline.seed_end_s), 0, 1, song_title(job.settings))
    sound = st.container(key="song-0")
    for former in visit.performances[:1]:
        sound.audio(former.wav, alt=former.title)


def show_song(song: RenderedSong, index: int, n_songs: int, visit: SessionState) -> None:
    if n_songs == 1:
        show_title(song.title, song.facts)
    else:
        show_version(song, index, visit)
    show_picture(song.figure, index, n_songs, song.title)
    st.container(key=f"song-{index}").audio(song.wav, alt=song.title)


def show_title(title: str, facts: str) -> None:
    st.html(f'<h2 class="now" id="song">{html.escape(title)}</h2><p class="facts">{html.escape(facts)}</p>')


def show_version(song: RenderedSong, index: int, visit: SessionState) -> None:
    """One of several: what it is, and the button that keeps it and lets the others go."""
    words = difference(visit.performances[0].settings, song.settings) if index else settings_in_words(song.settings)
    heading = f'<h2 class="now">{LETTERS[index]} · {html.escape(song.title)}</h2><p class="facts">{words}</p>'
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(heading)
        st.button("Keep this one", key=f"keep-{index}", on_click=keep, args=(visit, index))


def keep(visit: SessionState, index: int) -> None:
    """For callbacks."""
    song = visit.performances[index]
    record_kept(song.settings, song.own_clip is not None, song.title)
    set_controls(song.settings)
    visit.keep(index, warming().result())


def show_picture(figure, index: int, n_songs: int, title: str) -> None:
    if figure.layout.height != HEIGHTS_PX[n_songs]:
        figure.update_layout(height=HEIGHTS_PX[n_songs])
    st.plotly_chart(figure, config=STILL, key=f"spectrogram-{index}", alt=f"Spectrogram of {title}")


def settings_in_words(settings: Settings) -> str:
    return f"temperature {settings.temperature:.2f} · seed randomness {settings.randomness:.2f}"


def difference(one: Settings, other: Settings) -> str:
    """What was changed, e.g. "temperature 1.00 → 1.60"."""
    changed = [field.name for field in fields(Settings) if getattr(one, field.name) != getattr(other, field.name)]
    return " · ".join(f"{SHOWN_AS.get(n, n)} {_plain(getattr(one, n))} → {_plain(getattr(other, n))}" for n in changed)


def _plain(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value}"


@st.fragment
def compare(visit: SessionState) -> None:
    """Another version of the song beside it: the same seed, one slider changed."""
    song = visit.performances[0]
    with st.popover("Compare", icon=":material/compare:"):
        st.caption("The same song with one slider moved, to switch between while they play.")
        label = st.radio("Change only", CHANGES, horizontal=True, key="compare-what")
        name, span = CHANGES[label]
        here = getattr(song.settings, name)
        away = here + FAR if here + FAR <= span[1] else here - FAR
        value = st.slider(f"{label} of the other song", *span, value=away, step=0.05, key=f"compare-{name}-{here}")
        same = value == here
        if st.button("Make the other one", type="primary", disabled=same, key="compare-go"):
            visit.wish_beside(replace(song.settings, **{name: value}))
            st.rerun()
        if same:
            st.caption("That is the song you have: move the slider.")


def dancing_bars() -> str:
    """Bars as on an old hi-fi, each swaying at its own moment."""
    chance = random.Random(4)
    bar = '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>'
    return "".join(bar.format(chance.uniform(15, 95), chance.uniform(0, 5)) for _ in range(N_BARS))
