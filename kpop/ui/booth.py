"""A booth at a fair: who stands before it, what they hear, and which of two songs is ahead today.

The booth, ?booth=1: what stands on the screen before a crowd, without anything to scroll.
"""

import html
import logging
import math
import random
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from enum import StrEnum
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.errors import KpopError
from kpop.feedback import (
    KEPT,
    MADE,
    SEED_NUMBERS,
    SETTINGS_ARMS,
    Store,
    Taste,
    start_of_today,
    starting_settings,
    the_store,
    vote_now,
)
from kpop.generation.clips import ClipInfo, built_in_clips
from kpop.generation.titles import song_title
from kpop.model_info import available_models
from kpop.server import audience, is_served
from kpop.settings import LENGTH_RANGE_S, Settings
from kpop.ui import player
from kpop.ui.assets import style
from kpop.ui.covers import cover_uri
from kpop.ui.player import STILL
from kpop.ui.progress import follow, let_a_rerun_in
from kpop.ui.session_state import SessionState, Wish, metronome_rate
from kpop.ui.song import live_data, outline
from kpop.ui.tasks import warming

if TYPE_CHECKING:
    from kpop.engine import Engine


SONG_S = 40.0
DUEL_S = 20.0
# Temperatures that no slider gives: so the store tells what won a duel from what listeners have kept elsewhere.
TAME, WILD = 0.81, 1.31
IDLE_S, IDLE_RANGE_S = 60.0, (5.0, 600.0)
PATIENCE_S = 0.1  # with another writer of votes: the crowd does not wait
N_DRAWS = 8  # for a beginning other than the last one
ID_BITS = 63

_log = logging.getLogger(__name__)


class Scene(StrEnum):
    """What the booth does: calls people, lets them choose, asks for their vote, tells the outcome, or just plays on."""

    ATTRACT = "attract"
    CHOOSE = "choose"
    DUEL = "duel"
    VERDICT = "verdict"
    RADIO = "radio"


class Score:
    """How often the tame and the wild take have won today, in this process and, where votes are kept, before it.

    store: where the votes are kept, None for nowhere. Callable from any thread.
    """

    def __init__(self, store: Store | None, today: Callable[[], date] = date.today) -> None:
        self._store, self._today = store, today
        self._lock = threading.Lock()
        self._day = today()
        self._tame, self._wild = self._stored()

    @property
    def standing(self) -> tuple[int, int]:
        """Duels won by the tame and by the wild take."""
        with self._lock:
            self._begin_day()
            return self._tame, self._wild

    def add(self, winner: Settings, loser: Settings) -> None:
        """Counts a duel; where votes are kept, the winner as kept and the loser as made."""
        with self._lock:
            self._begin_day()
            wild = winner.temperature == WILD
            self._wild, self._tame = self._wild + wild, self._tame + (not wild)
        try:
            for kind, settings in ((KEPT, winner), (MADE, loser)):
                if self._store:
                    title = song_title(settings)
                    self._store.write(secrets.randbits(ID_BITS), vote_now(kind, settings, False, title))
        except KpopError as error:
            _log.warning("A duel counts only until the booth is closed: %s", error)

    def _begin_day(self) -> None:
        if self._day != self._today():
            self._day, self._tame, self._wild = self._today(), 0, 0

    def _stored(self) -> tuple[int, int]:
        try:
            votes = self._store.votes() if self._store else []
        except KpopError as error:
            _log.warning("The score begins anew: %s", error)
            votes = []
        won = [v.settings.temperature for v in votes if v.kind == KEPT and v.minute >= start_of_today()]
        return won.count(TAME), won.count(WILD)


@cache
def the_score() -> Score:
    """The process's only one."""
    return Score(the_store(PATIENCE_S))


def offer(rng: random.Random, former: str | None = None) -> Settings:
    """What to play next: drawn by what people like, or merely by chance where no votes are kept.

    former: the last song's clip; another one comes next, if there is one
    """
    for _ in range(N_DRAWS):
        song = _draw(rng)
        if song.clip != former:
            break
    models = available_models()
    return replace(song, model=models[0]) if models and song.model not in models else song


def _draw(rng: random.Random) -> Settings:
    store, clips = the_store(PATIENCE_S), built_in_clips()
    try:
        if store:
            return starting_settings(Taste.of(store), rng)
    except KpopError as error:
        _log.info("No taste for now: %s", error)
    randomness, temperature = rng.choice(SETTINGS_ARMS)
    clip = rng.choice(clips).name if clips else Settings().clip
    return Settings(randomness, temperature, seed_number=rng.randrange(SEED_NUMBERS), clip=clip)


class BoothVisit(SessionState):
    """A visit in which everything sounds at once: of two takes the first is heard while both are made."""

    def wish_duel(self, one: Settings, other: Settings) -> None:
        """Asks for two takes, and takes those of the former round off the page."""
        self._show(())
        self._turn_to(Wish((one, other)))

    def give_up(self) -> None:
        """Nobody waits any more for what is being made."""
        for job in self.jobs:
            job.cancel()

    def ask(self, engine: "Engine", base_path: str) -> bool:
        asked = super().ask(engine, base_path)
        if asked and len(self.jobs) > 1:
            first = self.jobs[0]
            self.live = live_data(first, base_path)
            self.outline = outline(first, metronome_rate(engine, first.settings.model))
        if asked and len(self.jobs) == 1 and self.performing:
            self.performing.cancel()  # the song is heard and seen as it comes: nothing more is to be shown of it
            self.performing = None
        return asked


class Booth:
    """What happens from touch to touch.

    scene: what is going on; visit: the sound of it; duel: the two takes, of which `winner` is 0 or 1 after the vote
    turn: another number with everything that happens, so that what comes too late can be told
    offer: next song to play, given the last one's clip; song_s: how long such songs are, seconds
    """

    def __init__(
        self,
        score: Score,
        rng: random.Random,
        song_s: float = SONG_S,
        offer: Callable[[random.Random, str | None], Settings] = offer,
    ) -> None:
        self.score, self._rng, self._offer = score, rng, offer
        self.song_s = min(max(song_s, LENGTH_RANGE_S[0]), LENGTH_RANGE_S[1])
        self.turn = 0
        self.song, self.visit = Settings(), BoothVisit()
        self.go_home()

    @property
    def wild(self) -> int:
        """Which of the two takes is the wild one."""
        return int(self.duel[1].temperature == WILD)

    def go_home(self) -> None:
        """Forgets who was here, and calls the next ones."""
        self.visit.give_up()
        self._turn(Scene.ATTRACT)
        self.visit = BoothVisit()
        self.duel: tuple[Settings, ...] = ()
        self.winner: int | None = None
        self._play_next()

    def song_over(self, turn: int) -> None:
        """The song that calls people has been heard, or will never be: plays another. turn: of that song."""
        if self.scene is Scene.ATTRACT and turn == self.turn:
            self._turn(Scene.ATTRACT)
            self._play_next()

    def idle(self, turn: int) -> None:
        """Nobody has been here for a while. turn: when that was noticed."""
        if self.scene is not Scene.ATTRACT and turn == self.turn:
            self.go_home()

    def touch(self) -> None:
        """Somebody is here: they may choose. What sounds goes on until they have."""
        self._turn(Scene.CHOOSE)

    def pick(self, clip: str | None) -> None:
        """Two takes from this clip, or from a surprise: a tame and a wild one, on sides that chance decides."""
        if self.scene is not Scene.CHOOSE:
            return
        drawn = self._offer(self._rng, None)
        song = replace(
            drawn, clip=clip or drawn.clip, length_s=min(DUEL_S, self.song_s), randomness=Settings().randomness
        )
        takes = [replace(song, temperature=temperature) for temperature in (TAME, WILD)]
        self._rng.shuffle(takes)
        self.duel, self.winner = tuple(takes), None
        self._turn(Scene.DUEL)
        self.visit.wish_duel(*takes)

    @property
    def may_vote(self) -> bool:
        """Whether both takes are there to be heard."""
        return self.scene is Scene.DUEL and len(self.visit.performances) == 2

    def vote(self, side: int) -> None:
        """Side 0 or 1 is the better one; counts once."""
        if not self.may_vote:
            return
        self.winner = side
        self.score.add(self.duel[side], self.duel[1 - side])
        self._turn(Scene.VERDICT)

    def play_radio(self) -> None:
        """The winner, or what is offered, goes on for ever."""
        won = self.duel[self.winner] if self.winner is not None else self._offer(self._rng, self.song.clip)
        self.song = won
        self._turn(Scene.RADIO)
        self.visit.wish(won, endless=True)

    def _play_next(self) -> None:
        self.song = replace(self._offer(self._rng, self.song.clip), length_s=self.song_s)
        self.visit.wish(self.song)

    def _turn(self, scene: Scene) -> None:
        self.scene = scene
        self.turn += 1


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
_SHOW = Path(__file__).parent / "static"
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
        st.session_state.booth = Booth(the_score(), random.SystemRandom(), _number("length_s", SONG_S))
    return st.session_state.booth


def _number(name: str, usual: float) -> float:
    """A number from the address; the usual one instead of nonsense."""
    try:
        number = float(st.query_params.get(name, usual))
    except ValueError:
        return usual
    return number if math.isfinite(number) else usual


def idle_s() -> float:
    low, high = IDLE_RANGE_S
    return min(max(_number("idle", IDLE_S), low), high)


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
    from kpop.ui.spectrogram import empty_figure  # plotly takes a while: the page must not wait for it

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
