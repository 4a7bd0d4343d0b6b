"""The booth, ?booth=1: what stands on the screen before a crowd, without anything to scroll."""

import html
import math
import random
from functools import lru_cache, partial
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.generation.clips import ClipInfo, built_in_clips
from kpop.generation.settings import Settings
from kpop.generation.titles import song_title
from kpop.page.looks import style
from kpop.page.stage import STILL
from kpop.page.waiting import follow, let_a_rerun_in
from kpop.serve.audience import audience
from kpop.serve.lifespan import is_served
from kpop.show import booth as room
from kpop.show import player
from kpop.show.booth import Booth, Scene, the_score
from kpop.show.covers import cover_uri
from kpop.show.warming import warming

LETTERS = "AB"
KEYS = {  # what a keyboard does, in every scene
    Scene.ATTRACT: (("Space", "start"), ("R", "radio")),
    Scene.CHOOSE: (("← →", "move"), ("Enter", "pick"), ("Space", "surprise"), ("Esc", "start over")),
    Scene.DUEL: (("1 2", "hear"), ("← →", "vote"), ("Esc", "start over")),
    Scene.VERDICT: (("Space", "another round"), ("R", "radio"), ("Esc", "start over")),
    Scene.RADIO: (("Space", "start"), ("Esc", "back")),
}
WORDS_PX = 16  # in the pictures
MARGIN_PX = {"l": 68, "r": 14, "t": 44, "b": 36}
_SHOW = Path(room.__file__).parent
PARTS = {
    "html": (_SHOW / "booth.html").read_text(encoding="utf-8"),
    "css": "",
    "js": (_SHOW / "booth.js").read_text(encoding="utf-8"),
    "isolate_styles": False,
}


def is_booth() -> bool:
    """Whether the address asks for the booth."""
    return st.query_params.get("booth") == "1"


def booth(base_path: str) -> None:
    """The whole page. base_path: where it lives, "" for the root.

    The address may say how long the songs are that call people, length_s, and after how many seconds without a touch
    the booth starts over, idle.
    """
    here = the_booth()
    st.html(style("booth"))
    st.html(_covers(built_in_clips()))
    head, stage, foot = (st.container(key=f"booth-{name}") for name in ("head", "stage", "foot"))
    news = st.empty()
    warmed = warming()
    asked = warmed.finished and not warmed.error and here.visit.ask(warmed.result(), base_path)
    if asked and is_served():
        audience().expect(here.visit.job)
    with head:
        st.html(headline(here))
    with stage:
        show_lanes(here)
    with foot:
        show_buttons(here)
    show_players(here)
    follow_up(here, news)


def the_booth() -> Booth:
    """This screen's."""
    if "booth" not in st.session_state:
        st.session_state.booth = Booth(the_score(), random.SystemRandom(), _number("length_s", room.SONG_S))
    return st.session_state.booth


def _number(name: str, usual: float) -> float:
    """A number from the address; the usual one instead of nonsense."""
    try:
        number = float(st.query_params.get(name, usual))
    except ValueError:
        return usual
    return number if math.isfinite(number) else usual


def idle_s() -> float:
    low, high = room.IDLE_RANGE_S
    return min(max(_number("idle", room.IDLE_S), low), high)


@lru_cache(maxsize=1)
def _covers(clips: tuple[ClipInfo, ...]) -> str:
    cover = '.st-key-booth-choose .st-key-booth-clip-{} button::before {{ background-image: url("{}"); }}'
    return f"<style>{chr(10).join(cover.format(i, cover_uri(clip)) for i, clip in enumerate(clips))}</style>"


def headline(here: Booth) -> str:
    """The largest words, as HTML."""
    if here.scene in (Scene.ATTRACT, Scene.RADIO):
        kicker = (
            "Endless radio" if here.scene is Scene.RADIO else "This song never existed. It is being made right now."
        )
        return _song_head(here.song, kicker, here.score.standing)
    if here.scene is Scene.CHOOSE:
        return _head("Pick a beginning", "The machine dreams it on, twice. You say which one is better.")
    if here.scene is Scene.DUEL:
        return _head("Which one is better?", "The same beginning, two moods. Hear both, then vote.")
    return _verdict(here)


def _head(title: str, words: str) -> str:
    return f'<div class="booth-words" role="status"><h1>{title}</h1><p>{words}</p></div>'


def _song_head(song: Settings, kicker: str, standing: tuple[int, int]) -> str:
    clip = next((clip for clip in built_in_clips() if clip.name == song.clip), None)
    cover = f'<img src="{cover_uri(clip)}" alt="">' if clip else ""
    facts = [f"Grown from “{html.escape(clip.title)}”"] if clip else []
    if any(standing):
        facts.append("Today’s duels: Tame {} : {} Wild".format(*standing))
    title = html.escape(song_title(song))
    words = f'<p class="booth-kicker">{kicker}</p><h1>{title}</h1><p>{" · ".join(facts)}</p>'
    return f'<div class="booth-song">{cover}<div class="booth-words">{words}</div></div>'


def _verdict(here: Booth) -> str:
    """Which was which, and how it stands."""
    chosen = "wild" if here.winner == here.wild else "tame"
    tame, wild = here.score.standing
    words = f"<p>You chose <b>{LETTERS[here.winner]}</b>, the {chosen} one.</p>"
    shares = f'<b style="flex-grow:{tame}">Tame {tame}</b><b style="flex-grow:{wild}">{wild} Wild</b>'
    bar = f'<div class="booth-score" role="img" aria-label="Today: tame {tame}, wild {wild}">{shares}</div>'
    title = f"{LETTERS[here.wild]} was the wild one"
    return f'<div class="booth-words" role="status"><h1>{title}</h1>{words}</div>{bar}'


def show_lanes(here: Booth) -> None:
    """The pictures: one of the song in the making, or one for each take of a duel."""
    visit = here.visit
    songs = () if visit.job else visit.performances
    duel = here.scene is Scene.DUEL
    with st.container(key="lane-0"):
        if visit.job:
            show_frame(0, LETTERS[0] if duel else song_title(visit.job.settings), here)
        elif songs:
            show_picture(songs[0].figure, 0, caption(here, 0))
        sound = st.container(key="song-0")
        if songs:
            sound.audio(songs[0].wav, alt=LETTERS[0])
    with st.container(key="lane-1"):
        if len(songs) == 2:
            show_picture(songs[1].figure, 1, caption(here, 1))
            st.container(key="song-1").audio(songs[1].wav, alt=LETTERS[1])
        elif visit.job and duel:
            show_frame(1, LETTERS[1], here)
            st.html('<p class="booth-coming"><b>B</b> is on its way…</p>')


def caption(here: Booth, side: int) -> str:
    """What a finished take's picture is called: nothing that would tell before the vote."""
    if here.winner is None:
        return LETTERS[side]
    return f"{LETTERS[side]}, the {'wild' if side == here.wild else 'tame'} one"


def show_frame(index: int, name: str, here: Booth) -> None:
    """Where a song in the making will be drawn."""
    from kpop.show.spectrogram import empty_figure  # plotly takes a while: the page must not wait for it

    job = here.visit.job
    length_s = None if job.endless else job.settings.length_s
    show_picture(empty_figure(length_s, here.visit.outline.seed_end_s), index, name)


def show_picture(figure, index: int, name: str) -> None:
    """As high as the style sheet says."""
    figure.update_layout(height=None, font_size=WORDS_PX, margin=MARGIN_PX)
    alt = f"Spectrogram of {name}"
    st.plotly_chart(figure, config=STILL, key=f"spectrogram-{index}", alt=alt, height="stretch")


def show_buttons(here: Booth) -> None:
    """All that can be pressed, for every scene in a place of its own; the style sheet shows those of the scene."""
    st.button("**Touch anywhere** or press Space: make your own song", key="booth-touch", on_click=here.touch)
    with st.container(key="booth-corner"):
        st.button("Endless radio", key="booth-tune-in", icon=":material/radio:", on_click=here.play_radio)
        st.button("Start over", key="booth-home", icon=":material/replay:", on_click=here.go_home)
    with st.container(key="booth-choose"):
        if here.scene is Scene.CHOOSE:
            for i, clip in enumerate(built_in_clips()):
                st.button(clip.title, key=f"booth-clip-{i}", on_click=here.pick, args=(clip.name,))
            st.button("Surprise me", key="booth-surprise", on_click=here.pick, args=(None,))
    with st.container(key="booth-duel"):
        if here.scene is Scene.DUEL:
            for side, letter in enumerate(LETTERS):
                vote = partial(here.vote, side)
                st.button(f"{letter} is better", key=f"booth-vote-{side}", on_click=vote, disabled=not here.may_vote)
    with st.container(key="booth-verdict"):
        if here.scene is Scene.VERDICT:
            st.button("Another round", key="booth-again", on_click=here.touch)
            st.button("Endless radio", key="booth-radio", on_click=here.play_radio)
    st.html(f'<p class="booth-keys">{key_hints(here.scene)}</p>')


def key_hints(scene: Scene) -> str:
    caps = (("".join(f"<kbd>{key}</kbd> " for key in keys.split()), what) for keys, what in KEYS[scene])
    return " &nbsp; ".join(f"{keys}{what}" for keys, what in caps)


def show_players(here: Booth) -> None:
    """The stage's own player, and the attendant who notices that a song is over or that everybody has left."""
    visit = here.visit
    parts = {"html": player.HTML, "css": player.CSS, "js": player.JS, "isolate_styles": False}
    with st.container(key="booth-players"):
        st.components.v2.component("live_player", **parts)(key="player", data=player.stage_data(visit))
        told = {
            "scene": here.scene.value,
            "turn": here.turn,
            "url": visit.live and visit.live["url"],
            "ready": here.may_vote,
            "idle_s": idle_s(),
            "song_s": here.song_s,
        }
        st.components.v2.component("booth", **PARTS)(
            key="attendant",
            data=told,
            on_over_change=lambda: here.song_over(st.session_state.attendant["over"]),
            on_idle_change=lambda: here.idle(st.session_state.attendant["idle"]),
        )


def follow_up(here: Booth, news: DeltaGenerator) -> None:
    """What comes after the page is drawn: waiting for the engine, or for both takes of a duel."""
    visit, warmed = here.visit, warming()
    if visit.sentence:
        news.error(visit.sentence)
        visit.sentence = None
    elif visit.wishes:
        follow(warmed, warmed, visit, news)
        let_a_rerun_in()
        if warmed.error:
            news.error(f"{warmed.error}")
        else:
            st.rerun()
    elif performing := visit.performing:
        follow(performing, performing, visit, news)
        let_a_rerun_in()
        visit.end_waiting(warmed.result(), performing)
        st.rerun()
