"""What a listener waits for, when they change their mind."""

import threading

import pytest

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip
from kpop.generation.settings import Settings
from kpop.show import visit as room
from kpop.show.visit import Visit


class Job:
    def __init__(self, settings: Settings, clip: SeedClip, endless: bool) -> None:
        self.settings, self.clip, self.endless, self.id, self.n_samples = settings, clip, endless, "a-song", 64_000
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Engine:
    """Takes what is asked for, or refuses it."""

    full = False

    def submit(self, settings: Settings, clip: SeedClip, endless: bool) -> Job:
        if self.full:
            raise KpopError("Full: try again in 3 s.")
        return Job(settings, clip, endless)


@pytest.fixture
def go_on(monkeypatch) -> threading.Event:
    """Lets the songs be finished."""
    event = threading.Event()
    monkeypatch.setattr(room, "perform", lambda engine, job, report: event.wait(10) and job)
    return event


@pytest.fixture
def visit() -> Visit:
    visit = Visit()
    ask(visit)
    return visit


def ask(visit: Visit, engine: Engine | None = None, endless: bool = False) -> bool:
    visit.wish(Settings(), SeedClip("beat", "Beat", None), endless)
    return visit.ask(engine or Engine(), "")


def test_a_wish_cancels_the_one_before(go_on, visit):
    former = visit.job
    ask(visit)
    assert former.cancelled
    assert not visit.job.cancelled


def test_a_run_that_waited_for_a_song_given_up_meanwhile_changes_nothing(go_on, visit):
    former = visit.performing
    ask(visit)
    latest, job = visit.performing, visit.job
    go_on.set()
    former.wait(5)
    visit.end_waiting(former)
    assert (visit.performing, visit.job, visit.performance) == (latest, job, None)
    latest.wait(5)
    visit.end_waiting(latest)
    assert visit.performing is None
    assert visit.live["shown"]


def test_a_refusal_is_told_once_and_leaves_silence(visit):
    engine = Engine()
    engine.full = True
    assert not ask(visit, engine)
    assert "try again" in visit.sentence
    assert visit.live is None


def test_a_song_that_never_ends_is_never_finished(visit):
    assert ask(visit, endless=True)
    assert visit.performing is None
    assert visit.live
