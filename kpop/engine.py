"""The engine makes songs for all listeners of the process: a queue, and a batch that songs join and leave as they go.

One thread runs the sampler for the whole batch, a few turn tokens into samples, one completes finished songs. The song
with the smallest buffered duration comes first, so that everybody's song starts before anybody's long song is done.
"""

import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from kpop.audio.io import BYTES_PER_S, SAMPLE_WIDTH_BYTES
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import Cancelled, KpopError, Outcome, ending_on_failure
from kpop.generation.clips import SeedClip
from kpop.runtime import PipelineCache, PipelineLoader, configure_process, malloc_trim
from kpop.settings import GeneratedSong, Settings

if TYPE_CHECKING:  # these import torch, which the page must not wait for
    from kpop.generation.pipeline import Pipeline
    from kpop.generation.session import GenerationSession
    from kpop.lstm.sampler import BatchState

N_SLOTS = 64
N_RENDER_THREADS = max(1, min(4, os.cpu_count() or 1))  # rendering is most of the work
MAX_QUEUE = 64
MAX_ENDLESS_SHARE = 0.5  # of the slots: the queue must move
COMFORTABLE_S = 5.0  # songs with less than this buffered are stepped even while new songs wait for their first step
NEW_SONG_S = 0.3  # a song without a sample yet is scheduled as if so much were buffered
UNDERRUN_S = 0.1  # with less buffered the machine is overloaded and admits nobody, free slots or not
ENDLESS_LEAD_S = 20.0  # an endless song is made no further ahead of its listener
ENDLESS_STORED_S = 60.0  # nor more of it kept that nobody has fetched
ENDLESS_KEPT_S = 30.0  # of it stays readable after it has been fetched, for its picture
ENDLESS_PATIENCE_S = 20.0  # an endless song is cancelled after so long without a listener
USUAL_SPAN_S = 3.0  # how long a song holds its slot, before any has been timed
IDLE_S = 0.5
LOADING_POLL_S = 0.02
CLOSE_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class PcmBuffer:
    """A song's samples as 16-bit little-endian mono PCM at 16 kHz: appended by the engine, read by any thread.

    n_samples: of the whole song, None if it is endless; n_bytes: made so far; n_read: sent to a listener; n_dropped:
    of an endless song, no longer readable; closed: no more will come
    """

    def __init__(self, n_samples: int | None) -> None:
        self.n_samples, self.closed = n_samples, False
        self.n_bytes = self.n_read = self.n_dropped = 0
        self.last_read_s = time.monotonic()
        self._pcm, self._lock = bytearray(), threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def unread_s(self) -> float:
        """Seconds of sound that nobody has fetched yet."""
        return (self.n_bytes - self.n_read) / BYTES_PER_S

    @property
    def unheard_s(self) -> float:
        """Seconds since the last subscriber left, or since the start; 0 while there is one."""
        return 0.0 if self._callbacks else time.monotonic() - self.last_read_s

    def append(self, piece: bytes, last: bool = False) -> None:
        """Add the next bytes and notify subscribers."""
        with self._lock:
            self._pcm += piece
            self.n_bytes += len(piece)
            self.closed = self.closed or last
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def close(self) -> None:
        """Nothing more will come."""
        self.append(b"", last=True)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes start to stop, as far as they have been made and not dropped."""
        with self._lock:
            return bytes(self._pcm[max(start - self.n_dropped, 0) : max(stop - self.n_dropped, 0)])

    def mark_read(self, stop: int) -> None:
        """Bytes up to stop have been sent; of an endless song, only the latest ENDLESS_KEPT_S of them are kept."""
        with self._lock:
            self.n_read = max(self.n_read, stop)
            n = self.n_read - round(ENDLESS_KEPT_S * SAMPLE_RATE_HZ) * SAMPLE_WIDTH_BYTES - self.n_dropped
            if self.n_samples is None and n > 0:
                del self._pcm[:n]
                self.n_dropped += n

    @contextmanager
    def subscribed(self, callback: Callable[[], None]) -> Iterator[None]:
        """In this context, callback() is called after each change, by the engine's threads."""
        with self._lock:
            self._callbacks.append(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
                self.last_read_s = time.monotonic()


@dataclass(eq=False, repr=False)
class Job(Outcome[GeneratedSong]):
    """A requested song: its samples as they are made, and in the end the whole song. Callable from any thread."""

    settings: Settings
    clip: SeedClip
    endless: bool
    _loader: PipelineLoader
    _on_cancel: Callable[["Job"], None]
    queue_position: int = 0  # 0 once it is being made, 1 for the next to be
    first_sound_at_s: float | None = None  # time.monotonic() of its first samples, None before
    _session: "GenerationSession | None" = None
    _slot: int | None = None
    _admitted_at_s: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()
        self.pcm = PcmBuffer(None if self.endless else round(self.settings.length_s * SAMPLE_RATE_HZ))

    @property
    def cancelled(self) -> bool:
        """Whether cancel() ended it."""
        return isinstance(self.error, Cancelled)

    @property
    def fraction(self) -> float:
        """Share of the song that has been made, 0 to 1; 0 if it is endless."""
        return 0.0 if self.endless else self.pcm.n_bytes / (SAMPLE_WIDTH_BYTES * self.pcm.n_samples)

    @property
    def status(self) -> str:
        """What is going on, for the listener."""
        if self.queue_position:
            return f"Number {self.queue_position} in the queue"
        return "Generating" if self._loader.finished else self._loader.status

    def cancel(self) -> None:
        """Give the song up; its slot becomes free at once."""
        if self._end(error=Cancelled()):
            self._on_cancel(self)

    @property
    def _buffered_s(self) -> float:
        """Seconds made beyond what a listener who started with the first sample has played.

        Of an endless song at least what nobody has fetched yet: its listener may have paused.
        """
        if self.first_sound_at_s is None:
            return NEW_SONG_S
        ahead_s = self.pcm.n_bytes / BYTES_PER_S - (time.monotonic() - self.first_sound_at_s)
        return max(ahead_s, self.pcm.unread_s) if self.endless else ahead_s

    @property
    def _is_ahead(self) -> bool:
        """Whether an endless song has enough buffered."""
        return self.endless and (self._buffered_s > ENDLESS_LEAD_S or self.pcm.unread_s > ENDLESS_STORED_S)

    @property
    def _can_render(self) -> bool:
        """Whether the session can be started, or its next piece be rendered, now."""
        if session := self._session:
            return session.piece_ready and not self._is_ahead
        return self._loader.finished and not self.finished

    def _end(self, result: GeneratedSong | None = None, error: KpopError | None = None) -> bool:
        if not super()._end(result, error):
            return False
        self._session = None
        self.pcm.close()
        return True


class Engine:
    """Makes songs for any number of listeners. Callable from any thread; nothing blocks for long."""

    def __init__(self, pipelines: PipelineCache | None = None, n_slots: int = N_SLOTS, max_queue: int = MAX_QUEUE):
        """n_slots: songs made at once; max_queue: songs waiting behind them."""
        self.pipelines = pipelines or PipelineCache()
        self.n_slots, self.max_queue = n_slots, max_queue
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._running: list[Job] = []
        self._stepping: set[Job] = set()  # in the sampler's current pass: their slots are freed only when it ends
        self._rendering: set[Job] = set()
        self._rendered: deque[tuple[Job, GenerationSession]] = deque()  # all samples made, song not yet completed
        self._spans_s: deque[float] = deque([USUAL_SPAN_S], maxlen=20)
        self._states: weakref.WeakKeyDictionary[Pipeline, BatchState] = weakref.WeakKeyDictionary()
        self._closed = False
        work = (self._step_batch, *[self._render_one] * N_RENDER_THREADS, self._complete_one)
        self._threads = [threading.Thread(target=self._repeat, args=(each,), daemon=True) for each in work]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)  # a thread inside native code when the interpreter exits would abort the process

    def submit(self, settings: Settings, clip: SeedClip, endless: bool = False) -> Job:
        """Request a song. Raises KpopError when too many are waiting."""
        with self._changed:
            if self._closed:
                raise KpopError("The engine has been closed: start the program again.")
            if len(self._queue) >= self.max_queue:
                wait_s = math.ceil(2 * sum(self._spans_s) / len(self._spans_s) / self.n_slots)
                raise KpopError(f"Everybody wants a song right now, and the queue is full: try again in {wait_s} s.")
            n_endless = sum(job.endless for job in (*self._running, *self._queue))
            if endless and n_endless >= max(1, int(self.n_slots * MAX_ENDLESS_SHARE)):
                raise KpopError("All places for endless songs are taken: choose a length, or try again later.")
            job = Job(settings, clip, endless, self.pipelines.get(settings.model), self._release)
            self._queue.append(job)
            self._admit()
        return job

    def state(self) -> dict[str, int]:
        """Numbers of slots, free slots, and songs running, queued and being completed."""
        with self._changed:
            counts = {"running": self._running, "queued": self._queue, "completing": self._rendered}
            free = self.n_slots - len(self._running)
            return {"slots": self.n_slots, "free": free} | {name: len(jobs) for name, jobs in counts.items()}

    def close(self) -> None:
        """Cancel everything and end the threads; no song can be requested any more."""
        with self._changed:
            self._closed = True
            jobs = [*self._running, *self._queue, *(job for job, _ in self._rendered)]
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT_S)
        atexit.unregister(self.close)

    def _admit(self) -> None:
        """Give free slots to the jobs that have queued longest, unless the machine is overloaded."""
        is_short = [job._buffered_s <= UNDERRUN_S for job in self._running if not job.pcm.closed]
        while self._queue and len(self._running) < self.n_slots and not any(is_short):
            job = self._queue.popleft()
            job._slot = min(set(range(self.n_slots)) - {other._slot for other in self._running})
            job._admitted_at_s, job.queue_position = time.monotonic(), 0
            self._running.append(job)
        for position, job in enumerate(self._queue, 1):
            job.queue_position = position
        self._changed.notify_all()

    def _release(self, job: Job) -> None:
        """Take the job out of the queue or free its slot."""
        with self._changed:
            if job in self._queue:
                self._queue.remove(job)
            if job in self._running and job not in self._stepping:
                self._running.remove(job)
            self._admit()

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._closed:
            try:
                work()
            except Exception:
                _log.exception("Unexpected failure in the engine")
                time.sleep(IDLE_S)

    def _step_batch(self) -> None:
        """One pass over all songs; or while some have not begun, over those and the ones that run short."""
        with self._changed:
            for job in [job for job in self._running if job.endless and job.pcm.unheard_s > ENDLESS_PATIENCE_S]:
                job._end(error=KpopError("Nobody listened any more: start it again."))
                self._release(job)
            sessions = [(job, session) for job in self._running if (session := job._session)]
            found = [(job, session) for job, session in sessions if not session.steps_done and not job._is_ahead]
            if any(not session.has_begun for _, session in found):
                found = [pair for pair in found if not pair[1].has_begun or pair[0]._buffered_s < COMFORTABLE_S]
            if not found:
                self._changed.wait(IDLE_S)
                return
            self._stepping = {job for job, _ in found}
        for pipeline in {session.pipeline for _, session in found}:
            self._step(pipeline, [(job, session) for job, session in found if session.pipeline is pipeline])
        with self._changed:
            self._stepping = set()
            for job, _ in found:
                if job.finished:
                    self._release(job)
            self._changed.notify_all()

    def _step(self, pipeline: "Pipeline", found: "list[tuple[Job, GenerationSession]]") -> None:
        started = time.perf_counter()
        with ending_on_failure(*(job for job, _ in found)):
            if pipeline not in self._states:
                self._states[pipeline] = pipeline.batch_state(self.n_slots)
            state = self._states[pipeline]
            tokens = pipeline.sampler.run(state, [session.next_chunk(state, job._slot) for job, session in found])
            share_s = (time.perf_counter() - started) / len(found)
            for (_, session), steps in zip(found, tokens, strict=True):
                session.take(steps, share_s)

    def _render_one(self) -> None:
        """Render the next piece of the song with the smallest buffered duration, or start its session."""
        with self._changed:
            ready = [job for job in self._running if job not in self._rendering and job._can_render]
            if not ready:
                loading = any(not job._loader.finished for job in self._running)
                self._changed.wait(LOADING_POLL_S if loading else IDLE_S)  # a loader does not notify
                return
            job = min(ready, key=lambda job: job._buffered_s)  # the first of equals has waited longest
            session = job._session
            self._rendering.add(job)
        with ending_on_failure(job):
            if session is None:
                from kpop.generation.session import GenerationSession

                job._session = GenerationSession(job._loader.result(), job.settings, job.clip, job.endless)
            else:
                piece = session.render_piece()
                if piece and job.first_sound_at_s is None:
                    job.first_sound_at_s = time.monotonic()
                job.pcm.append(piece, session.rendered)
        with self._changed:
            self._rendering.discard(job)
            done = session is not None and session.rendered
            if done:
                self._spans_s.append(time.monotonic() - job._admitted_at_s)
                self._rendered.append((job, session))
            if done or job.finished:
                self._release(job)
            self._admit()

    def _complete_one(self) -> None:
        with self._changed:
            if not self._rendered:
                self._changed.wait(IDLE_S)
                return
            job, session = self._rendered.popleft()
        if not job.finished:
            with ending_on_failure(job):
                job._end(session.finish(job.pcm.read(0, job.pcm.n_bytes)))
        malloc_trim()


@cache
def get_engine() -> Engine:
    """The process's engine, which all listeners share; created by the first call."""
    configure_process()
    return Engine()
