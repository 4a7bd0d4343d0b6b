"""Votes survive many writers and damaged files and hold nothing personal; what is liked is shown and offered more."""

import csv
import io
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean

import pytest
import streamlit as st
from pages import button, words
from streamlit.testing.v1 import AppTest

from kpop import feedback
from kpop.cli import main
from kpop.errors import KpopError
from kpop.feedback import DOWN, KEPT, MADE, SETTINGS_ARMS, UP, Preferences, Store, Vote, vote_now
from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui import feedback as ui

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WRITER = """
import secrets, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from kpop.feedback import Settings, Store, vote_now

store, vote = Store(Path(sys.argv[1]), timeout_s=10), vote_now("up", Settings())
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda _: store.write(secrets.randbits(63), vote), range(160)))
"""


def add(store: Store, *kinds: str, title: str = "Song", **settings) -> None:
    for vote_id, kind in enumerate(kinds, len(store.votes()) + 1):
        store.write(vote_id, replace(vote_now(kind, Settings(**settings)), title=title))


def test_a_file_of_an_earlier_version_is_read_and_extended(store):
    shutil.copy(ROOT / "tests" / "golden" / "feedback.sqlite", store.path)
    settings = Settings(0.45, 1.15, 12.0, 4_000_000_000, "neon-rain", "everything-is-free")
    earlier = [
        Vote(UP, settings, "Neon Song", "2026-11-20T17:23Z"),
        Vote(KEPT, Settings(clip="own"), "", "2026-11-21T09:05Z"),
        Vote(DOWN, Settings(), "First Song", "2026-11-22T00:00Z"),
    ]
    assert store.votes() == earlier
    assert store.top("2026-11-20") == [("Neon Song", settings, 1)]
    new = Vote(KEPT, settings, "Neon Song", "2026-11-22T17:23Z")
    store.write(4, new)
    assert store.votes() == [*earlier, new]


def test_two_processes_of_eight_threads_create_a_file_and_lose_no_vote(store):
    command = [sys.executable, "-c", WRITER, str(store.path)]
    writers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    assert [writer.communicate(timeout=60)[1] for writer in writers] == [b"", b""]
    assert len(store.votes()) == 2 * 160


def test_readers_never_wait_and_writers_wait_up_to_their_timeout(store, monkeypatch):
    add(store, UP)
    other, impatient = sqlite3.connect(store.path, check_same_thread=False), Store(store.path, timeout_s=0.1)
    other.execute("BEGIN IMMEDIATE")
    assert len(impatient.votes()) == 1
    with pytest.raises(feedback.StoreBusy, match="try again"):
        add(impatient, UP)
    assert feedback.open_store()
    threading.Timer(0.2, other.execute, ["COMMIT"]).start()
    add(store, UP)
    other.close()
    assert len(store.votes()) == 2


def test_nothing_personal_is_stored(store):
    store.write(1, vote_now(UP, Settings(clip="My secret demo.wav")))
    (vote,) = store.votes()
    assert (vote.settings.clip, vote.title) == ("own", "")
    assert datetime.strptime(vote.minute, "%Y-%m-%dT%H:%MZ")
    assert b"secret" not in b"".join(part.read_bytes() for part in store.path.parent.iterdir())


@pytest.mark.parametrize("n_intact_bytes", [0, 4096])
def test_a_damaged_file_is_moved_aside(store, caplog, n_intact_bytes):
    add(store, UP)
    store.path.write_bytes(store.path.read_bytes()[:n_intact_bytes] + b"\xff" * 8192)
    add(store, DOWN, title="After")
    assert [vote.title for vote in store.votes()] == ["After"]
    (aside,) = store.path.parent.glob("feedback.sqlite.damaged-*")
    assert f"was damaged: it is now {aside}" in caplog.text


def test_a_file_of_a_newer_version_is_left_alone(store):
    add(store, UP)
    with sqlite3.connect(store.path) as file:
        file.execute("PRAGMA user_version = 99")
    before = store.path.read_bytes()
    with pytest.raises(KpopError, match="newer"):
        add(store, UP)
    assert store.path.read_bytes() == before


def test_rows_that_no_song_can_have_are_skipped(store):
    add(store, UP, UP, UP)
    with sqlite3.connect(store.path) as file:
        file.executescript("UPDATE votes SET randomness = 7.5 WHERE id = 2; UPDATE votes SET kind = '?' WHERE id = 3")
    assert len(store.votes()) == len(store.top("")) == 1


def test_likes_of_the_same_song_add_up_in_the_top_list_of_today(store):
    add(store, UP, KEPT, UP, DOWN, title="Best", seed_number=1)
    add(store, UP, UP, title="Second", seed_number=2)
    add(store, DOWN, MADE, title="Not liked", seed_number=3)
    store.write(98, vote_now(UP, Settings(clip="mine.wav")))
    yesterday = feedback.minute(datetime.now().astimezone() - timedelta(days=1, hours=1))
    store.write(99, Vote(UP, Settings(seed_number=4), "Old", yesterday))
    hits = store.top(feedback.start_of_today())
    assert [(title, hearts) for title, _, hearts in hits] == [("Best", 3), ("Second", 2)]


@pytest.mark.parametrize("path", ["off", "OFF", "a file/feedback.sqlite", "a folder"])
def test_feedback_is_off_without_a_file_that_can_be_written(path, tmp_path, monkeypatch, caplog):
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    monkeypatch.setenv(feedback.VARIABLE, path if path.lower() == "off" else str(tmp_path / path))
    assert feedback.open_store() is feedback.open_store() is None
    assert caplog.text.count("Feedback is off") == (path.lower() != "off")


def test_the_command_prints_the_votes_as_a_table_for_spreadsheets(store, monkeypatch, capsys):
    add(store, *[UP] * 4, clip="neon-rain", title="=Neon, Song")
    assert main(["feedback"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["title"] for row in rows] == ["'=Neon, Song"] * 4  # no formula
    assert set(rows[0]) == {"minute", "kind", "title", *Settings.__dataclass_fields__}
    monkeypatch.setenv(feedback.VARIABLE, "off")
    assert main(["feedback"]) == 2


def votes(kind: str, n: int, clip: str = "neon-rain", at=(0.6, 0.8), days_ago: float = 0) -> list[Vote]:
    return [Vote(kind, Settings(*at, clip=clip), "Song", feedback.minute(NOW - timedelta(days=days_ago)))] * n


def offers(votes: list[Vote]) -> list[Settings]:
    learnt, rng = Preferences.from_votes(votes, NOW), random.Random(1)
    return [feedback.starting_settings(learnt, rng) for _ in range(400)]


def test_without_votes_the_defaults_are_offered_most_but_everything_is_tried(monkeypatch):
    drawn = offers([])
    assert 0.35 < mean(offer.clip == Settings().clip for offer in drawn) < 0.75
    assert 0.35 < mean((offer.randomness, offer.temperature) == (0.3, 1.0) for offer in drawn) < 0.75
    assert {offer.clip for offer in drawn} == {clip.name for clip in built_in_clips()}
    assert {(offer.randomness, offer.temperature) for offer in drawn} == set(SETTINGS_ARMS)
    assert drawn == offers([])
    monkeypatch.setattr(feedback, "built_in_clips", lambda: ())
    assert {offer.clip for offer in offers([])} == {Settings().clip}


@pytest.mark.parametrize("kind", [UP, KEPT])
def test_what_is_liked_is_offered_far_more_often(kind):
    disliked = votes(DOWN, 3, "slow-honey", (0.1, 1.0)) + votes(DOWN, 3, Settings().clip, (0.3, 1.0))
    drawn = offers(votes(kind, 12) + disliked)
    assert mean(offer.clip == "neon-rain" for offer in drawn) > 0.5
    assert max(mean(offer.clip == clip for offer in drawn) for clip in ("slow-honey", Settings().clip)) < 0.05
    assert mean((offer.randomness, offer.temperature) == (0.6, 0.8) for offer in drawn) > 0.5


def test_songs_without_a_vote_are_weak_evidence_and_votes_count_half_after_a_half_life():
    learnt = Preferences.from_votes(votes(KEPT, 10) + votes(MADE, 10), NOW)
    for arm in ("neon-rain", (0.6, 0.8)):
        assert (learnt.likes[arm], learnt.dislikes[arm]) == (10, pytest.approx(1))
    assert Preferences.from_votes(votes(UP, 8, days_ago=30), NOW).likes["neon-rain"] == pytest.approx(4)


def test_a_vote_counts_for_the_nearest_settings_unless_the_temperature_is_far_off():
    songs = [(0.0, 0.85), (0.5, 1.15), (1.0, 1.4), (0.2, 0.6), (0.3, 1.45), (0.3, 0.0)]
    arms = [(0.1, 0.8), (0.6, 1.2), (0.9, 1.2), (0.3, 0.8), None, None]
    assert [feedback.nearest_arm(Settings(*song)) for song in songs] == arms


FIRST, SECOND = song_title(Settings()), song_title(Settings(seed_number=2))


def script() -> None:
    import streamlit as st

    from kpop.settings import Settings
    from kpop.ui import feedback

    song = st.session_state.get("song", Settings())
    feedback.thumbs(song)
    st.button("Keep", on_click=feedback.keeper(song))
    st.button("Surprise", on_click=feedback.surprise)
    if feedback.open_store():
        feedback.show_favourites()


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Store:
    """The votes of this test alone."""
    st.cache_data.clear()
    monkeypatch.setenv(feedback.VARIABLE, str(tmp_path / "feedback.sqlite"))
    monkeypatch.setattr(ui, "DOUBLE_CLICK_S", 0)
    monkeypatch.setattr(ui, "RNG", random.Random(4))
    monkeypatch.setattr(ui, "available_models", lambda: ("twice4life",))
    return Store(tmp_path / "feedback.sqlite", timeout_s=10)


@pytest.fixture
def requests(monkeypatch) -> list[Settings]:
    """Songs that a press has requested."""
    requests = []
    monkeypatch.setattr(ui, "play_again", requests.append)
    return requests


def visit() -> AppTest:
    return ran(AppTest.from_function(script, default_timeout=30))


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


def stored(store: Store) -> list[tuple[str, str]]:
    return sorted((vote.kind, vote.title) for vote in store.votes())


def test_a_song_is_recorded_once_and_a_thumb_is_stored_replaced_and_withdrawn(store, monkeypatch):
    page = ran(visit())
    assert stored(store) == [(MADE, FIRST)]
    for thumb, kind, thanks in ((UP, UP, "More like this"), (DOWN, DOWN, "Less like this"), (None, MADE, "")):
        assert thanks in words(press(page, thumb))
        assert stored(store) == [(kind, FIRST)]
    monkeypatch.setattr(ui, "DOUBLE_CLICK_S", 60)
    press(press(page, UP), None)
    assert stored(store) == [(UP, FIRST)]


def test_keeping_a_song_counts_and_a_thumb_counts_more(store):
    page = click(visit(), "Keep")
    assert stored(store) == [(KEPT, FIRST)]
    click(press(page, DOWN), "Keep")
    assert stored(store) == [(DOWN, FIRST)]
    press(page, None)
    assert stored(store) == [(KEPT, FIRST)]


def test_a_session_has_one_vote_on_each_song(store):
    page = press(visit(), UP)
    press(play(page, Settings(seed_number=2)), DOWN)
    play(page, Settings())
    assert page.get("button_group")[0].value == UP
    press(visit(), UP)
    assert stored(store) == [(DOWN, SECOND), (UP, FIRST), (UP, FIRST)]


def test_with_the_switch_off_nothing_is_stored(store):
    page = visit()
    page.toggle[0].set_value(False)
    click(press(play(page, Settings(seed_number=2)), UP), "Keep")
    assert stored(store) == [(MADE, FIRST)]  # from before
    assert "Not counted" in words(page)


def test_a_locked_file_does_not_delay_the_page_and_the_vote_is_stored_later(store):
    page, other = visit(), sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started_s = time.monotonic()
    press(page, UP)
    assert time.monotonic() - started_s < 3
    other.close()
    ran(page)
    assert stored(store) == [(UP, FIRST)]


def test_the_top_list_of_today_plays_songs_that_can_be_made_here(store, requests):
    assert "No favourites yet today" in words(visit())
    st.cache_data.clear()
    add(store, UP, UP, UP, title="*Liked* [Song](x)", clip="neon-rain", seed_number=77)
    now = feedback.minute(datetime.now(UTC))
    store.write(50, Vote(UP, Settings(clip="gone"), "Clip is gone", now))
    store.write(51, vote_now(UP, Settings(model="gone")))
    store.write(52, Vote(UP, Settings(seed_number=3), "Last year's", "2025-01-01T00:00Z"))
    page = visit()
    labels = [button.label for button in page.button if "liked" in button.label]
    assert labels == [r"Play **\*Liked\* \[Song\]\(x\)** · liked or downloaded 3 times"]
    click(page, "liked")
    assert requests == [Settings(clip="neon-rain", seed_number=77)]


def test_a_surprise_is_what_people_like_at_the_length_that_is_chosen(store, requests):
    add(store, *[UP] * 80, clip="slow-honey", randomness=0.9, temperature=1.2)
    page = visit()
    page.session_state["length_s"] = 60.0
    for _ in range(20):
        click(page, "Surprise")
    assert Counter(song.clip for song in requests).most_common(1)[0][0] == "slow-honey"
    assert Counter(song.temperature for song in requests).most_common(1)[0][0] == 1.2
    assert {song.length_s for song in requests} == {60.0}


def test_where_feedback_is_off_the_page_works_without_it(monkeypatch, requests):
    monkeypatch.setenv(feedback.VARIABLE, "off")
    page = click(click(visit(), "Keep"), "Surprise")
    assert (len(page.get("button_group")), len(page.toggle), len(requests)) == (0, 0, 1)
