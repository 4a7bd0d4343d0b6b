"""The booth, ?booth=1: a screen for a crowd that plays by itself, and lets people vote on two variations of a song.

Query parameters, in seconds: length_s of the songs that play by themselves; idle time after which it starts over.
"""

import html
import random
import secrets
from contextlib import suppress
from dataclasses import replace
from functools import cache

import streamlit as st

from kpop.engine import get_engine
from kpop.errors import KpopError
from kpop.feedback import KEPT, Vote, open_store, start_of_today, vote_now
from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui.assets import STATIC_DIR, cover_style, cover_uri, style
from kpop.ui.feedback import ID_BITS, SongVote, sample_settings
from kpop.ui.player import LETTERS, REDRAW_S, player_data, show_figure, show_player
from kpop.ui.session_state import SessionState
from kpop.ui.sharing import settings_from_query

SONG_S, DUEL_S, IDLE_S, IDLE_RANGE_S = 40.0, 20.0, 60, (5, 600)
TAME, WILD = 0.81, 1.31  # temperatures that no slider gives: they mark the votes of duels in the store
N_SAMPLES = 8  # of settings, until the clip is another one than the last song's
ATTRACT, CHOOSE, DUEL, VERDICT, RADIO = "attract", "choose", "duel", "verdict", "radio"  # scenes
WORDS = '<div class="booth-words" role="status"><h1>{}</h1><p>{}</p></div>'
SONG = '<div class="booth-song">{}<div class="booth-words"><p class="kicker">{}</p><h1>{}</h1><p>{}</p></div></div>'
SCORE = (
    '<div class="booth-score" role="img" aria-label="Today: tame {0}, wild {1}">'
    '<b>Tame {0}</b><b>{1} Wild</b><p><i style="flex-grow:{0}"></i><i style="flex-grow:{1}"></i></p></div>'
)
QUESTIONS = {
    CHOOSE: ("Pick a beginning", "The machine dreams it on, twice. You say which one is better."),
    DUEL: ("Which one is better?", "The same beginning, two moods. Hear both, then vote."),
}
attend = st.components.v2.component(
    "booth",
    html='<button type="button" class="booth-sound" hidden>Tap for sound</button>',
    js=(STATIC_DIR / "booth.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


@cache
def wins() -> list[Vote]:
    """The winners' votes of all duels: read from the store once, then added to in memory."""
    votes = []
    with suppress(KpopError):
        votes = store.votes() if (store := open_store()) else []
    return [vote for vote in votes if vote.kind == KEPT and vote.settings.temperature in (TAME, WILD)]


def score() -> tuple[int, int]:
    """Numbers of duels won since midnight by the tame and by the wild variation."""
    today = [vote.settings.temperature for vote in wins() if vote.minute >= start_of_today()]
    return today.count(TAME), today.count(WILD)


def count_duel(winner: Settings, loser: Settings) -> None:
    """Add a duel to the score, and if possible to the store: the winner as kept, the loser as made."""
    wins().append(vote_now(KEPT, winner))
    for song in (winner, loser):
        SongVote(song, secrets.randbits(ID_BITS), kept=song is winner).store(counts=True)


class Booth:
    """The state of one screen, changed by the callbacks of its buttons.

    songs: settings of the song on the screen, or of both variations, with a session each; wild, winner: their indices
    """

    def __init__(self, song_s: float, rng: random.Random) -> None:
        self.song_s, self._rng = song_s, rng
        self.songs: tuple[Settings, ...] = (Settings(),)
        self.start_over()

    def start_over(self) -> None:
        self.scene, self.winner = ATTRACT, None
        self.next_song()

    def next_song(self) -> None:
        if self.scene == ATTRACT:
            self._request(replace(self._sample(), length_s=self.song_s))

    def choose(self) -> None:
        """Show the clips; what plays goes on until one is picked."""
        self.scene, self.winner = CHOOSE, None

    def pick(self, clip: str | None) -> None:
        """Request a tame and a wild variation of a song, in random order. clip: None for any."""
        if self.scene != CHOOSE:
            return  # the second press of a double click
        song = replace(self._sample(), length_s=min(DUEL_S, self.song_s), randomness=Settings().randomness)
        temperatures = self._rng.sample((TAME, WILD), 2)
        self.scene, self.wild = DUEL, temperatures.index(WILD)
        self._request(*(replace(song, clip=clip or song.clip, temperature=each) for each in temperatures))

    def vote(self, index: int) -> None:
        """Count a vote: once, and not before both variations are complete."""
        if self.scene == DUEL and self.complete:
            self.scene, self.winner = VERDICT, index
            count_duel(self.songs[index], self.songs[1 - index])

    def play_radio(self) -> None:
        """Play the winner, or another song, without an end."""
        self.scene = RADIO
        self._request(self._sample() if self.winner is None else self.songs[self.winner], endless=True)

    @property
    def error(self) -> str:
        """Why a song was refused or failed; empty while none was."""
        return next((session.error for session in self.sessions if session.error), "")

    @property
    def complete(self) -> bool:
        """Whether all songs on the screen are."""
        return not self.error and all(session.jobs and not session.busy for session in self.sessions)

    def _sample(self) -> Settings:
        """Settings that are likely to please, if possible with another clip than the last song's."""
        samples = [sample_settings() for _ in range(N_SAMPLES)]
        return next((song for song in samples if song.clip != self.songs[0].clip), samples[0])

    def _request(self, *songs: Settings, endless: bool = False) -> None:
        self.songs, self.sessions = songs, [SessionState() for _ in songs]
        for session, song in zip(self.sessions, songs, strict=True):
            session.request(song, endless=endless)


def booth() -> None:
    """Draw the whole page."""
    if "booth" not in st.session_state:
        requested = settings_from_query(st.query_params, Settings(length_s=SONG_S))
        st.session_state.booth = Booth(requested.length_s, random.SystemRandom())
    state, idle_s = st.session_state.booth, IDLE_S
    with suppress(KeyError, ValueError):
        idle_s = min(max(int(st.query_params["idle"]), IDLE_RANGE_S[0]), IDLE_RANGE_S[1])
    for session in state.sessions:
        if session.submit(get_engine()) and session.rendering:
            session.rendering.cancel()  # the player draws the song as it grows: no finished figure is needed
            session.rendering = None
    st.html(style("booth") + cover_style(".st-key-booth-clip-{} button::before", built_in_clips()))
    with st.container(key="booth-head"):
        st.html(headline(state))
    with st.container(key="booth-tracks"):
        for i, session in enumerate(state.sessions):
            with st.container(key=f"booth-track-{i}"):
                for song in session.previews:
                    show_figure(song, f"booth-plot-{i}", "stretch")
    with st.container(key="booth-foot"):
        show_buttons(state)
    with st.container(key="booth-players"):
        _button("next", "Another song", state.next_song)
        attend(key="attendant", data=[{"idle_s": idle_s}])
        draw_player(state)
    if state.error:
        st.error(state.error)


def draw_player(state: Booth) -> None:
    """A fragment: once completeness or error have changed, the whole page is drawn again."""
    shown = state.complete, state.error

    @st.fragment(run_every=None if state.complete else REDRAW_S)
    def update() -> None:
        if shown != (state.complete, state.error):
            st.rerun()
        data = [player_data(session) for session in state.sessions]
        tracks = [track | {"plot": f"booth-track-{i}"} for i, each in enumerate(data) for track in each["tracks"]]
        show_player(key="player", data=[data[0] | {"tracks": tracks}])

    update()


def headline(state: Booth) -> str:
    """The largest words, as HTML."""
    tame, wild = score()
    if state.scene in QUESTIONS:
        return WORDS.format(*QUESTIONS[state.scene])
    if state.scene == VERDICT:
        kind = "wild" if state.winner == state.wild else "tame"
        chosen = f"You chose <b>{LETTERS[state.winner]}</b>, the {kind} one."
        return WORDS.format(f"{LETTERS[state.wild]} was the wild one", chosen) + SCORE.format(tame, wild)
    kicker = "Endless radio" if state.scene == RADIO else "This song never existed. It is being made right now."
    facts, cover = [f"Today’s duels: Tame {tame} : {wild} Wild"] if tame or wild else [], ""
    for clip in (clip for clip in built_in_clips() if clip.name == state.songs[0].clip):
        facts, cover = [f"Grown from “{html.escape(clip.title)}”", *facts], f'<img src="{cover_uri(clip)}" alt="">'
    return SONG.format(cover, kicker, html.escape(song_title(state.songs[0])), " · ".join(facts))


def show_buttons(state: Booth) -> None:
    """What can be pressed in this scene, also by keys; booth.js presses some by itself."""
    scene, wide = state.scene, {"width": "stretch"}
    with st.container(key="booth-corner", horizontal=True):
        if scene in (ATTRACT, CHOOSE):
            _button("tune-in", "Endless radio", state.play_radio, icon=":material/radio:", shortcut="E")
        if scene != ATTRACT:
            _button("home", "Start over", state.start_over, icon=":material/replay:", shortcut="Esc")
    with st.container(key=f"booth-{scene}", horizontal=scene in (DUEL, VERDICT)):
        if scene in (ATTRACT, RADIO):
            label = "**Touch anywhere** or press Space: make your own song"
            _button("touch", label, state.choose, shortcut="Space")
        elif scene == CHOOSE:
            for i, clip in enumerate(built_in_clips(), 1):
                _button(f"clip-{i}", clip.title, state.pick, clip.name)
            _button("surprise", "Surprise me", state.pick, None, shortcut="S")
        elif scene == DUEL:
            for i, shortcut in enumerate(("Left", "Right")):
                options = {"disabled": not state.complete, "shortcut": shortcut}
                _button(f"vote-{i}", f"{LETTERS[i]} is better", state.vote, i, **options, **wide)
        else:
            _button("again", "Another round", state.choose, shortcut="Space", **wide)
            _button("radio", "Endless radio", state.play_radio, shortcut="E", **wide)


def _button(name: str, label: str, callback, *args, **options) -> None:
    st.button(label, key=f"booth-{name}", on_click=callback, args=args, **options)
