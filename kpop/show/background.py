"""Work that goes on in a thread of its own while the page stays alive."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from kpop.errors import KpopError

Result = TypeVar("Result")
Report = Callable[[float, str], None]

_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside cancelled work, at its next report."""


class BackgroundTask(Generic[Result]):
    """Runs `work(report)` at once in a daemon thread.

    work: calls `report(fraction, words)` as it goes on, fraction 0 to 1; report raises Cancelled after `cancel()`
    fraction, words: the last report
    """

    def __init__(self, work: Callable[[Report], Result]) -> None:
        self.fraction = 0.0
        self.words = ""
        self._result: Result | None = None
        self._error: KpopError | None = None
        self._cancelled = threading.Event()
        self._finished = threading.Event()
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
        """Ask the work to stop at its next report; does not wait for it."""
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
