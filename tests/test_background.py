"""Work in the background: progress is seen, errors become one sentence, and cancelling works."""

import os
import sys
import threading
import time

import pytest

from kpop.errors import KpopError
from kpop.ui.tasks import LOW_PRIORITY, BackgroundTask, Line, quiet_line

PATIENCE_S = 5.0


class Gate:
    """Work that reports, then waits until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def work(self, report) -> str:
        report(0.25, "Half way to half way")
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)
        report(1.0, "Done")
        return "a song"


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


def failing(error: Exception):
    def work(report):
        raise error

    return work


def test_result_is_what_the_work_returned():
    assert BackgroundTask(lambda report: "a song").result() == "a song"


def test_the_caller_goes_on_while_the_work_waits_and_sees_its_progress(gate):
    task = BackgroundTask(gate.work)
    assert gate.reached.wait(PATIENCE_S)
    assert (task.fraction, task.words) == (0.25, "Half way to half way")
    assert not task.finished
    assert not task.wait(0.01)
    gate.opened.set()
    assert task.result() == "a song"
    assert task.finished
    assert task.error is None


def test_progress_stays_between_0_and_1():
    task = BackgroundTask(lambda report: report(1.5, "Too keen"))
    assert task.wait(PATIENCE_S)
    assert task.fraction == 1.0


def test_cancelled_work_stops_at_its_next_report(gate):
    task = BackgroundTask(gate.work)
    assert gate.reached.wait(PATIENCE_S)
    task.cancel()
    gate.opened.set()
    with pytest.raises(KpopError, match="cancelled"):
        task.result()
    assert task.fraction == 0.25


def test_a_sentence_for_people_passes_through_unchanged():
    task = BackgroundTask(failing(KpopError("The weights are missing: fetch them.")))
    with pytest.raises(KpopError, match=r"^The weights are missing: fetch them\.$"):
        task.result()


def test_an_unforeseen_error_becomes_a_sentence_and_a_traceback_in_the_log(caplog):
    task = BackgroundTask(failing(ZeroDivisionError("secret detail")))
    assert task.wait(PATIENCE_S)
    assert "secret detail" not in str(task.error)
    assert "terminal" in str(task.error)
    assert "secret detail" in caplog.text


def test_quiet_work_is_done_one_after_the_other():
    line, at_once, most_at_once = Line(), [], []

    def work(report) -> None:
        at_once.append(1)
        most_at_once.append(len(at_once))
        time.sleep(0.01)
        at_once.pop()

    for task in [BackgroundTask(work, line) for _ in range(5)]:
        task.result()
    assert most_at_once == [1] * 5


def test_quiet_work_that_fails_holds_up_nobody():
    line = Line()
    broken = BackgroundTask(failing(ZeroDivisionError("secret detail")), line)
    assert BackgroundTask(lambda report: "a song", line).result() == "a song"
    assert broken.error


def test_quiet_work_that_was_cancelled_before_its_turn_is_never_begun(gate):
    line, begun = Line(), []
    BackgroundTask(gate.work, line)
    task = BackgroundTask(begun.append, line)
    task.cancel()
    gate.opened.set()
    assert task.wait(PATIENCE_S)
    assert task.error
    assert not begun


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_quiet_work_comes_after_all_else():
    def priority(report) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert BackgroundTask(priority, quiet_line()).result() == LOW_PRIORITY
    assert BackgroundTask(priority).result() < LOW_PRIORITY
