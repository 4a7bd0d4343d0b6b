"""A booth at a fair: who stands before it, what they hear, and which of two songs is ahead today."""

import logging
import random
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from kpop.errors import KpopError
from kpop.feedback.place import the_store
from kpop.feedback.store import Store
from kpop.feedback.taste import SEED_NUMBERS, SETTINGS_ARMS, Taste, starting_settings
from kpop.feedback.votes import KEPT, MADE, start_of_today, vote_now
from kpop.generation.checkpoints import available_models
from kpop.generation.clips import built_in_clips
from kpop.generation.settings import LENGTH_RANGE_S, Settings
from kpop.generation.titles import song_title
from kpop.show.performance import outline
from kpop.show.player import live_data
from kpop.show.visit import Visit, Wish, metronome_rate

if TYPE_CHECKING:
    from kpop.engine.engine import Engine

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


class BoothVisit(Visit):
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
