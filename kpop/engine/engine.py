"""The engine: jobs join and leave a running batch, so that all listeners share each pass over the LSTM's weights.

One thread steps the LSTM for all, a few turn steps into sound, one masters finished songs. Whoever has the least sound
in store comes first, so everyone hears the first notes before anyone's long song is done.
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
from typing import TYPE_CHECKING

from kpop.engine.job import Job
from kpop.engine.memory import give_back
from kpop.engine.voices import Voices
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip
from kpop.generation.settings import Settings

if TYPE_CHECKING:  # these bring torch, and the page must not wait for it
    from kpop.generation.dream import Dream
    from kpop.generation.instrument import Instrument
    from kpop.lstm.places import Places

N_PLACES = 64
N_STEP_THREADS = min(2, os.cpu_count() or 1)  # for a crowd; a single song has one
N_SOUND_THREADS = max(1, min(4, os.cpu_count() or 1))  # turning steps into sound is most of the work
MAX_WAITING = 64
ENDLESS_SHARE = 0.5  # of the places, at most, for songs that never end: the queue must move
COMFORT_S = 5.0  # whoever has less sound in store than this is stepped even while newcomers wait for their first
NEWCOMER_S = 0.3  # whoever has less sound in store than this must not fall silent for a newcomer's first notes
SHORT_S = 0.1  # whoever has less than this is about to fall silent: the machine is full, free places or not
AHEAD_S = 20.0  # a song that never ends is made no further ahead of its listener
PATIENCE_S = 20.0  # then a song that never ends, and that nobody listens to, is given up
USUAL_SPAN_S = 3.0  # how long a song keeps its place, before any has been timed
IDLE_S = 0.5
LOADING_NAP_S = 0.02
CLOSING_S = 2.0
BROKEN = "Something broke that should not: the terminal says what, and another try may work."

_log = logging.getLogger(__name__)


class Full(KpopError):
    """No place, and no room to wait for one."""


class Engine:
    """Makes songs for any number of listeners. Everything may be called from any thread, and nothing waits long."""

    def __init__(self, voices: Voices | None = None, n_places: int = N_PLACES, max_waiting: int = MAX_WAITING) -> None:
        """n_places: songs in the making at once; max_waiting: songs in the queue behind them."""
        self.voices = voices or Voices()
        self.n_places, self.max_waiting = n_places, max_waiting
        self._news = threading.Condition()
        self._free = list(range(n_places))
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._stepping: set[Job] = set()  # in the pass that is going on: their places are free only after it
        self._sounding: set[Job] = set()
        self._to_finish: deque[tuple[Job, Dream]] = deque()  # songs whose sound is made
        self._spans_s: deque[float] = deque([USUAL_SPAN_S], maxlen=20)
        self._jobs: weakref.WeakValueDictionary[str, Job] = weakref.WeakValueDictionary()
        self._halls: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # places by instrument
        self._closed = False
        works = (self._step_some, *[self._sound_one] * N_SOUND_THREADS, self._finish_one)
        self._threads = [threading.Thread(target=self._repeat, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)  # a thread that is in the midst of native code when the process ends would abort it

    def submit(self, settings: Settings, clip: SeedClip, endless: bool = False) -> Job:
        """Ask for a song. Raises Full when too many wait already."""
        with self._news:
            if self._closed:
                raise KpopError("The engine has been closed: start the program again.")
            if len(self._waiting) >= self.max_waiting:
                raise Full(f"Everybody wants a song right now, and the queue is full: try again in {self._wait_s()} s.")
            if endless and sum(job.endless for job in (*self._running, *self._waiting)) >= self._max_endless:
                raise Full("All places for endless songs are taken: choose a length, or try again in a few minutes.")
            job = Job(settings, clip, endless, self.voices.get(settings.model), self._drop)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._admit()
        return job

    def find(self, job_id: str) -> Job | None:
        """The job of that id, as long as anybody still holds it."""
        return self._jobs.get(job_id)

    def state(self) -> dict[str, int]:
        """How many songs are in the making, waiting, and being finished, and how many could be."""
        with self._news:
            counts = {"running": self._running, "waiting": self._waiting, "finishing": self._to_finish}
            return {"places": self.n_places, "free": len(self._free)} | {k: len(v) for k, v in counts.items()}

    def close(self) -> None:
        """Cancel everything and end the threads; nothing can be asked for after this."""
        with self._news:
            self._closed = True
            jobs = [*self._running, *self._waiting, *(job for job, _ in self._to_finish)]
            self._news.notify_all()
        for job in jobs:
            job.cancel()
        for thread in self._threads:
            thread.join(CLOSING_S)
        atexit.unregister(self.close)

    @property
    def _max_endless(self) -> int:
        return max(1, int(self.n_places * ENDLESS_SHARE))

    def _wait_s(self) -> int:
        """Seconds until a place in the queue can be hoped for."""
        return max(1, math.ceil(sum(self._spans_s) / len(self._spans_s) / self.n_places * 2))

    def _drop(self, job: Job) -> None:
        with self._news:
            self._leave(job)

    # Called with self._news held.

    def _admit(self) -> None:
        """Give free places to those who have waited longest, as long as the machine keeps up."""
        while self._free and self._waiting and self._keeps_up():
            job = self._waiting.popleft()
            job._place, job._admitted_at_s, job.place_in_queue = self._free.pop(), time.monotonic(), 0
            self._running.append(job)
        for number, job in enumerate(self._waiting, 1):
            job.place_in_queue = number
        self._news.notify_all()

    def _keeps_up(self) -> bool:
        """Whether everyone who has begun to listen has sound in store; else one more would make it worse for all."""
        begun = [job for job in self._running if job.first_sound_at_s is not None and not job.all_pieces_made]
        return all(job._lead_s > SHORT_S for job in begun)

    def _leave(self, job: Job) -> None:
        """The job needs its place no longer, or never got one."""
        if job in self._waiting:
            self._waiting.remove(job)
        if job in self._running and job not in self._stepping:
            self._running.remove(job)
            self._free.append(job._place)
        self._admit()

    def _give_up_unheard(self) -> None:
        for job in [job for job in self._running if job.endless and job._unheard_s > PATIENCE_S]:
            job._end(error=KpopError("Nobody listened any more: start it again."))
            self._leave(job)

    def _to_step(self) -> "list[tuple[Job, Dream]]":
        """Songs for the next pass: all, unless some have no sound yet; then those, and whoever runs short."""
        dreams = [(job, job._dream) for job in self._running]
        dreams = [(job, dream) for job, dream in dreams if dream and not dream.steps_done and not _is_ahead(job)]
        if any(not dream.has_begun for _, dream in dreams):
            dreams = [(job, dream) for job, dream in dreams if not dream.has_begun or job._lead_s < COMFORT_S]
        return dreams

    def _to_sound(self) -> "tuple[Job, Dream | None] | None":
        """Who needs sound most: the one with the least in store, a newcomer being taken for one with NEWCOMER_S."""
        jobs = [(job, job._dream) for job in self._running if not job.finished and job not in self._sounding]
        ready = [pair for pair in jobs if _is_ready(*pair)]
        return min(ready, key=lambda pair: _need_s(pair[0]), default=None)  # the first of equals has waited longest

    def _nap_s(self) -> float:
        """How long to wait for news; loading ends without any."""
        return LOADING_NAP_S if any(not job._voice.finished for job in self._running) else IDLE_S

    # The threads' work, a little at a time.

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._closed:
            try:
                work()
            except Exception:
                _log.exception("Unforeseen failure in the engine")
                time.sleep(IDLE_S)

    def _step_some(self) -> None:
        with self._news:
            self._give_up_unheard()
            dreams = self._to_step()
            if not dreams:
                self._news.wait(IDLE_S)
                return
            self._stepping = {job for job, _ in dreams}
        try:
            for instrument in {dream.instrument for _, dream in dreams}:
                self._step(instrument, [(job, dream) for job, dream in dreams if dream.instrument is instrument])
        finally:
            with self._news:
                self._stepping = set()
                for job, _ in dreams:
                    self._leave(job) if job.finished else None
                self._news.notify_all()

    def _step(self, instrument: "Instrument", dreams: "list[tuple[Job, Dream]]") -> None:
        """One pass over an instrument's weights."""
        started = time.perf_counter()
        with _ending_on_failure(*(job for job, _ in dreams)):
            hall = self._hall(instrument)
            values = hall.run([dream.next_stride(hall, job._place) for job, dream in dreams])
            share_s = (time.perf_counter() - started) / len(dreams)
            for (_, dream), steps in zip(dreams, values, strict=True):
                dream.take(steps, share_s)

    def _hall(self, instrument: "Instrument") -> "Places":
        if instrument not in self._halls:
            self._halls[instrument] = instrument.places(self.n_places, N_STEP_THREADS)
        return self._halls[instrument]

    def _sound_one(self) -> None:
        with self._news:
            found = self._to_sound()
            if not found:
                self._news.wait(self._nap_s())
                return
            job, dream = found
            self._sounding.add(job)
        with _ending_on_failure(job):
            if dream is None:
                _begin(job)
            else:
                job._add_piece(dream.make_piece(), dream.sound_done)
        with self._news:
            self._sounding.discard(job)
            if dream and dream.sound_done:
                self._spans_s.append(time.monotonic() - job._admitted_at_s)
                self._to_finish.append((job, dream))
            if job.finished or (dream and dream.sound_done):
                self._leave(job)
            self._admit()

    def _finish_one(self) -> None:
        with self._news:
            if not self._to_finish:
                self._news.wait(IDLE_S)
                return
            job, dream = self._to_finish.popleft()
        if not job.finished:
            with _ending_on_failure(job):
                job._end(dream.finish())
        give_back()


def _begin(job: Job) -> None:
    from kpop.generation.dream import Dream

    job._dream = Dream(job._voice.result(), job.settings, job.clip, job.endless)


def _need_s(job: Job) -> float:
    """How urgent its next piece is, in seconds in store."""
    return NEWCOMER_S if job.first_sound_at_s is None else job._lead_s


def _is_ready(job: Job, dream: "Dream | None") -> bool:
    """Whether a piece of sound, or the song's beginning, can be made now."""
    return job._voice.finished if dream is None else dream.piece_ready and not _is_ahead(job)


def _is_ahead(job: Job) -> bool:
    """Whether a song that never ends has enough in store."""
    return job.endless and (job._has_enough or job._lead_s > AHEAD_S)


@contextmanager
def _ending_on_failure(*jobs: Job) -> Iterator[None]:
    """What goes wrong ends these jobs with one sentence, and nothing else."""
    try:
        yield
    except KpopError as error:
        for job in jobs:
            job._end(error=error)
    except Exception:
        _log.exception("Unforeseen failure in the engine")
        for job in jobs:
            job._end(error=KpopError(BROKEN))
