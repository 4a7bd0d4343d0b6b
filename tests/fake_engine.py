"""An engine that plays a sine, at a pace of the test's choosing, and remembers what it was asked for."""

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from kpop.constants import FRAMES_PER_S, SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip
from kpop.settings import GeneratedSong, Settings

PIECE_S = 0.48


def sine(length_s: float) -> np.ndarray:
    times_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 440 * times_s)).astype(np.float32)


def pcm(waveform: np.ndarray) -> bytes:
    return np.round(waveform * 32767).astype("<i2").tobytes()


def song_for(settings: Settings) -> GeneratedSong:
    log_mel_db = np.zeros((round(settings.length_s * FRAMES_PER_S), 128), np.float32)
    return GeneratedSong(
        sine(settings.length_s), log_mel_db, np.geomspace(40, 7800, 128), 2.0, settings, {"dream": 0.5}
    )


class FakeJob:
    """Quacks like kpop.engine.job.Job. What it will be is decided by `make`, in a thread or in the test."""

    def __init__(self, settings: Settings | None = None, clip: SeedClip | None = None, endless: bool = False) -> None:
        self.settings, self.endless = settings or Settings(), endless
        self.clip = clip or SeedClip("beat", "Beat", sine(4))
        self.id = secrets.token_urlsafe(12)
        self.n_samples = None if endless else round(self.settings.length_s * SAMPLE_RATE_HZ)
        self.place_in_queue, self.fraction, self.words = 0, 0.0, "Dreaming up the song"
        self.all_pieces_made, self.cancelled, self.error = False, False, None
        self.n_played, self.cancelled_at_s = 0, None
        self._pieces: list[bytes] = []
        self._listeners: list[Callable[[], None]] = []
        self._ended = threading.Event()

    @property
    def finished(self) -> bool:
        return self._ended.is_set()

    @property
    def n_listeners(self) -> int:
        return len(self._listeners)

    def cancel(self) -> None:
        if not self.finished:
            self.cancelled, self.cancelled_at_s = True, time.monotonic()
            self.end(KpopError("This was cancelled: start it again."))

    def wait(self, timeout_s: float | None = None) -> bool:
        return self._ended.wait(timeout_s)

    def result(self) -> GeneratedSong:
        self._ended.wait()
        if self.error:
            raise self.error
        return song_for(self.settings)

    def pieces(self, start: int) -> list[bytes]:
        return self._pieces[start:]

    def played(self, n_pieces: int) -> None:
        self.n_played = n_pieces

    def on_news(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def add(self, piece: bytes, last: bool = False) -> None:
        self._pieces.append(piece)
        self.all_pieces_made = last
        self._tell()

    def end(self, error: KpopError | None = None) -> None:
        self.error = self.error or error
        self._ended.set()
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()


class FakeVoice:
    """A voice that is there at once."""

    fraction, words, finished = 0.0, "Warming up", True

    def __init__(self, info: dict, error: KpopError | None) -> None:
        self.info, self.error = info, error

    def wait(self, timeout_s: float | None = None) -> bool:
        return True

    def result(self) -> SimpleNamespace:
        if self.error:
            raise self.error
        return SimpleNamespace(info=self.info)


class FakeEngine:
    """Quacks like kpop.engine.engine.Engine.

    make: called with each new job, in a thread of its own; finishes it at once unless told otherwise
    error: why songs fail; full: why none is taken; checkpoint: called with a voice's name when that is loaded
    """

    def __init__(self, make: Callable[[FakeJob], None] | None = None) -> None:
        self.jobs: list[FakeJob] = []
        self.make = make or self._at_once
        self.error: KpopError | None = None
        self.full: KpopError | None = None
        self.info = {"data": "my songs"}
        self.check: Callable[[str], Path | None] = lambda model: None
        self.voices = SimpleNamespace(get=self._voice)

    @property
    def asked(self) -> list[Settings]:
        return [job.settings for job in self.jobs]

    def submit(self, settings: Settings, clip: SeedClip, endless: bool = False) -> FakeJob:
        if self.full:
            raise self.full
        job = FakeJob(settings, clip, endless)
        self.jobs.append(job)
        threading.Thread(target=self.make, args=(job,), daemon=True).start()
        return job

    def state(self) -> dict[str, int]:
        return {"running": sum(not job.finished for job in self.jobs)}

    def find(self, job_id: str) -> FakeJob | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    def _at_once(self, job: FakeJob) -> None:
        job.end(self.error or self._voice(job.settings.model).error)

    def _voice(self, model: str, head_start_s: float = 0.0) -> FakeVoice:
        try:
            self.check(model)
        except KpopError as error:
            return FakeVoice(self.info, error)
        return FakeVoice(self.info, None)


def make_in_pieces(job: FakeJob, speed: float = 10.0, first_s: float = 0.05) -> None:
    """Makes a sine piece by piece, `speed` times as fast as it is heard; then the whole song."""
    time.sleep(first_s)
    n_piece = round(PIECE_S * SAMPLE_RATE_HZ)
    whole = pcm(sine(job.settings.length_s))
    for start in range(0, 10**9 if job.endless else job.n_samples, n_piece):
        if job.finished:
            return
        piece = pcm(sine(PIECE_S)) if job.endless else whole[2 * start : 2 * (start + n_piece)]
        job.add(piece, last=not job.endless and start + n_piece >= job.n_samples)
        job.fraction = 0.0 if job.endless else min(1.0, (start + n_piece) / job.n_samples)
        time.sleep(PIECE_S / speed)
        while job.endless and len(job.pieces(0)) > job.n_played + 40 and not job.finished:
            time.sleep(0.1)
    job.end()
