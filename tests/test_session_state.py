"""What a session requests, waits for and shows; and the background tasks that it waits for."""

import gc
import os
import sys
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from kpop.audio.io import from_pcm, pcm_bytes, wav_bytes
from kpop.constants import SAMPLE_RATE_HZ
from kpop.engine import Job, QueueFull
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.metadata import song_tags
from kpop.settings import GeneratedSong, Settings
from kpop.ui import session_state
from kpop.ui.session_state import SessionState
from kpop.ui.song import preview
from kpop.ui.tasks import BackgroundTask

TIMEOUT_S = 10
SHORT = Settings(length_s=4)
TWO = SHORT, replace(SHORT, seed_number=8)
BROKEN = KpopError("The strings broke: put on new ones.")
WAVEFORM = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * SAMPLE_RATE_HZ).astype(np.float32)  # of each song
OWN = SeedClip("mine.wav", "mine", WAVEFORM)


class Engine:
    """Takes requests while there is room, and makes nothing by itself."""

    def __init__(self) -> None:
        self.jobs, self.room = [], 99

    def submit(self, settings: Settings, clip: SeedClip, endless: bool = False) -> Job:
        if len(self.jobs) >= self.room:
            raise QueueFull("Full: try again in 3 s.")
        loader = SimpleNamespace(finished=True, error=None)
        self.jobs.append(Job(settings, clip, endless, loader, lambda job: None))
        return self.jobs[-1]


@pytest.fixture
def engine(monkeypatch) -> Engine:
    monkeypatch.setattr(session_state, "start_comparing", lambda engine, song: None)
    return Engine()


def started(engine: Engine, *songs: Settings, **options) -> SessionState:
    session = SessionState()
    session.request(*songs, **options)
    assert session.submit(engine)
    return session


def finish(job: Job) -> None:
    job.pcm.append(pcm_bytes(WAVEFORM), last=True)
    job._end(GeneratedSong(WAVEFORM, np.zeros((100, 128), "f4"), 2.0, job.settings))


def finish_all(session: SessionState, engine: Engine) -> None:
    """Make the songs, and put them on the page."""
    for job in session.jobs:
        finish(job)
    session.rendering.wait(TIMEOUT_S)
    session.update(engine)


def test_a_song_plays_from_its_url_while_it_is_made_and_stays_there_when_it_is_finished(engine, monkeypatch):
    monkeypatch.setattr(session_state, "base_path", lambda: "/base")
    session = started(engine, SHORT)
    (file,) = session.files
    assert session.play == file.url("/base")
    assert session.job
    finish_all(session, engine)
    (song,) = session.songs
    assert song.file is file
    assert file.read() == wav_bytes(from_pcm(pcm_bytes(WAVEFORM)), song_tags(SHORT))
    assert (session.job, session.jobs, session.rendering, session.busy) == (None, (), None, False)


def test_a_request_cancels_the_one_before_and_its_song_never_appears(engine):
    session = started(engine, SHORT)
    former = session.rendering
    session.request(replace(SHORT, seed_number=8))
    assert session.submit(engine)
    assert not session.submit(engine)
    assert [job.cancelled for job in engine.jobs] == [True, False]
    former.wait(TIMEOUT_S)
    session.update(engine)
    assert session.songs == ()
    finish_all(session, engine)
    assert [song.settings.seed_number for song in session.songs] == [8]


def test_the_status_is_one_line_queue_first_and_then_progress(engine):
    session = started(engine, SHORT)
    job = session.job
    job.queue_position = 3
    assert session.status == "Number 3 in the queue…"
    job.queue_position = 0
    assert session.status == "Dreaming up the song…"
    job.pcm.append(bytes(32_000))
    assert session.status == "Dreaming up the song… 25%"
    finish(job)
    assert session.busy
    session.rendering.wait(TIMEOUT_S)
    session.update(engine)
    assert session.status == ""


def test_an_endless_song_has_no_progress_and_is_never_put_on_the_page(engine):
    session = started(engine, SHORT, endless=True)
    assert session.rendering is None
    assert session.status == "Dreaming up the song…"
    session.job.pcm.append(bytes(100))
    assert (session.status, session.files[0].n_bytes, session.busy) == ("", None, True)


def test_a_refusal_cancels_the_other_variations_and_is_a_sentence_until_the_next_request(engine):
    engine.room, session = 1, SessionState()
    session.request(*TWO)
    assert not session.submit(engine)
    assert [job.cancelled for job in engine.jobs] == [True]
    assert "try again" in session.error
    assert session.job is None
    session.request(SHORT)
    assert session.error == ""


def test_songs_of_one_request_stand_side_by_side_and_one_that_is_beside_leaves_the_first_as_it_is(engine):
    session = started(engine, *TWO, own_clip=OWN)
    finish_all(session, engine)
    first, _ = session.songs
    assert (tuple(song.settings for song in session.songs), session.play, len(session.history)) == (TWO, None, 2)
    session.request(replace(SHORT, temperature=1.6), own_clip=OWN, beside=True)
    assert session.submit(engine)
    finish_all(session, engine)
    assert session.songs[0] is first
    assert [song.settings.temperature for song in session.songs] == [1.0, 1.6]
    assert all(job.clip is OWN for job in engine.jobs)


def test_a_session_that_ends_cancels_its_songs_and_frees_their_memory(engine):
    session = started(engine, SHORT)
    (job,), rendering, file = session.jobs, session.rendering, weakref.ref(session.files[0])
    session = None
    gc.collect()
    assert job.cancelled
    assert rendering.wait(TIMEOUT_S)
    assert file() is None


@pytest.mark.parametrize("randomness", [0.0, 1.0])
def test_the_preview_is_what_the_finished_song_says(randomness):
    from kpop.engine import get_engine

    settings = replace(SHORT, randomness=randomness, length_s=20)
    job = get_engine().submit(settings, built_in_clip(settings.clip))
    known, song = preview(job), job.result()
    assert known.seed_end_s == pytest.approx(song.seed_end_s)
    assert known.beat == song.beat


@pytest.fixture
def gate():
    """Work that reports, then waits until it is let through."""

    def work(report) -> str:
        report(0.25, "Half way to half way")
        reached.set()
        assert opened.wait(TIMEOUT_S)
        report(1.0, "Done")
        return "a song"

    reached, opened = threading.Event(), threading.Event()
    yield SimpleNamespace(work=work, reached=reached, opened=opened)
    opened.set()


def test_a_task_shows_its_progress_while_the_caller_goes_on(gate):
    task = BackgroundTask(gate.work)
    assert gate.reached.wait(TIMEOUT_S)
    assert (task.fraction, task.status, task.finished) == (0.25, "Half way to half way", False)
    assert not task.wait(0.01)
    gate.opened.set()
    assert task.result() == "a song"
    assert (task.fraction, task.finished, task.error) == (1.0, True, None)


def test_a_cancelled_task_stops_at_its_next_report(gate):
    task = BackgroundTask(gate.work)
    assert gate.reached.wait(TIMEOUT_S)
    task.cancel()
    gate.opened.set()
    with pytest.raises(KpopError, match="cancelled"):
        task.result()
    assert task.fraction == 0.25


def test_a_sentence_passes_through_unchanged_and_anything_else_goes_to_the_log(caplog):
    with pytest.raises(KpopError, match=f"^{BROKEN}$"):
        BackgroundTask(Mock(side_effect=BROKEN)).result()
    task = BackgroundTask(Mock(side_effect=ZeroDivisionError("secret detail")))
    assert task.wait(TIMEOUT_S)
    assert "secret detail" not in str(task.error)
    assert "terminal" in str(task.error)
    assert "secret detail" in caplog.text


def test_idle_tasks_run_one_after_the_other_whichever_fails_or_was_cancelled_before_its_turn(gate):
    begun = []
    works = gate.work, Mock(side_effect=ZeroDivisionError), begun.append, lambda report: "the last"
    _, broken, cancelled, last = (BackgroundTask(work, idle=True) for work in works)
    cancelled.cancel()
    assert gate.reached.wait(TIMEOUT_S)
    assert not last.wait(0.05)
    gate.opened.set()
    assert last.result() == "the last"
    assert broken.error
    assert cancelled.error
    assert not begun


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_idle_tasks_come_after_all_else():
    def priority(report) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert BackgroundTask(priority, idle=True).result() > BackgroundTask(priority).result()
