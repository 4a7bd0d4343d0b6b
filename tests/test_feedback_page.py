"""Thumbs, the top list and the start of a visit on the page, without a browser and in one."""

import random
import re
import sqlite3
import time
from collections.abc import Callable

import pytest

from kpop.feedback import DOWN, KEPT, MADE, UP, Hit, Store, Vote, vote_now
from kpop.settings import Settings

st = pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402

from kpop.ui import feedback  # noqa: E402

SONG = Settings(0.6, 0.8, 12.0, 77, "neon-rain", "twice4life")
PAGE = """
import streamlit as st
from kpop.generation.settings import Settings
from kpop.page import feedback
from kpop.page.wishing import get_session
start = feedback.starting()
st.text(f"start {start}")
song, own, title = st.session_state.get("song", (Settings(), False, "First Song"))
feedback.thumbs(song, own, title)
st.button("Keep", on_click=feedback.kept, args=(song, own, title))
st.button("Surprise", on_click=feedback.surprise)
st.text(f"wish {get_session()._wish}")
feedback.feedback_corner()
"""


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Store:
    """The votes of this test alone."""
    st.cache_data.clear()
    feedback._store_at.cache_clear()
    monkeypatch.setenv(feedback.VARIABLE, str(tmp_path / "feedback.sqlite"))
    monkeypatch.setattr(feedback, "DOUBLE_CLICK_S", 0)
    chance = random.Random(4)
    monkeypatch.setattr(feedback, "chance", lambda: chance)
    monkeypatch.setattr(feedback, "available_models", lambda: ("twice4life",))
    yield Store(tmp_path / "feedback.sqlite")
    feedback._store_at.cache_clear()


@pytest.fixture
def visit() -> Callable[..., AppTest]:
    def start(**query: str) -> AppTest:
        page = AppTest.from_string(PAGE, default_timeout=30)
        page.query_params.update(query)
        return ran(page)

    return start


def ran(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception
    return page


def press(page: AppTest, thumb: str | None) -> AppTest:
    page.get("button_group")[0].set_value(thumb)
    return ran(page)


def click(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if label in button.label).click()
    return ran(page)


def kinds(store: Store) -> list[str]:
    return [vote.kind for vote in store.votes()]


def texts(page: AppTest, beginning: str) -> str:
    return next(text.value for text in page.text if text.value.startswith(beginning))


def words(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def like(store: Store, n: int, first: int = 0, **settings) -> None:
    for number in range(first, first + n):
        store.write(number, vote_now(UP, Settings(**settings), False, "Liked Song"))


def test_a_song_on_the_page_is_noted_once_without_a_word(visit, store):
    ran(ran(visit()))
    assert kinds(store) == [MADE]


def test_a_thumb_is_stored_replaced_and_taken_back(visit, store):
    page = press(visit(), UP)
    assert kinds(store) == [UP]
    assert "Thank you! More like this." in words(page)
    press(page, DOWN)
    assert kinds(store) == [DOWN]
    press(page, None)
    assert kinds(store) == [MADE]
    assert "Thank you" not in words(page)


def test_the_second_press_of_a_double_click_takes_nothing_back(visit, store, monkeypatch):
    monkeypatch.setattr(feedback, "DOUBLE_CLICK_S", 60)
    press(press(visit(), UP), None)
    assert kinds(store) == [UP]


def test_keeping_a_song_counts_and_a_thumb_counts_more(visit, store):
    page = click(visit(), "Keep")
    assert kinds(store) == [KEPT]
    press(page, DOWN)
    assert kinds(store) == [DOWN]
    click(page, "Keep")
    assert kinds(store) == [DOWN]
    press(page, None)
    assert kinds(store) == [KEPT]


def test_each_song_has_its_own_vote_and_the_same_song_in_one_visit_has_one(visit, store):
    page = press(visit(), UP)
    page.session_state["song"] = (SONG, False, "Second Song")
    press(ran(page), DOWN)
    page.session_state["song"] = (Settings(), False, "First Song")
    ran(page)
    assert sorted((vote.kind, vote.title) for vote in store.votes()) == [(DOWN, "Second Song"), (UP, "First Song")]
    assert page.get("button_group")[0].value == UP
    press(visit(), UP)
    assert len(store.votes()) == 3


def test_with_the_switch_off_nothing_is_kept(visit, store):
    page = visit()
    page.toggle[0].set_value(False)
    page.session_state["song"] = (SONG, False, "Second Song")
    press(ran(page), UP)
    click(page, "Keep")
    assert [vote.title for vote in store.votes()] == ["First Song"]  # from before
    assert "Not counted" in words(page)


def test_the_name_of_an_own_clip_stays_in_the_visit(visit, store):
    page = visit()
    page.session_state["song"] = (Settings(clip="secret.wav"), True, "secret, dreamt on")
    press(ran(page), UP)
    assert "secret" not in f"{store.votes()}"
    assert "secret" not in words(page)
    assert [vote.settings.clip for vote in store.votes() if vote.kind == UP] == ["own"]


def test_a_locked_file_delays_the_page_by_no_more_than_a_moment_and_the_vote_is_not_lost(visit, store):
    page = visit()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started_s = time.monotonic()
    press(page, UP)
    assert time.monotonic() - started_s < 3
    other.close()
    assert kinds(store) == [MADE]
    ran(page)
    assert kinds(store) == [UP]


def test_the_top_list_plays_a_song_again(visit, store):
    like(store, 3, **{"clip": "neon-rain", "randomness": 0.6, "seed_number": 77})
    store.write(50, vote_now(UP, Settings(clip="gone"), False, "Clip is gone"))
    store.write(51, vote_now(UP, Settings(model="gone"), False, "Voice is gone"))
    store.write(52, Vote(UP, Settings(seed_number=3), "Last year's", "2025-01-01T00:00Z"))
    page = visit()
    labels = [button.label for button in page.button if "heart" in button.label]
    assert labels == ["Play **Liked Song** · 3 hearts"]
    click(page, "Liked Song")
    assert f"songs=({Settings(clip='neon-rain', randomness=0.6, seed_number=77)},)" in texts(page, "wish")
    assert page.session_state["randomness"] == 0.6


def test_without_favourites_the_page_says_how_to_get_one(visit):
    assert "No favourites yet today" in words(visit())


def test_a_title_is_never_taken_for_markup():
    label = feedback.hit_label(Hit("*Wild* [Song](x) :red[!]", Settings(), 1))
    assert label == r"Play **\*Wild\* \[Song\]\(x\) \:red\[\!\]** · 1 heart"


def test_a_visit_starts_with_what_people_like_and_stays_with_it(visit, store):
    like(store, 40, clip="slow-honey", randomness=0.9, temperature=1.2)
    for number in range(100, 140):
        store.write(number, vote_now(DOWN, Settings(), False, "No"))
    starts = {texts(visit(), "start") for _ in range(12)}
    assert sum("slow-honey" in start for start in starts) > len(starts) / 2
    assert sum("randomness=0.9, temperature=1.2" in start for start in starts) > len(starts) / 2
    page = visit()
    first = texts(page, "start")
    assert texts(ran(page), "start") == first


def test_an_address_that_asks_for_something_gets_the_defaults_for_the_rest(visit, store):
    like(store, 40, clip="slow-honey", randomness=0.9, temperature=1.2)
    assert all(texts(visit(temperature="0.5"), "start") == f"start {Settings()}" for _ in range(4))


def test_surprise_asks_for_a_song_by_taste_and_keeps_length_and_voice(visit, store):
    like(store, 40, clip="slow-honey", randomness=0.9, temperature=1.2)
    page = visit()
    page.session_state["length_s"] = 60.0
    wishes = [texts(click(page, "Surprise"), "wish") for _ in range(8)]
    assert sum("slow-honey" in wish for wish in wishes) > 4
    assert all("length_s=60.0" in wish and "endless=False" in wish for wish in wishes)
    assert len({re.search(r"seed_number=(\d+)", wish)[1] for wish in wishes}) > 4


def test_where_feedback_is_off_the_page_works_as_ever(visit, monkeypatch):
    monkeypatch.setenv(feedback.VARIABLE, "off")
    page = visit()
    assert texts(page, "start") == f"start {Settings()}"
    assert not page.get("button_group")
    assert not page.expander
    click(page, "Keep")
    assert "songs=" in texts(click(page, "Surprise"), "wish")


def test_a_run_of_the_page_reads_the_file_no_more_than_it_must(visit, store, monkeypatch):
    page = visit()
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: opened.append(1) or connect(*args, **named))
    for _ in range(3):
        ran(page)
    assert not opened


def test_the_csv_is_made_when_it_is_asked_for(visit, store):
    press(visit(), UP)
    assert re.fullmatch(r"[-\dT:]+Z,up,First Song,first-snow,.*", feedback._csv(store).splitlines()[1])
