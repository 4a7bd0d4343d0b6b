"""The booth: what its buttons do, how duels are counted, and the page from the first touch to the radio."""

import random
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from streamlit.testing.v1 import AppTest

from kpop import feedback
from kpop.errors import KpopError
from kpop.feedback import KEPT, MADE, UP, Store, vote_now
from kpop.settings import Settings
from kpop.ui import booth as ui
from kpop.ui.booth import ATTRACT, DUEL, RADIO, TAME, VERDICT, WILD, Booth

CLIPS = ("first-snow", "neon-rain", "sugar-rush")
WINNER, LOSER = Settings(temperature=WILD), Settings(temperature=TAME)


class FakeSession:
    """A SessionState that only remembers what was requested; complete as soon as it is submitted."""

    error, busy, jobs, previews, rendering = "", False, (), (), None

    def request(self, settings: Settings, endless: bool) -> None:
        self.requested, self.endless = settings, endless

    def submit(self, engine: object) -> bool:
        self.jobs = (SimpleNamespace(),)
        return True


@pytest.fixture(autouse=True)
def songs(monkeypatch):
    """Sampled songs start from three clips in turn, nothing is stored, and no score is left from the test before."""
    rng = random.Random(3)
    monkeypatch.setenv(feedback.VARIABLE, feedback.OFF)
    monkeypatch.setattr(ui, "sample_settings", lambda: Settings(clip=rng.choice(CLIPS)))
    monkeypatch.setattr(ui, "SessionState", FakeSession)
    monkeypatch.setattr(ui, "player_data", lambda session: {"tracks": [], "play": None})
    ui.wins.cache_clear()
    yield
    ui.wins.cache_clear()


def duel(seed: int = 3, clip: str | None = "neon-rain", complete: bool = True) -> Booth:
    booth = Booth(12.0, random.Random(seed))
    booth.choose()
    booth.pick(clip)
    for session in booth.sessions if complete else ():
        session.submit(None)
    return booth


def test_both_variations_differ_in_temperature_only_and_chance_decides_which_is_the_wild_one():
    booths = [duel(seed) for seed in range(40)]
    for booth in booths:
        tame, wild = (booth.sessions[i].requested for i in (1 - booth.wild, booth.wild))
        assert (tame.clip, tame.temperature) == ("neon-rain", TAME)
        assert wild == replace(tame, temperature=WILD)
    assert 8 < sum(booth.wild for booth in booths) < 32


def test_a_vote_counts_once_and_only_when_both_variations_can_be_played_and_only_today(monkeypatch):
    booth = duel(complete=False)
    booth.vote(0)
    assert (booth.scene, ui.score()) == (DUEL, (0, 0))
    booth = duel()
    booth.vote(booth.wild)
    booth.vote(1 - booth.wild)
    assert (booth.scene, booth.winner, ui.score()) == (VERDICT, booth.wild, (0, 1))
    monkeypatch.setattr(ui, "start_of_today", lambda: "2999-01-01T00:00Z")
    assert ui.score() == (0, 0)


def test_the_radio_plays_the_winner_and_starting_over_forgets_it_but_not_the_score():
    booth = duel()
    winner = booth.songs[1]
    booth.vote(1)
    booth.play_radio()
    (session,) = booth.sessions
    assert (booth.scene, session.requested, session.endless) == (RADIO, winner, True)
    booth.start_over()
    assert (booth.scene, booth.winner, sum(ui.score())) == (ATTRACT, None, 1)


def test_the_score_survives_a_restart_and_counts_no_other_votes(monkeypatch, tmp_path):
    monkeypatch.setenv(feedback.VARIABLE, str(tmp_path / "votes.sqlite"))
    store = feedback.open_store()
    for number, (kind, temperature) in enumerate([(KEPT, 0.8), (KEPT, 1.3), (UP, 1.0), (MADE, WILD)]):
        store.write(number, vote_now(kind, Settings(temperature=temperature)))
    ui.count_duel(WINNER, LOSER)
    assert ui.score() == (0, 1)
    ui.wins.cache_clear()
    assert ui.score() == (0, 1)
    assert [vote.kind for vote in store.votes() if vote.settings == LOSER] == [MADE]
    monkeypatch.setattr(Store, "write", Mock(side_effect=KpopError("The disk is full: make room.")))
    ui.count_duel(WINNER, LOSER)
    assert ui.score() == (0, 2)  # what cannot be stored counts until the server ends


@pytest.mark.parametrize(("idle", "idle_s"), [("20", 20), ("1", 5), ("9999", 600), ("soon", 60), ("nan", 60)])
def test_the_query_says_after_how_many_idle_seconds_the_booth_starts_over(idle, idle_s):
    page = AppTest.from_string("from kpop.ui.booth import booth; booth()", default_timeout=60)
    page.query_params["idle"] = idle
    (part,) = (part for part in page.run().get("bidi_component") if part.proto.component_name.endswith("booth"))
    assert f'"idle_s":{idle_s}' in part.proto.json.replace(" ", "").replace(".0", "")
    assert not page.exception
