"""Work that goes on in a thread of its own while the page stays alive.

The engine, brought up once a process, after the first page has reached its visitor.
"""

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from kpop.engine import settle
from kpop.errors import KpopError
from kpop.generation.clips import built_in_clip
from kpop.settings import Settings

if TYPE_CHECKING:
    from kpop.engine import Engine, Job


Result = TypeVar("Result")
Report = Callable[[float, str], None]
LOW_PRIORITY = 15  # as `nice` counts: 0 is everybody, 19 comes last

_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside cancelled work, at its next report."""


class BackgroundTask(Generic[Result]):
    """Runs `work(report)` in a daemon thread: in one of its own, at once, or when its turn comes in `line`.

    work: calls `report(fraction, words)` as it goes on, fraction 0 to 1; report raises Cancelled after `cancel()`
    fraction, words: the last report
    """

    def __init__(self, work: Callable[[Report], Result], line: "Line | None" = None) -> None:
        self.fraction = 0.0
        self.words = ""
        self._result: Result | None = None
        self._error: KpopError | None = None
        self._cancelled = threading.Event()
        self._finished = threading.Event()
        if line:
            line.join(lambda: self._run(work))
        else:
            threading.Thread(target=self._run, args=(work,), daemon=True).start()

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def error(self) -> KpopError | None:
        """Why there is no result; None while the work goes on, and when it went well."""
        return self._error

    def cancel(self) -> None:
        """Ask the work to stop at its next report, or not to start; does not wait for it."""
        self._cancelled.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, timeout_s at most; True once it has come."""
        return self._finished.wait(timeout_s)

    def result(self) -> Result:
        """What the work returned; waits for it. Raises KpopError if it failed or was cancelled."""
        self._finished.wait()
        if self._error:
            raise self._error
        return self._result

    def _run(self, work: Callable[[Report], Result]) -> None:
        try:
            if self.cancelled:
                raise Cancelled
            self._result = work(self._report)
        except Cancelled:
            self._error = KpopError("This was cancelled: start it again.")
        except KpopError as error:
            self._error = error
        except Exception:
            _log.exception("Unforeseen failure in the background")
            self._error = KpopError(
                "Something broke that should not: the terminal says what, and another try may work."
            )
        finally:
            self._finished.set()

    def _report(self, fraction: float, words: str) -> None:
        if self.cancelled:
            raise Cancelled
        self.fraction, self.words = min(max(fraction, 0.0), 1.0), words


class Line:
    """One thread that does one thing after the other, and only what the processor has to spare."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work_off, name="quiet work", daemon=True).start()

    def join(self, work: Callable[[], None]) -> None:
        self._waiting.put(work)

    def _work_off(self) -> None:
        _step_back()
        while True:
            self._waiting.get()()


@cache
def quiet_line() -> Line:
    """The process's only one, for what nobody waits for: the sound that others hear comes first."""
    return Line()


def _step_back() -> None:
    """Lowers the priority of this thread, where threads have one of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)


HEAD_START_S = 1.0  # the page reaches the browser first: importing torch holds the interpreter's lock


@cache
def warming() -> "BackgroundTask[Engine]":
    """The process's engine, there or on its way; the first call starts it."""
    return BackgroundTask(_warm_up)


def find_job(job_id: str) -> "Job | None":
    """The job of that id, if there is one; waits for nothing."""
    task = warming()
    return task.result().find(job_id) if task.finished and not task.error else None


def engine_state() -> dict[str, int]:
    """What the engine says of itself; nothing before it is there."""
    task = warming()
    return task.result().state() if task.finished and not task.error else {}


def _warm_up(report: Report) -> "Engine":
    report(0.0, "Warming up")
    time.sleep(HEAD_START_S)
    from kpop.engine import engine  # brings torch: the page must not wait for it

    BackgroundTask(_lay_out, quiet_line())
    return engine()


def _lay_out(report: Report) -> None:
    """Brings in what the first song would otherwise have to wait for: plotly, and what reads sound."""
    from kpop.ui import spectrogram  # noqa: F401

    with suppress(KpopError):
        built_in_clip(Settings().clip)
    settle()
