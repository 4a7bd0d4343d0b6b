"""Work in background threads while the page stays responsive, and what is loaded before anybody requests a song."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial

from kpop.engine import get_engine
from kpop.errors import Cancelled, KpopError, Outcome, Result, ending_on_failure
from kpop.generation.clips import built_in_clip
from kpop.runtime import gc_freeze, low_priority, malloc_trim
from kpop.settings import Settings

Report = Callable[[float, str], None]
POLL_S = 0.25


class BackgroundTask(Outcome[Result]):
    """Runs work(report) in a daemon thread; if `idle`, at the lowest priority and after all other such tasks.

    work: calls report(fraction 0 to 1, status) as it goes on, which raises Cancelled after cancel()
    """

    def __init__(self, work: Callable[[Report], Result], idle: bool = False) -> None:
        super().__init__()
        self.fraction, self.status, self._cancelled = 0.0, "", False
        if idle:
            _idle_queue().put(partial(self._run, work))
        else:
            threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def cancel(self) -> None:
        """Stop the work at its next report, or before it starts; does not wait for that."""
        self._cancelled = True

    def _run(self, work: Callable[[Report], Result]) -> None:
        with ending_on_failure(self):
            self._report(0.0, "")
            self._end(work(self._report))

    def _report(self, fraction: float, status: str) -> None:
        if self._cancelled:
            raise Cancelled
        self.fraction, self.status = fraction, status


@cache
def _idle_queue() -> "queue.SimpleQueue[Callable[[], None]]":
    tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run() -> None:
        low_priority()
        while True:
            tasks.get()()
            malloc_trim()

    threading.Thread(target=run, name="idle tasks", daemon=True).start()
    return tasks


@cache
def preload() -> BackgroundTask[None]:
    """Start loading the default model, and then what the first song's picture needs; once a process."""

    def work(report: Report) -> None:
        loader = get_engine().pipelines.get(Settings().model)
        with suppress(KpopError):
            built_in_clip(Settings().clip)
            from kpop.ui import spectrogram  # noqa: F401  imports scipy, plotly and Pillow

            loader.result()
        gc_freeze()

    return BackgroundTask(work)
