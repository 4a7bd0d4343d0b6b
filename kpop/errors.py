"""Errors whose message is meant for users, and the outcome of work in other threads: a result, or such an error."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class KpopError(Exception):
    """Something a user can put right. The message is one sentence: what is wrong and what to do."""


class Cancelled(KpopError):
    """The work was cancelled before it had a result."""

    def __init__(self) -> None:
        super().__init__("This was cancelled: start it again.")


class Outcome(Generic[Result]):
    """What comes of work in another thread. Callable from any thread."""

    def __init__(self) -> None:
        self._future: Future[Result] = Future()

    @property
    def finished(self) -> bool:
        """Whether the result or an error is there."""
        return self._future.done()

    @property
    def error(self) -> KpopError | None:
        """Why there is no result; None while the work goes on or once it has succeeded."""
        return self._future.exception() if self.finished else None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, timeout_s at most; whether it has come."""
        wait([self._future], timeout_s)
        return self.finished

    def result(self) -> Result:
        """The result; blocks until it is there. Raises KpopError if the work failed or was cancelled."""
        return self._future.result()

    def _end(self, result: Result | None = None, error: KpopError | None = None) -> bool:
        """Set the result or the error; False if one of them had been set before."""
        try:
            self._future.set_exception(error) if error else self._future.set_result(result)
        except InvalidStateError:
            return False
        return True


@contextmanager
def ending_on_failure(*outcomes: Outcome) -> Iterator[None]:
    """End these with one sentence if anything goes wrong."""
    try:
        yield
    except Exception as failure:
        error = failure
        if not isinstance(failure, KpopError):
            _log.exception("Unexpected failure")
            error = KpopError("Something broke that should not: the terminal says what, and another try may work.")
        for outcome in outcomes:
            outcome._end(error=error)
