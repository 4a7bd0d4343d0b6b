"""What a listener waits for, when they change their mind, want several songs, or one beside the other."""

import threading
from dataclasses import replace

import pytest
from fake_engine import FakeEngine, FakeJob, sine

from kpop.errors import KpopError
from kpop.generation import clips
from kpop.generation.clips import SeedClip
from kpop.settings import Settings
from kpop.ui import session_state as room
from kpop.ui.session_state import N_TAKES, SessionState

PATIENCE_S = 10
OWN = SeedClip("mine.wav", "mine", sine(4))
SHORT = Settings(length_s=4)


@pytest.fixture
def engine(monkeypatch, fresh_page) -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def go_on(engine) -> threading.Event:
    """Lets songs be finished; without it they are at once."""
    event = threading.Event()

    def make(job: FakeJob) -> None:
        event.wait(PATIENCE_S)
        job.end()

    engine.make = make
    return event


@pytest.fixture
def visit() -> SessionState:
    return SessionState()


def hear(visit: SessionState, engine: FakeEngine) -> None:
    """Asks for what was wished for, and waits until it is shown."""
    assert visit.ask(engine, "")
    assert visit.performing.wait(PATIENCE_S)
    visit.end_waiting(engine, visit.performing)


def test_a_wish_cancels_the_one_before(visit, engine, go_on):
    visit.wish(SHORT)
    visit.ask(engine, "")
    visit.wish(SHORT)
    visit.ask(engine, "")
    assert [job.cancelled for job in engine.jobs] == [True, False]


def test_a_run_that_waited_for_a_song_given_up_meanwhile_changes_nothing(visit, engine, go_on):
    visit.wish(SHORT)
    visit.ask(engine, "")
    former = visit.performing
    visit.wish(replace(SHORT, seed_number=8))
    visit.ask(engine, "")
    latest, jobs = visit.performing, visit.jobs
    go_on.set()
    former.wait(PATIENCE_S)
    visit.end_waiting(engine, former)
    assert (visit.performing, visit.jobs, visit.performances) == (latest, jobs, ())
    latest.wait(PATIENCE_S)
    visit.end_waiting(engine, latest)
    assert visit.performing is None
    assert [song.settings.seed_number for song in visit.performances] == [8]
    assert visit.live["shown"]


def test_a_refusal_is_told_once_and_leaves_silence(visit, engine):
    engine.full = KpopError("Full: try again in 3 s.")
    visit.wish(SHORT)
    assert not visit.ask(engine, "")
    assert "try again" in visit.sentence
    assert visit.live is None


def test_a_song_that_never_ends_is_never_finished(visit, engine, go_on):
    visit.wish(SHORT, endless=True)
    assert visit.ask(engine, "")
    assert visit.performing is None
    assert visit.live


def test_four_takes_are_alike_but_for_their_seed_numbers_and_none_is_heard_unasked(visit, engine):
    visit.wish_takes(replace(SHORT, seed_number=2**32 - 2), OWN)
    hear(visit, engine)
    assert [song.settings.seed_number for song in visit.performances] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert {replace(song.settings, seed_number=0) for song in visit.performances} == {replace(SHORT, seed_number=0)}
    assert all(job.clip is OWN for job in engine.jobs)
    assert visit.live is None
    assert len(visit.performances) == N_TAKES == len(visit.history)


def test_takes_that_do_not_all_find_room_are_all_given_back(visit, engine, go_on):
    places = iter([None, None, KpopError("Full: try again in 3 s.")])
    submit = engine.submit

    def submit_while_there_is_room(*wish):
        engine.full = next(places)
        return submit(*wish)

    engine.submit = submit_while_there_is_room
    visit.wish_takes(SHORT, OWN)
    assert not visit.ask(engine, "")
    assert [job.cancelled for job in engine.jobs] == [True, True]
    assert "try again" in visit.sentence


def test_the_take_that_is_kept_stays_alone(visit, engine):
    visit.wish_takes(SHORT, OWN)
    hear(visit, engine)
    best = visit.performances[2]
    visit.keep(2, engine)
    assert visit.performances == (best,)


def test_another_version_stands_beside_the_song_that_stays_as_it_is(visit, engine):
    visit.wish(SHORT, OWN)
    hear(visit, engine)
    (song,) = visit.performances
    visit.wish_beside(replace(SHORT, temperature=1.6))
    hear(visit, engine)
    assert visit.performances[0] is song
    assert visit.performances[1].settings == replace(SHORT, temperature=1.6)
    assert engine.jobs[1].clip is OWN
    visit.wish_beside(replace(SHORT, temperature=0.4))
    hear(visit, engine)
    assert [each.settings.temperature for each in visit.performances] == [1.0, 0.4]


def test_a_version_that_fails_leaves_the_song_alone(visit, engine):
    visit.wish(SHORT, OWN)
    hear(visit, engine)
    before = visit.performances
    engine.error = KpopError("The strings broke: put on new ones.")
    visit.wish_beside(replace(SHORT, temperature=1.6))
    hear(visit, engine)
    assert visit.performances == before
    assert visit.sentence == "The strings broke: put on new ones."


def test_the_song_itself_remembers_the_clip_of_the_listeners_own(visit, engine, monkeypatch):
    monkeypatch.setattr(room, "built_in_clip", clips.built_in_clip)  # which there is none of that name
    visit.wish(replace(SHORT, clip="mine.wav"), OWN)
    hear(visit, engine)
    (entry,) = visit.history
    assert entry.own_clip is OWN
    assert visit.performances[0].own_clip is OWN
