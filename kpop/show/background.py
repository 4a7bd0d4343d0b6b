"""Work that goes on in a thread of its own while the page stays alive."""

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Generic, TypeVar

from kpop.errors import KpopError

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
