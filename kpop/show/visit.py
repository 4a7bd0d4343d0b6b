"""What one listener wishes for, waits for and hears: of each no more than a few, so that memory stays flat."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.settings import Settings
from kpop.show.background import BackgroundTask
from kpop.show.closeness import Closeness
from kpop.show.history import History, entry_for
from kpop.show.performance import Outline, Performance, outline, perform, start_comparing
from kpop.show.player import live_data

if TYPE_CHECKING:
    from kpop.engine.engine import Engine
    from kpop.engine.job import Job

N_TAKES = 4
N_SEED_NUMBERS = 2**32


@dataclass(frozen=True)
class Wish:
    """Songs to be made together. own_clip: instead of the settings' built-in one; beside: the song that is shown."""

    songs: tuple[Settings, ...]
    own_clip: SeedClip | None = None
    endless: bool = False
    beside: bool = False


class Visit:
    """One listener's state, from run to run of the page.

    jobs: the songs in the making, and performing: what makes performances of them; none while nothing is going on
    live: what the live player is told, None for silence; outline: of the song that it plays
    performances: the finished songs on the page
    closeness: of the one song on the page; history: what was heard before; sentence: what went wrong, to be told once
    sent: title of a song that somebody has passed on to this listener
    """

    def __init__(self) -> None:
        self.jobs: tuple[Job, ...] = ()
        self.performing: BackgroundTask[tuple[Performance, ...]] | None = None
        self.live: dict | None = None
        self.outline: Outline | None = None
        self.performances: tuple[Performance, ...] = ()
        self.closeness: BackgroundTask[Closeness | None] | None = None
        self.history = History()
        self.sentence: str | None = None
        self.sent: str | None = None
        self._wish: Wish | None = None
        self._asked: Wish | None = None

    @property
    def wishes(self) -> bool:
        """Whether a wish still waits for the engine to come up."""
        return self._wish is not None

    @property
    def job(self) -> "Job | None":
        """The song that is heard while it is made."""
        return self.jobs[0] if self.live and self.jobs else None

    def wish(self, settings: Settings, own_clip: SeedClip | None = None, endless: bool = False) -> None:
        """Asks for a song, and no longer for what was asked for before."""
        self._turn_to(Wish((settings,), own_clip, endless))

    def wish_takes(self, settings: Settings, own_clip: SeedClip | None = None) -> None:
        """Asks for several songs at once, alike but for their seed numbers."""
        numbers = [(settings.seed_number + i) % N_SEED_NUMBERS for i in range(N_TAKES)]
        self._turn_to(Wish(tuple(replace(settings, seed_number=number) for number in numbers), own_clip))

    def wish_beside(self, settings: Settings) -> None:
        """Asks for another version of the first song on the page, to be heard beside it."""
        self._turn_to(Wish((settings,), self.performances[0].own_clip, beside=True))

    def ask(self, engine: "Engine", base_path: str) -> bool:
        """Hands the wish to the engine; False if there is none, or if it was refused."""
        if not self._wish:
            return False
        wish, self._wish = self._wish, None
        jobs = []
        try:
            for settings in wish.songs:
                jobs.append(engine.submit(settings, wish.own_clip or built_in_clip(settings.clip), wish.endless))
        except KpopError as error:
            for job in jobs:
                job.cancel()
            self.sentence = f"{error}"
            return False
        self.jobs, self._asked = tuple(jobs), wish
        if len(jobs) == 1 and not wish.beside:
            self.live = live_data(jobs[0], base_path)
            self.outline = outline(jobs[0], metronome_rate(engine, jobs[0].settings.model))
        if not wish.endless:
            self.performing = BackgroundTask(partial(perform, self.jobs, wish.own_clip))
        return True

    def end_waiting(self, engine: "Engine", performing: "BackgroundTask[tuple[Performance, ...]]") -> None:
        """These performances are there, or there will be none: shows them, or says why; nothing if given up."""
        if performing is not self.performing:
            return  # a newer run of the page has asked for others
        jobs, self.jobs, self.performing = self.jobs, (), None
        if performing.error:
            self.live, self.sentence = None, f"{performing.error}"
            return
        made = performing.result()
        for job in jobs:
            self.history.remember(entry_for(job.settings, job.clip))
        self.live = self.live and self.live | {"shown": True}
        self._show(self.performances[:1] + made if self._asked.beside else made)
        if len(self.performances) == 1:
            self.closeness = start_comparing(engine, made[0])

    def keep(self, index: int, engine: "Engine") -> None:
        """Of the songs on the page only this one stays."""
        kept = self.performances[index]
        self._show((kept,))
        self.closeness = start_comparing(engine, kept)

    def _turn_to(self, wish: Wish) -> None:
        for job in self.jobs:
            job.cancel()
        self.jobs, self.performing, self.live, self._wish = (), None, None, wish

    def _show(self, performances: tuple[Performance, ...]) -> None:
        self.performances = performances
        if self.closeness:
            self.closeness.cancel()
        self.closeness = None


def metronome_rate(engine: "Engine", model: str) -> float:
    """Of a voice, in slots a step; as most have it while it is still being loaded."""
    voice = engine.voices.get(model)
    known = voice.finished and not voice.error
    return voice.result().info.get("metronome_rate", 1.0) if known else 1.0
