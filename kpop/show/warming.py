"""The engine, brought up once a process, after the first page has reached its visitor."""

import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from kpop.engine.memory import settle
from kpop.errors import KpopError
from kpop.generation.clips import built_in_clip
from kpop.generation.settings import Settings
from kpop.show.background import BackgroundTask, Report, quiet_line

if TYPE_CHECKING:
    from kpop.engine.engine import Engine
    from kpop.engine.job import Job

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
    from kpop.engine.process import engine  # brings torch: the page must not wait for it

    BackgroundTask(_lay_out, quiet_line())
    return engine()


def _lay_out(report: Report) -> None:
    """Brings in what the first song would otherwise have to wait for: plotly, and what reads sound."""
    from kpop.show import spectrogram  # noqa: F401

    with suppress(KpopError):
        built_in_clip(Settings().clip)
    settle()
