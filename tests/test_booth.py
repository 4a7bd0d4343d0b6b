"""The booth: what happens from touch to touch, how the score is kept, and the journey over its page."""

import json
import random
from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest
from fake_engine import FakeEngine, sine

from kpop import feedback
from kpop.feedback import KEPT, MADE, UP, Store, vote_now
from kpop.generation import clips
from kpop.settings import Settings
from kpop.ui import booth as room
from kpop.ui.booth import TAME, WILD, Booth, Scene, Score

CLIPS = tuple(clips.ClipInfo(name, name.title(), "dark") for name in ("first-snow", "neon-rain", "sugar-rush"))
WINNER, LOSER = Settings(temperature=WILD), Settings(temperature=TAME)


@pytest.fixture(autouse=True)
def no_votes(monkeypatch):
    """Nothing is remembered from the test before, and nothing kept."""
    monkeypatch.setenv(feedback.VARIABLE, feedback.OFF)
    room.the_score.cache_clear()
    yield
    room.the_score.cache_clear()


@pytest.fixture
def three_clips(monkeypatch):
    monkeypatch.setattr(room, "built_in_clips", lambda: CLIPS)


@pytest.fixture
def booth(three_clips) -> Booth:
    return Booth(Score(None), random.Random(3))


def wished(booth: Booth) -> tuple[Settings, ...]:
    return booth.visit._wish.songs


def duel(booth: Booth, clip: str | None = "neon-rain") -> Booth:
    """Somebody has chosen, and both takes are there."""
    booth.touch()
    booth.pick(clip)
    booth.visit.performances = ("A", "B")
    return booth


def test_the_booth_calls_people_with_one_song_after_the_other_from_other_beginnings(booth):
    heard = [booth.song]
    for _ in range(20):
        booth.song_over(booth.turn)
        heard.append(booth.song)
        assert wished(booth) == (booth.song,)
    assert all(one.clip != other.clip for one, other in pairwise(heard))
    assert {song.clip for song in heard} == {clip.name for clip in CLIPS}
    assert {song.length_s for song in heard} == {room.SONG_S}


def test_an_end_that_is_told_twice_ends_one_song(booth):
    turn = booth.turn
    booth.song_over(turn)
    song = booth.song
    booth.song_over(turn)
    assert booth.song == song


def test_a_song_that_ends_while_somebody_chooses_leaves_them_alone(booth):
    booth.touch()
    booth.song_over(booth.turn)
    assert booth.scene is Scene.CHOOSE


@pytest.mark.parametrize(("asked_s", "length_s"), [(1, 4), (12, 12), (9999, 300)])
def test_songs_are_as_long_as_asked_for_within_what_can_be_made(three_clips, asked_s, length_s):
    assert Booth(Score(None), random.Random(3), asked_s).song.length_s == length_s


def test_both_takes_are_alike_but_for_how_wild_they_are(booth):
    duel(booth)
    one, other = wished(booth)
    assert replace(one, temperature=1) == replace(other, temperature=1)
    assert one.clip == "neon-rain"
    assert {one.temperature, other.temperature} == {TAME, WILD}
    assert booth.duel[booth.wild].temperature == WILD


def test_chance_decides_which_side_is_wild(three_clips):
    sides = [duel(Booth(Score(None), random.Random(seed))).wild for seed in range(40)]
    assert 8 < sum(sides) < 32


def test_a_surprise_comes_from_one_of_the_beginnings(booth):
    duel(booth, None)
    assert wished(booth)[0].clip in {clip.name for clip in CLIPS}


def test_nobody_votes_before_both_takes_can_be_heard(booth):
    booth.touch()
    booth.pick("neon-rain")
    booth.vote(0)
    assert booth.scene is Scene.DUEL
    assert booth.score.standing == (0, 0)


def test_a_vote_counts_once_and_for_what_was_chosen(booth):
    duel(booth)
    booth.vote(booth.wild)
    booth.vote(booth.wild)
    booth.vote(1 - booth.wild)
    assert booth.scene is Scene.VERDICT
    assert booth.winner == booth.wild
    assert booth.score.standing == (0, 1)
    duel(booth)
    booth.vote(1 - booth.wild)
    assert booth.score.standing == (1, 1)


def test_another_round_waits_for_takes_of_its_own(booth):
    duel(booth)
    booth.vote(0)
    booth.touch()
    booth.pick("sugar-rush")
    assert not booth.may_vote


def test_the_winner_goes_on_for_ever(booth):
    duel(booth)
    booth.vote(1)
    booth.play_radio()
    assert wished(booth) == (booth.duel[1],)
    assert booth.visit._wish.endless


def test_the_radio_can_be_turned_on_without_a_duel(booth):
    booth.play_radio()
    assert booth.scene is Scene.RADIO
    assert booth.visit._wish.endless


def test_when_everybody_has_left_all_is_forgotten_but_the_score(booth):
    duel(booth)
    booth.vote(0)
    former = booth.visit
    score = booth.score.standing
    booth.idle(booth.turn)
    assert booth.scene is Scene.ATTRACT
    assert (booth.duel, booth.winner) == ((), None)
    assert booth.visit is not former
    assert booth.visit.performances == ()
    assert booth.score.standing == score


def test_idleness_that_is_told_too_late_disturbs_nobody(booth):
    booth.touch()
    turn = booth.turn
    booth.pick("neon-rain")
    booth.idle(turn)
    assert booth.scene is Scene.DUEL


def test_the_song_in_the_making_is_given_up_when_the_booth_starts_over(booth, monkeypatch):
    monkeypatch.setattr("kpop.ui.session_state.built_in_clip", lambda name: clips.SeedClip(name, name, sine(4)))
    engine = FakeEngine(lambda job: None)
    duel(booth).visit.ask(engine, "")
    booth.go_home()
    assert all(job.cancelled for job in engine.jobs)


def test_of_two_takes_the_first_is_heard_while_they_are_made_and_a_calling_song_leaves_nothing(booth, monkeypatch):
    monkeypatch.setattr("kpop.ui.session_state.built_in_clip", lambda name: clips.SeedClip(name, name, sine(4)))
    engine = FakeEngine(lambda job: None)
    assert booth.visit.ask(engine, "/base")
    assert booth.visit.live["url"] == f"/base/live/{engine.jobs[0].id}"
    assert booth.visit.performing is None
    duel(booth).visit.ask(engine, "")
    assert booth.visit.live["url"] == f"/live/{engine.jobs[1].id}"
    assert booth.visit.performing
    booth.go_home()


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "votes.sqlite")


def test_the_score_survives_a_restart_where_votes_are_kept(store):
    score = Score(store)
    score.add(WINNER, LOSER)
    score.add(WINNER, LOSER)
    score.add(LOSER, WINNER)
    assert Score(store).standing == score.standing == (1, 2)


def test_the_winner_counts_as_kept_and_the_loser_as_made(store):
    Score(store).add(WINNER, LOSER)
    assert {vote.settings.temperature: vote.kind for vote in store.votes()} == {WILD: KEPT, TAME: MADE}


def test_what_listeners_like_elsewhere_is_no_duel(store):
    for number, (kind, temperature) in enumerate([(KEPT, 0.8), (KEPT, 1.3), (UP, 1.0), (MADE, WILD)]):
        store.write(number, vote_now(kind, Settings(temperature=temperature), False, "Song"))
    assert Score(store).standing == (0, 0)


def test_yesterday_is_over(monkeypatch):
    days = [date(2026, 11, 22)]
    score = Score(None, lambda: days[-1])
    score.add(WINNER, LOSER)
    assert score.standing == (0, 1)
    days.append(date(2026, 11, 23))
    assert score.standing == (0, 0)
    score.add(LOSER, WINNER)
    assert score.standing == (1, 0)


def test_a_store_that_breaks_costs_no_point(tmp_path):
    folder = tmp_path / "votes.sqlite"
    folder.mkdir()
    score = Score(Store(folder))
    score.add(WINNER, LOSER)
    assert score.standing == (0, 1)


def test_what_people_like_is_what_calls_them(three_clips, tmp_path, monkeypatch):
    monkeypatch.setenv(feedback.VARIABLE, str(tmp_path / "votes.sqlite"))
    monkeypatch.setattr("kpop.feedback.built_in_clips", lambda: CLIPS)
    store = feedback.the_store()
    for number in range(40):
        for index, clip in enumerate(CLIPS):
            kind = UP if clip.name == "sugar-rush" else "down"
            store.write(100 * index + number, vote_now(kind, Settings(clip=clip.name), False, "Song"))
    offered = [room.offer(random.Random(seed)).clip for seed in range(20)]
    assert offered.count("sugar-rush") > 15


st = pytest.importorskip("streamlit")
from page_visits import press, sentences, words  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

PAGE = """
import streamlit as st
from kpop.page.booth import booth, is_booth
st.set_page_config(layout="wide")
booth("") if is_booth() else st.text("no booth")
"""


def stand(**query: str) -> AppTest:
    page = AppTest.from_string(PAGE, default_timeout=60)
    page.query_params.update(query)
    return page.run()


def attendant(page: AppTest) -> dict:
    (part,) = (part for part in page.get("bidi_component") if part.proto.component_name.endswith("booth"))
    return json.loads(part.proto.json)


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def test_only_an_address_that_asks_for_it_brings_the_booth(fresh_page, engine):
    assert [text.value for text in stand(booth="0").text] == ["no booth"]


def test_the_journey_from_a_touch_to_the_radio_and_home(fresh_page, engine):
    page = stand(booth="1", length_s="12")
    assert sentences(page) == []
    assert "This song never existed" in words(page)
    assert attendant(page)["url"] == f"/live/{engine.jobs[0].id}"
    assert engine.asked[0].length_s == 12
    press(page, next(label for label in labels(page) if "Touch anywhere" in label))
    assert "Pick a beginning" in words(page)
    press(page, "Neon Rain")
    assert "Which one is better?" in words(page)
    assert {song.temperature for song in engine.asked[1:]} == {TAME, WILD}
    assert len(page.get("audio")) == len(page.get("plotly_chart")) == 2
    assert "wild" not in words(page)
    wild = "AB"[page.session_state.booth.wild]
    press(page, f"{wild} is better")
    assert f"{wild} was the wild one" in words(page)
    assert "Tame 0" in words(page)
    assert "1 Wild" in words(page)
    press(page, "Endless radio")
    assert engine.jobs[-1].endless
    press(page, "Start over")
    assert attendant(page)["scene"] == "attract"
    assert engine.jobs[-1].settings.length_s == 12
    assert "Tame 0 : 1 Wild" in words(page)
    assert sentences(page) == []


def test_a_crowd_that_left_is_forgotten_by_the_page_too(fresh_page, engine):
    page = stand(booth="1")
    press(page, next(label for label in labels(page) if "Touch anywhere" in label))
    page.session_state.booth.idle(page.session_state.booth.turn)
    page.run()
    assert attendant(page)["scene"] == "attract"
    assert "Neon Rain" not in labels(page)


@pytest.mark.parametrize(
    ("idle", "idle_s"), [("20", 20), ("1", 5), ("9999", 600), ("soon", 60), ("nan", 60), (None, 60)]
)
def test_the_address_says_when_nobody_is_there_any_more(fresh_page, engine, idle, idle_s):
    assert attendant(stand(booth="1", **({"idle": idle} if idle else {})))["idle_s"] == idle_s


def test_a_full_engine_is_one_sentence_and_the_next_song_may_work(fresh_page, engine):
    from kpop.errors import KpopError

    engine.full = KpopError("The queue is full: try again in 5 s.")
    page = stand(booth="1")
    assert sentences(page) == ["The queue is full: try again in 5 s."]
    assert attendant(page)["url"] is None
    engine.full = None
    page.session_state.booth.song_over(page.session_state.booth.turn)
    assert sentences(page.run()) == []
    assert attendant(page)["url"]
