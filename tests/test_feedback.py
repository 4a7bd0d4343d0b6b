"""Votes in a file: many write at once, nothing is lost, nothing personal is kept, nothing breaks without the file."""

import csv
import io
import logging
import re
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kpop import feedback
from kpop.__main__ import main
from kpop.errors import KpopError
from kpop.feedback import DOWN, KEPT, MADE, UP, Busy, Store, Vote, csv_text, minute, start_of_today, vote_now
from kpop.settings import Settings

ROOT = Path(__file__).parents[1]
N_THREADS, N_VOTES = 8, 20
WRITER = f"""
import secrets, sys, threading
from pathlib import Path
from kpop.feedback.store import Store
from kpop.feedback.votes import vote_now
from kpop.generation.settings import Settings

def write():
    for _ in range({N_VOTES}):
        Store(Path(sys.argv[1])).write(secrets.randbits(63), vote_now("up", Settings(), False, "Song"))

threads = [threading.Thread(target=write) for _ in range({N_THREADS})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "votes" / "feedback.sqlite"


@pytest.fixture
def store(path) -> Store:
    made = Store(path)
    made.prepare()
    return made


@pytest.fixture
def feedback_at(monkeypatch):
    """Sets where feedback is kept, for this process."""
    feedback._store_at.cache_clear()
    yield lambda where: monkeypatch.setenv(feedback.VARIABLE, str(where))
    feedback._store_at.cache_clear()


def vote(store: Store, kind: str = UP, own_clip: bool = False, title: str = "Song", **settings) -> int:
    number = secrets.randbits(63)
    store.write(number, vote_now(kind, Settings(**settings), own_clip, title))
    return number


def lock(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_vote_comes_back_as_it_was_given(store):
    settings = Settings(0.45, 1.15, 12.0, 4_000_000_000, "neon-rain", "everything-is-free")
    store.write(1, Vote(KEPT, settings, "Neon Song", "2026-11-22T17:23Z"))
    assert store.votes() == [Vote(KEPT, settings, "Neon Song", "2026-11-22T17:23Z")]


def test_two_processes_with_eight_threads_each_lose_no_vote_even_on_a_file_that_is_not_there_yet(path):
    path.parent.mkdir()
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    complaints = [writer.communicate(timeout=60)[1] for writer in writers]
    assert complaints == [b"", b""]
    assert len(Store(path).votes()) == 2 * N_THREADS * N_VOTES


def test_reading_goes_on_while_another_writes_and_sees_whole_votes_only(store, path):
    vote(store)
    other = lock(path)
    other.execute("DELETE FROM votes")
    started_s = time.monotonic()
    assert len(Store(path, patience_s=5).votes()) == 1
    assert time.monotonic() - started_s < 1
    other.execute("COMMIT")
    other.close()
    assert store.votes() == []


def test_a_page_gives_up_soon_where_another_writer_takes_its_time(store, path):
    other = lock(path)
    started_s = time.monotonic()
    with pytest.raises(Busy, match="try again"):
        vote(Store(path, patience_s=0.1))
    assert 0.09 < time.monotonic() - started_s < 2
    other.close()


def test_a_patient_writer_waits_for_another_one(store, path):
    other = lock(path)
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    vote(Store(path, patience_s=5))
    release.join()
    other.close()
    assert len(store.votes()) == 1


def test_writing_a_vote_again_counts_once_and_another_kind_replaces_it(store):
    number = vote(store, UP)
    store.write(number, vote_now(UP, Settings(), False, "Song"))
    assert [each.kind for each in store.votes()] == [UP]
    store.write(number, vote_now(DOWN, Settings(), False, "Song"))
    assert [each.kind for each in store.votes()] == [DOWN]


def test_nothing_personal_is_kept(store, path):
    vote(store, UP, own_clip=True, title="My secret demo, dreamt on", clip="My secret demo.wav")
    (kept,) = store.votes()
    assert (kept.settings.clip, kept.title) == ("own", "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", kept.minute)
    with sqlite3.connect(path) as file:
        columns = {row[1] for row in file.execute("PRAGMA table_info(votes)")}
    assert columns == {"id", "minute", "kind", "title"} | set(Settings.__dataclass_fields__)
    assert b"secret" not in b"".join(part.read_bytes() for part in path.parent.iterdir())


def test_an_unknown_kind_of_vote_is_refused():
    with pytest.raises(KpopError, match="choose one of"):
        vote_now("meh", Settings(), False, "Song")


def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(store, path, caplog):
    vote(store)
    path.write_bytes(b"This was a database once. " * 400)
    with caplog.at_level(logging.WARNING):
        vote(store, title="After")
    assert [each.title for each in store.votes()] == ["After"]
    aside = [each for each in path.parent.iterdir() if ".damaged-" in each.name]
    assert [each.read_bytes()[:8] for each in aside] == [b"This was"]
    assert "was damaged" in caplog.text
    assert str(aside[0]) in caplog.text


def test_a_file_torn_in_its_middle_is_moved_aside_too(store, path):
    for _ in range(200):
        vote(store)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    assert store.votes() == []
    vote(store)
    assert len(store.votes()) == 1


def test_a_file_that_is_deleted_while_the_page_runs_is_made_anew(store, path):
    vote(store)
    path.unlink()
    vote(store)
    assert len(store.votes()) == 1


def test_a_file_of_a_newer_version_is_left_alone(store, path):
    vote(store)
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(KpopError, match="newer"):
        vote(store)
    with pytest.raises(KpopError, match="newer"):
        store.prepare()
    assert path.read_bytes() == before


def test_the_same_songs_hearts_add_up_and_the_most_liked_comes_first(store):
    for kind in (UP, KEPT, UP, DOWN):
        vote(store, kind, title="Best", seed_number=1)
    for kind in (UP, UP):
        vote(store, kind, title="Second", seed_number=2)
    for kind in (DOWN, MADE, MADE):
        vote(store, kind, title="Not liked", seed_number=3)
    vote(store, UP, own_clip=True)
    hits = store.top(start_of_today(), 10)
    assert [(hit.title, hit.hearts, hit.settings.seed_number) for hit in hits] == [("Best", 3, 1), ("Second", 2, 2)]
    assert len(store.top(start_of_today(), 1)) == 1


def test_yesterdays_songs_are_not_on_todays_list(store):
    yesterday = minute(datetime.now().astimezone() - timedelta(days=1, hours=1))
    store.write(1, Vote(UP, Settings(), "Old", yesterday))
    assert store.top(start_of_today(), 10) == []
    assert len(store.top("", 10)) == 1


def test_what_somebody_else_put_into_the_file_does_no_harm(store, path):
    vote(store)
    with sqlite3.connect(path) as file:
        file.execute(
            "INSERT INTO votes SELECT 5, minute, kind, title, 7.5, temperature, length_s, 1, clip, model FROM votes"
        )
    assert len(store.votes()) == 1
    assert len(store.top("", 10)) == 1


def test_off_is_off(feedback_at):
    feedback_at("off")
    assert feedback.the_store() is None
    feedback_at("OFF")
    assert feedback.the_store() is None


@pytest.mark.parametrize("where", ["a file/feedback.sqlite", "a folder"], ids=["below a file", "a folder itself"])
def test_a_place_that_cannot_be_written_turns_feedback_off_and_says_so_once(where, tmp_path, feedback_at, caplog):
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    feedback_at(tmp_path / where)
    with caplog.at_level(logging.WARNING):
        assert feedback.the_store() is None
        assert feedback.the_store() is None
    assert caplog.text.count("Feedback is off") == 1


def test_a_file_that_may_only_be_read_turns_feedback_off(store, path, feedback_at, monkeypatch):
    feedback_at(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **kw: connect(f"file:{file}?mode=ro", uri=True, **kw))
    assert feedback.the_store() is None


def test_another_writer_at_the_start_does_not_turn_feedback_off(store, path, feedback_at):
    feedback_at(path)
    other = lock(path)
    assert feedback.the_store(patience_s=0.05) is not None
    other.close()


def test_csv_holds_every_vote_and_no_formula(store):
    vote(store, title="=1+1")
    vote(store, DOWN, title='A "quoted", song', temperature=1.15)
    rows = {row["kind"]: row for row in csv.DictReader(io.StringIO(csv_text(store.votes())))}
    assert rows[UP]["title"] == "'=1+1"
    assert (rows[DOWN]["title"], rows[DOWN]["temperature"]) == ('A "quoted", song', "1.15")
    assert set(rows[UP]) == {"minute", "kind", "title", *Settings.__dataclass_fields__}


def test_the_command_tells_what_listeners_like(store, path, feedback_at, capsys, tmp_path):
    feedback_at(path)
    for _ in range(8):
        vote(store, UP, clip="neon-rain", title="Neon Song")
        vote(store, DOWN, clip="slow-honey", seed_number=8)
    assert main(["feedback"]) == 0
    told = capsys.readouterr().out
    assert "16 songs: 8 thumbs up, 8 thumbs down" in told
    assert told.index("Neon Rain") < told.index("First Snow") < told.index("Slow Honey")
    assert "1. Neon Song  ♥ 8" in told
    assert "8 votes" in told
    assert main(["feedback", "--csv", str(tmp_path / "votes.csv")]) == 0
    assert len((tmp_path / "votes.csv").read_text().splitlines()) == 17
    assert main(["feedback", "--csv", str(tmp_path / "nowhere" / "votes.csv")]) == 2


def test_the_command_is_friendly_without_votes_and_without_feedback(path, feedback_at, capsys):
    feedback_at(path)
    assert main(["feedback"]) == 0
    assert "Nobody has said anything yet" in capsys.readouterr().out
    feedback_at("off")
    assert main(["feedback"]) == 0
    assert "Feedback is off" in capsys.readouterr().out
    assert main(["feedback", "--simulate", "--runs", "1"]) == 2


def test_a_vote_is_written_in_a_moment(store, path):
    quick = Store(path, patience_s=0.1)
    vote(quick)
    took_s = []
    for _ in range(20):
        started_s = time.perf_counter()
        vote(quick)
        took_s.append(time.perf_counter() - started_s)
    assert sorted(took_s)[10] < 0.05  # a few milliseconds where a disk is not busy


def test_settings_of_votes_are_those_of_the_song_but_for_an_own_clip():
    settings = Settings(clip="mine.wav", seed_number=5)
    assert vote_now(UP, settings, True, "Mine").settings == replace(settings, clip="own")
    assert vote_now(UP, settings, False, "Mine").settings == settings
