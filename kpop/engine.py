"""Memory of a process that lives long: what is freed goes back to the system, what stays is not gone through again.

The C library's allocator keeps what is freed otherwise, in a pool for every thread.

Instruments, each loaded once a process, in the background.

A listener's song on its way through the engine.

The engine: jobs join and leave a running batch, so that all listeners share each pass over the LSTM's weights.

One thread steps the LSTM for all, a few turn steps into sound, one masters finished songs. Whoever has the least sound
in store comes first, so everyone hears the first notes before anyone's long song is done.

The process's only engine, and what the process does for it.
"""

import atexit
import ctypes
import gc
import logging
import math
import os
import secrets
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kpop.audio.io import SAMPLE_WIDTH_BYTES
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip
from kpop.model_info import checkpoint_path
from kpop.settings import GeneratedSong, Settings

if TYPE_CHECKING:
    from kpop.generation.pipeline import Pipeline
    from kpop.generation.session import GenerationSession
    from kpop.lstm.places import Places


M_ARENA_MAX = -8  # glibc's number for "how many pools"
N_POOLS = 2


def use_few_pools() -> None:
    """Threads share a few pools instead of eight a core, of which each keeps the most it ever needed. glibc only."""
    if library := _glibc():
        library.mallopt(M_ARENA_MAX, N_POOLS)


def give_back() -> None:
    """Return to the system what is free by now; takes a few milliseconds. glibc only."""
    if library := _glibc():
        library.malloc_trim(0)


def settle() -> None:
    """All that is loaded by now stays: the garbage collector need not look at it any more.

    Streamlit collects after every run of the page. With torch and plotly loaded that takes 0.16 s each time, during
    which no other thread runs, so that sound is late; after this it takes a millisecond.
    """
    gc.collect()
    gc.freeze()
    give_back()


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc: others have neither function, and no such habit."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


N_KEPT = 3  # instruments, each about 60 MB
USUAL_S = 6.0  # that loading takes at most, once everything has been compiled
WARMING_UP, FIRST_TIME = "Warming up", "Warming up: the very first start takes half a minute"

_log = logging.getLogger(__name__)


class PipelineLoader:
    """An pipeline on its way.

    fraction, words: for a progress line; error: why there is none, None while it is coming or there
    """

    fraction = 0.0

    def __init__(self, checkpoint: Path, head_start_s: float) -> None:
        self._started_s = time.monotonic()
        self.pipeline: Pipeline | None = None
        self.error: KpopError | None = None
        self._finished = threading.Event()
        threading.Thread(target=self._load, args=(checkpoint, head_start_s), name="loading", daemon=True).start()

    @property
    def words(self) -> str:
        """What is going on; on a machine's very first start, when the compiler has work to do, how long it may take."""
        return WARMING_UP if time.monotonic() - self._started_s < USUAL_S else FIRST_TIME

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, timeout_s at most; True once it has come."""
        return self._finished.wait(timeout_s)

    def result(self) -> "Pipeline":
        """The pipeline; waits for it. Raises KpopError if it cannot be loaded."""
        self._finished.wait()
        if self.error:
            raise self.error
        return self.pipeline

    def _load(self, checkpoint: Path, head_start_s: float) -> None:
        try:
            time.sleep(head_start_s)
            from kpop.generation.pipeline import Pipeline  # brings torch: whoever asks must not wait for it

            self.pipeline = Pipeline.load(checkpoint, only_to_play=True)
            settle()
        except KpopError as error:
            self.error = error
        except Exception:
            _log.exception("Unforeseen failure while loading %s", checkpoint)
            self.error = KpopError(f"{checkpoint.name} cannot be loaded: the terminal says why.")
        finally:
            self._finished.set()


class PipelineCache:
    """Loads each checkpoint once, and again when its file has changed or could not be loaded before."""

    def __init__(self) -> None:
        self._loadings: OrderedDict[tuple[Path, int | None], PipelineLoader] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: str, head_start_s: float = 0.0) -> PipelineLoader:
        """The pipeline of that name, loaded or on its way.

        head_start_s: how long loading leaves the processor to others first, if it is not already going on
        """
        checkpoint = checkpoint_path(model)
        key = checkpoint, checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        with self._lock:
            known = self._loadings.get(key)
            if known is None or known.error:
                self._loadings[key] = PipelineLoader(checkpoint, head_start_s)
            self._loadings.move_to_end(key)
            while len(self._loadings) > N_KEPT:
                self._loadings.popitem(last=False)
            return self._loadings[key]


CANCELLED = "This was cancelled: start it again."
MOST_KEPT_PIECES = 32  # of a song that never ends: a minute that nobody has fetched yet


class Job:
    """A song that was asked for: its sound as it is made, and in the end the whole song.

    id: unguessable name of its stream; place_in_queue: 0 once it is being made, 1 for the next one to be
    n_samples: of the whole song, None if it never ends; error: why there is no song, None while all is well
    Callable from any thread. What begins with an underscore is the engine's.
    """

    def __init__(
        self,
        settings: Settings,
        clip: SeedClip,
        endless: bool,
        voice: PipelineLoader,
        on_cancel: Callable[["Job"], None],
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.settings, self.clip, self.endless = settings, clip, endless
        self.n_samples = None if endless else round(settings.length_s * SAMPLE_RATE_HZ)
        self.place_in_queue = 0
        self.error: KpopError | None = None
        self.asked_at_s = time.monotonic()
        self.first_sound_at_s: float | None = None
        self._voice, self._on_cancel = voice, on_cancel
        self._dream: GenerationSession | None = None
        self._place: int | None = None
        self._admitted_at_s = 0.0
        self._lock = threading.Lock()
        self._pieces: list[bytes] = []
        self._n_forgotten = 0
        self._all_pieces_made = False
        self._song: GeneratedSong | None = None
        self._finished = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._last_listened_s = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether there will be no more news: the song is there, or there is an error."""
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        return self.error is not None and str(self.error) == CANCELLED

    @property
    def all_pieces_made(self) -> bool:
        return self._all_pieces_made

    @property
    def fraction(self) -> float:
        """Share of the song that has its sound, 0 to 1."""
        dream = self._dream
        if not dream or not self.n_samples:
            return float(self.finished and not self.error)
        return dream.n_sounded / self.n_samples

    @property
    def words(self) -> str:
        """What is going on, for a progress line."""
        if self.place_in_queue:
            return f"Number {self.place_in_queue} in the queue"
        if not self._voice.finished:
            return self._voice.words
        return "Mastering" if self._all_pieces_made else "Dreaming up the song"

    def cancel(self) -> None:
        """Give it up; its place is free at once."""
        if self._end(error=KpopError(CANCELLED)):
            self._on_cancel(self)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, timeout_s at most; True once it has come."""
        return self._finished.wait(timeout_s)

    def result(self) -> GeneratedSong:
        """The finished song; waits for it. Raises KpopError if it failed or was cancelled."""
        self._finished.wait()
        if self.error:
            raise self.error
        return self._song

    def pieces(self, start: int) -> list[bytes]:
        """Sound made so far, from piece number `start` on: 16-bit little-endian mono PCM at 16 kHz."""
        with self._lock:
            return self._pieces[max(start - self._n_forgotten, 0) :]

    def played(self, n_pieces: int) -> None:
        """The first n_pieces have reached the listener; of a song that never ends they are forgotten."""
        if self.endless:
            with self._lock:
                n_now = min(max(n_pieces - self._n_forgotten, 0), len(self._pieces))
                del self._pieces[:n_now]
                self._n_forgotten += n_now

    def on_news(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls callback() from the engine's threads whenever something has changed. Returns what ends that."""
        with self._lock:
            self._listeners.append(callback)

        def end() -> None:
            with self._lock:
                self._listeners.remove(callback)
                self._last_listened_s = time.monotonic()

        return end

    @property
    def _lead_s(self) -> float:
        """How far the sound is ahead of a listener who hears it from its first piece on; -inf before that.

        Of a song that never ends at least what is in store: its listener may have been away for a while.
        """
        dream, started_s = self._dream, self.first_sound_at_s
        if not dream or started_s is None:
            return float("-inf")
        ahead_s = dream.n_sounded / SAMPLE_RATE_HZ - (time.monotonic() - started_s)
        return max(ahead_s, self._stored_s) if self.endless else ahead_s

    @property
    def _stored_s(self) -> float:
        """Seconds of sound that have not been fetched yet."""
        with self._lock:
            return sum(map(len, self._pieces)) / (SAMPLE_WIDTH_BYTES * SAMPLE_RATE_HZ)

    @property
    def _has_enough(self) -> bool:
        """Whether a song that never ends has as much sound in store as may be."""
        return self.endless and len(self._pieces) >= MOST_KEPT_PIECES

    @property
    def _unheard_s(self) -> float:
        """Seconds since anyone listened; 0 while somebody does."""
        return 0.0 if self._listeners else time.monotonic() - self._last_listened_s

    def _add_piece(self, piece: bytes, last: bool) -> None:
        with self._lock:
            self._pieces.append(piece) if piece else None
            self._all_pieces_made = last
        if piece and self.first_sound_at_s is None:
            self.first_sound_at_s = time.monotonic()
        self._tell()

    def _end(self, song: GeneratedSong | None = None, error: KpopError | None = None) -> bool:
        """The song, or why there is none; False if it had ended before."""
        with self._lock:
            if self.finished:
                return False
            self._song, self.error, self._dream = song, error, None
            self._finished.set()
        self._tell()
        return True

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


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

_log_engine = logging.getLogger(__name__)


class Full(KpopError):
    """No place, and no room to wait for one."""


class Engine:
    """Makes songs for any number of listeners. Everything may be called from any thread, and nothing waits long."""

    def __init__(
        self, voices: PipelineCache | None = None, n_places: int = N_PLACES, max_waiting: int = MAX_WAITING
    ) -> None:
        """n_places: songs in the making at once; max_waiting: songs in the queue behind them."""
        self.voices = voices or PipelineCache()
        self.n_places, self.max_waiting = n_places, max_waiting
        self._news = threading.Condition()
        self._free = list(range(n_places))
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._stepping: set[Job] = set()  # in the pass that is going on: their places are free only after it
        self._sounding: set[Job] = set()
        self._to_finish: deque[tuple[Job, GenerationSession]] = deque()  # songs whose sound is made
        self._spans_s: deque[float] = deque([USUAL_SPAN_S], maxlen=20)
        self._jobs: weakref.WeakValueDictionary[str, Job] = weakref.WeakValueDictionary()
        self._halls: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # places by pipeline
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

    def _to_step(self) -> "list[tuple[Job, GenerationSession]]":
        """Songs for the next pass: all, unless some have no sound yet; then those, and whoever runs short."""
        dreams = [(job, job._dream) for job in self._running]
        dreams = [(job, dream) for job, dream in dreams if dream and not dream.steps_done and not _is_ahead(job)]
        if any(not dream.has_begun for _, dream in dreams):
            dreams = [(job, dream) for job, dream in dreams if not dream.has_begun or job._lead_s < COMFORT_S]
        return dreams

    def _to_sound(self) -> "tuple[Job, GenerationSession | None] | None":
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
                _log_engine.exception("Unforeseen failure in the engine")
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
            for pipeline in {dream.pipeline for _, dream in dreams}:
                self._step(pipeline, [(job, dream) for job, dream in dreams if dream.pipeline is pipeline])
        finally:
            with self._news:
                self._stepping = set()
                for job, _ in dreams:
                    self._leave(job) if job.finished else None
                self._news.notify_all()

    def _step(self, pipeline: "Pipeline", dreams: "list[tuple[Job, GenerationSession]]") -> None:
        """One pass over an pipeline's weights."""
        started = time.perf_counter()
        with _ending_on_failure(*(job for job, _ in dreams)):
            hall = self._hall(pipeline)
            values = hall.run([dream.next_stride(hall, job._place) for job, dream in dreams])
            share_s = (time.perf_counter() - started) / len(dreams)
            for (_, dream), steps in zip(dreams, values, strict=True):
                dream.take(steps, share_s)

    def _hall(self, pipeline: "Pipeline") -> "Places":
        if pipeline not in self._halls:
            self._halls[pipeline] = pipeline.places(self.n_places, N_STEP_THREADS)
        return self._halls[pipeline]

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
    from kpop.generation.session import GenerationSession

    job._dream = GenerationSession(job._voice.result(), job.settings, job.clip, job.endless)


def _need_s(job: Job) -> float:
    """How urgent its next piece is, in seconds in store."""
    return NEWCOMER_S if job.first_sound_at_s is None else job._lead_s


def _is_ready(job: Job, dream: "GenerationSession | None") -> bool:
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
        _log_engine.exception("Unforeseen failure in the engine")
        for job in jobs:
            job._end(error=KpopError(BROKEN))


TURN_S = 0.0005  # Python's threads take turns after this instead of 5 ms: sound is made in many short bursts


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine that all listeners of this process share; made when first asked for."""
    sys.setswitchinterval(TURN_S)
    use_few_pools()
    return Engine()
