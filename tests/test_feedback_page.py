"""Thumbs, the top list and starting settings on the page."""

import random
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import streamlit as st
from page_visits import button, words
from streamlit.testing.v1 import AppTest

from kpop.feedback import DOWN, KEPT, MADE, UP, VARIABLE, Store, Vote, minute, vote_now
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui import feedback

FIRST, SECOND = song_title(Settings()), song_title(Settings(seed_number=2))


def script() -> None:
    import streamlit as st

    from kpop.settings import Settings
    from kpop.ui import feedback

    st.session_state.start = feedback.starting()
    song = st.session_state.get("song", Settings())
    feedback.thumbs(song)
    st.button("Keep", on_click=feedback.keeper(song))
    st.button("Surprise", on_click=feedback.surprise)
    feedback.feedback_corner()


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Store:
    """The votes of this test alone."""
    st.cache_data.clear()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "feedback.sqlite"))
    monkeypatch.setattr(feedback, "DOUBLE_CLICK_S", 0)
    monkeypatch.setattr(feedback, "RNG", random.Random(4))
    monkeypatch.setattr(feedback, "available_models", lambda: ("twice4life",))
    return Store(tmp_path / "feedback.sqlite")


@pytest.fixture
def requests(monkeypatch) -> list[Settings]:
    """Songs that a press has requested."""
    requests = []
    monkeypatch.setattr(feedback, "play_again", requests.append)
    return requests


def visit(**query: str) -> AppTest:
    page = AppTest.from_function(script, default_timeout=30)
    page.query_params.update(query)
    return ran(page)


def ran(page: AppTest) -> AppTest:
    assert not page.run().exception
    return page


def press(page: AppTest, thumb: str | None) -> AppTest:
    page.get("button_group")[0].set_value(thumb)
    return ran(page)


def click(page: AppTest, label: str) -> AppTest:
    button(page, label).click()
    return ran(page)


def play(page: AppTest, settings: Settings) -> AppTest:
    page.session_state["song"] = settings
    return ran(page)


def votes(store: Store) -> list[tuple[str, str]]:
    return sorted((vote.kind, vote.title) for vote in store.votes())


def like(store: Store, n: int, title: str = "Liked Song", **settings) -> None:
    for number in range(n):
        store.write(number, replace(vote_now(UP, Settings(**settings)), title=title))


def test_a_song_is_recorded_once_and_a_thumb_is_stored_replaced_and_withdrawn(store, monkeypatch):
    page = ran(visit())
    assert votes(store) == [(MADE, FIRST)]
    for thumb, kind, thanks in ((UP, UP, "More like this"), (DOWN, DOWN, "Less like this"), (None, MADE, "")):
        assert thanks in words(press(page, thumb))
        assert votes(store) == [(kind, FIRST)]
    monkeypatch.setattr(feedback, "DOUBLE_CLICK_S", 60)
    press(press(page, UP), None)
    assert votes(store) == [(UP, FIRST)]


def test_keeping_a_song_counts_and_a_thumb_counts_more(store):
    page = click(visit(), "Keep")
    assert votes(store) == [(KEPT, FIRST)]
    click(press(page, DOWN), "Keep")
    assert votes(store) == [(DOWN, FIRST)]
    press(page, None)
    assert votes(store) == [(KEPT, FIRST)]


def test_a_session_has_one_vote_on_each_song(store):
    page = press(visit(), UP)
    press(play(page, Settings(seed_number=2)), DOWN)
    play(page, Settings())
    assert page.get("button_group")[0].value == UP
    press(visit(), UP)
    assert votes(store) == [(DOWN, SECOND), (UP, FIRST), (UP, FIRST)]


def test_with_the_switch_off_nothing_is_stored(store):
    page = visit()
    page.toggle[0].set_value(False)
    click(press(play(page, Settings(seed_number=2)), UP), "Keep")
    assert votes(store) == [(MADE, FIRST)]  # from before
    assert "Not counted" in words(page)


def test_a_locked_file_does_not_delay_the_page_and_the_vote_is_stored_later(store):
    page, other = visit(), sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started_s = time.monotonic()
    press(page, UP)
    assert time.monotonic() - started_s < 3
    other.close()
    ran(page)
    assert votes(store) == [(UP, FIRST)]


def test_the_top_list_of_today_plays_songs_that_can_be_made_here(store, requests):
    assert "No favourites yet today" in words(visit())
    st.cache_data.clear()
    like(store, 3, "*Liked* [Song](x)", clip="neon-rain", seed_number=77)
    now = minute(datetime.now(UTC))
    store.write(50, Vote(UP, Settings(clip="gone"), "Clip is gone", now))
    store.write(51, vote_now(UP, Settings(model="gone")))
    store.write(52, Vote(UP, Settings(seed_number=3), "Last year's", "2025-01-01T00:00Z"))
    page = visit()
    labels = [button.label for button in page.button if "heart" in button.label]
    assert labels == [r"Play **\*Liked\* \[Song\]\(x\)** · 3 hearts"]
    click(page, "hearts")
    assert requests == [Settings(clip="neon-rain", seed_number=77)]


def test_sessions_start_and_surprise_with_what_people_like_unless_the_address_has_settings(store, requests):
    like(store, 80, clip="slow-honey", randomness=0.9, temperature=1.2)
    page = visit()
    start = page.session_state.start
    page.session_state["length_s"] = 60.0
    for _ in range(20):
        click(page, "Surprise")
    assert page.session_state.start == start
    assert Counter(song.clip for song in requests).most_common(1)[0][0] == "slow-honey"
    assert {song.length_s for song in requests} == {60.0}
    starts = [visit().session_state.start for _ in range(20)]
    assert Counter(song.temperature for song in starts).most_common(1)[0][0] == 1.2
    assert visit(temperature="0.5").session_state.start == Settings()


def test_where_feedback_is_off_the_page_works_without_it(monkeypatch, requests):
    monkeypatch.setenv(VARIABLE, "off")
    page = click(click(visit(), "Keep"), "Surprise")
    assert page.session_state.start == Settings()
    assert (len(page.get("button_group")), len(page.expander), len(requests)) == (0, 0, 1)
