"""Work in background threads while the page stays responsive, and what is loaded before anybody requests a song."""

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Generic, TypeVar

from kpop.engine import get_engine
from kpop.errors import KpopError
from kpop.generation.clips import built_in_clip
from kpop.runtime import gc_freeze, low_priority, malloc_trim
from kpop.settings import Settings

Result = TypeVar("Result")
Report = Callable[[float, str], None]
POLL_S = 0.25

_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised by report() in a cancelled task."""


class BackgroundTask(Generic[Result]):
    """Runs work(report) in a daemon thread.

    work: calls report(fraction 0 to 1, status) as it goes on; report raises Cancelled after cancel()
    idle: run at the lowest processor priority, after all other such tasks, instead of at once
    fraction, status: the last report; error: why there is no result, None while it runs or once it succeeded
    """

    def __init__(self, work: Callable[[Report], Result], idle: bool = False) -> None:
        self.fraction, self.status = 0.0, ""
        self.error: KpopError | None = None
        self._result: Result | None = None
        self._cancelled, self._finished = threading.Event(), threading.Event()
        if idle:
            _idle_queue().put(lambda: self._run(work))
        else:
            threading.Thread(target=self._run, args=(work,), daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether the result or an error is there."""
        return self._finished.is_set()

    def cancel(self) -> None:
        """Stop the work at its next report, or before it starts; does not wait for that."""
        self._cancelled.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, timeout_s at most; whether it has come."""
        return self._finished.wait(timeout_s)

    def result(self) -> Result:
        """What the work returned; blocks until then. Raises KpopError if it failed or was cancelled."""
        self._finished.wait()
        if self.error:
            raise self.error
        return self._result

    def _run(self, work: Callable[[Report], Result]) -> None:
        try:
            self._report(0.0, "")
            self._result = work(self._report)
        except Cancelled:
            self.error = KpopError("This was cancelled: start it again.")
        except KpopError as error:
            self.error = error
        except Exception:
            _log.exception("Unexpected failure in a background task")
            self.error = KpopError("Something broke that should not: the terminal says what, and another try may work.")
        finally:
            self._finished.set()

    def _report(self, fraction: float, status: str) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.fraction, self.status = min(max(fraction, 0.0), 1.0), status


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
    return BackgroundTask(_preload)


def _preload(report: Report) -> None:
    loader = get_engine().pipelines.get(Settings().model)
    with suppress(KpopError):
        built_in_clip(Settings().clip)
        from kpop.ui import spectrogram  # noqa: F401  imports scipy, plotly and Pillow

        loader.result()
    gc_freeze()
