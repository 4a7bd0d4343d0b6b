"""Who listens to which song, so that a song that nobody waits for any more gives its place to another."""

import asyncio
import time
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpop.engine.job import Job

KEPT_S = 60.0  # a song that is made may wait so long for its listener to come
GRACE_S = 0.1  # a listener whose line broke may come back on another before the old one is missed


class Audience:
    """Counts listeners, and cancels what the last of them walked out of. Lives in one event loop, but for `expect`."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[float, Job]] = {}
        self._n_listeners: Counter[str] = Counter()
        self._streams: set[asyncio.Task] = set()

    def expect(self, job: "Job") -> None:
        """Keeps a job whose listener is on the way, even if it should be finished first. From any thread."""
        now_s = time.monotonic()
        for job_id, (since_s, _) in list(self._expected.items()):
            if now_s - since_s > KEPT_S:
                self._expected.pop(job_id, None)
        self._expected[job.id] = now_s, job

    def join(self, job: "Job", stream: asyncio.Task) -> None:
        self._n_listeners[job.id] += 1
        self._streams.add(stream)

    def leave(self, job: "Job", stream: asyncio.Task, early: bool) -> None:
        """early: before the stream was over; if nobody else listens, the song is cancelled."""
        self._n_listeners[job.id] -= 1
        self._streams.discard(stream)
        if not self._n_listeners[job.id]:
            del self._n_listeners[job.id]
            if not early:
                self._expected.pop(job.id, None)
            else:
                asyncio.get_running_loop().call_later(GRACE_S, self._give_up, job)

    def send_home(self) -> None:
        """Ends every stream: the server closes."""
        for stream in self._streams:
            stream.cancel()

    def _give_up(self, job: "Job") -> None:
        if not job.finished and not self._n_listeners[job.id]:
            job.cancel()


@cache
def audience() -> Audience:
    """The process's only one."""
    return Audience()
