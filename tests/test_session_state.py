"""What a session requests, waits for, shows and remembers; and the background tasks that it waits for."""

import gc
import os
import sys
import threading
import weakref
from dataclasses import asdict, replace
from functools import reduce
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from pages import words
from streamlit.testing.v1 import AppTest

from kpop.audio.io import pcm_bytes
from kpop.constants import SAMPLE_RATE_HZ
from kpop.engine import Job
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.titles import song_title
from kpop.settings import GeneratedSong, Settings
from kpop.ui import session_state
from kpop.ui.session_state import MAX_ENTRIES, Entry, Request, SessionState, remember
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
            raise KpopError("Full: try again in 3 s.")
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
    (job,) = session.jobs
    job.queue_position = 3
    assert session.status == "Number 3 in the queue…"
    job.queue_position = 0
    assert session.status == "Generating…"
    job.pcm.append(bytes(32_000))
    assert session.status == "Playing while it’s generated… 25%"
    finish(job)
    assert session.busy
    session.rendering.wait(TIMEOUT_S)
    session.update(engine)
    assert session.status == ""


def test_an_endless_song_has_no_progress_and_is_never_put_on_the_page(engine):
    session = started(engine, SHORT, endless=True)
    assert session.rendering is None
    assert session.status == "Generating…"
    session.jobs[0].pcm.append(bytes(100))
    assert (session.status, session.previews[0].file.n_bytes, session.busy) == ("", None, True)


def test_a_refusal_cancels_the_other_variations_and_is_a_sentence_until_the_next_request(engine):
    engine.room, session = 1, SessionState()
    session.request(*TWO)
    assert not session.submit(engine)
    assert [job.cancelled for job in engine.jobs] == [True]
    assert "try again" in session.error
    assert not session.jobs
    session.request(SHORT)
    assert session.error == ""


def test_a_session_that_ends_cancels_its_songs_and_frees_their_memory(engine):
    session = started(engine, SHORT)
    (job,), rendering, file = session.jobs, session.rendering, weakref.ref(session.previews[0].file)
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
    known, song = preview(job, None), job.result()
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


def test_a_task_shows_its_progress_and_a_cancelled_one_stops_at_its_next_report(gate):
    tasks = BackgroundTask(gate.work), BackgroundTask(gate.work)
    for task in tasks:
        assert gate.reached.wait(TIMEOUT_S)
        assert not task.wait(0.1)
        assert (task.fraction, task.status) == (0.25, "Half way to half way")
    tasks[0].cancel()
    gate.opened.set()
    with pytest.raises(KpopError, match="cancelled"):
        tasks[0].result()
    assert (tasks[1].result(), tasks[0].fraction, tasks[1].fraction) == ("a song", 0.25, 1.0)


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


def own(clip_number: float) -> Entry:
    """An entry of a song from a file of the listener's own, all of one name."""
    clip = SeedClip("<b>demo.mp3", "demo", np.full(1000, clip_number, np.float32))
    return Entry(Settings(clip=clip.name), clip)


def history(*entries: Entry) -> tuple[Entry, ...]:
    return reduce(remember, entries, ())


def shown(entries: tuple[Entry, ...]) -> AppTest:
    def page(entries) -> None:
        from kpop.ui.history import show_history

        show_history(entries)

    return AppTest.from_function(page, default_timeout=60, args=(entries,)).run()


def test_the_newest_song_comes_first_one_made_again_moves_up_and_the_oldest_are_forgotten():
    songs = [Entry(Settings(seed_number=number)) for number in range(30)]
    assert history(songs[1], songs[2], songs[3], Entry(songs[1].settings))[1:] == (songs[3], songs[2])
    assert history(*songs) == tuple(songs[: -MAX_ENTRIES - 1 : -1])


def test_any_other_setting_or_another_file_of_the_same_name_is_another_song():
    changes = {"randomness": 0.4}, {"length_s": 31.0}, {"model": "another"}, {"clip": "x"}
    assert len(history(Entry(Settings()), *(Entry(Settings(**change)) for change in changes))) == 5
    assert len(history(own(1), own(2), own(1), replace(own(1), own_clip=None))) == 3


def test_a_press_on_an_earlier_song_sets_the_controls_and_requests_it():
    made = Settings(0.85, 1.4, 61.0, 4711, "last-train-home")
    page = shown((Entry(made),))
    assert "Last Train Home · randomness 0.85 · temperature 1.40 · 1:01" in words(page)
    assert page.button[0].label == f"Play again *{song_title(made)}*"
    page.session_state.endless = True
    page.button[0].click().run()
    assert [page.session_state[key] for key in (*asdict(made), "endless")] == [*asdict(made).values(), False]
    assert page.session_state.session.requested == Request((made,))
    assert "Nothing yet" in shown(()).caption[0].value


def test_a_song_from_an_own_file_starts_from_it_again_and_its_name_brings_no_markup():
    page = shown((own(2),))
    assert "&lt;b&gt;demo" in words(page)
    page.button[0].click().run()
    assert page.session_state.session.requested.own_clip.title == "demo"
