"""What one listener wishes for, waits for and hears: of each no more than one, so that memory stays flat."""

from functools import partial
from typing import TYPE_CHECKING

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.settings import Settings
from kpop.show.background import BackgroundTask
from kpop.show.performance import Performance, perform
from kpop.show.player import live_data

if TYPE_CHECKING:
    from kpop.engine.engine import Engine
    from kpop.engine.job import Job


class Visit:
    """One listener's state, from run to run of the page.

    job: the song in the making, and performing: what makes a performance of it; None while nothing is going on
    live: what the live player is told, None for silence; performance: the finished song on the page
    sentence: something that went wrong, to be told once
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self.performing: BackgroundTask[Performance] | None = None
        self.live: dict | None = None
        self.performance: Performance | None = None
        self.sentence: str | None = None
        self._wish: tuple[Settings, SeedClip | None, bool] | None = None

    @property
    def wishes(self) -> bool:
        """Whether a wish still waits for the engine to come up."""
        return self._wish is not None

    def wish(self, settings: Settings, own_clip: SeedClip | None, endless: bool) -> None:
        """Asks for a song, and no longer for the one before. own_clip: instead of the settings' built-in one."""
        if self.job:
            self.job.cancel()
        self.job = self.performing = self.live = None
        self._wish = settings, own_clip, endless

    def ask(self, engine: "Engine", base_path: str) -> bool:
        """Hands the wish to the engine; False if there is none, or if it was refused."""
        if not self._wish:
            return False
        (settings, own_clip, endless), self._wish = self._wish, None
        try:
            self.job = engine.submit(settings, own_clip or built_in_clip(settings.clip), endless)
        except KpopError as error:
            self.sentence = f"{error}"
            return False
        self.live = live_data(self.job, base_path)
        if not endless:
            self.performing = BackgroundTask(partial(perform, engine, self.job))
        return True

    def end_waiting(self, performing: BackgroundTask[Performance]) -> None:
        """This performance is there, or there will be none: shows it, or says why; nothing if it was given up."""
        if performing is not self.performing:
            return  # a newer run of the page has asked for another
        self.performing = self.job = None
        if performing.error:
            self.live, self.sentence = None, f"{performing.error}"
            return
        if self.performance and self.performance.closeness:
            self.performance.closeness.cancel()
        self.performance = performing.result()
        self.live = self.live | {"shown": True}
