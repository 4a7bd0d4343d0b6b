"""The votes in one SQLite file, which threads and processes may read and write at the same time.

Every operation opens the file, does one short transaction and closes it again: there is nothing to share between
threads, and the file may be moved or deleted while the page runs. Readers never wait (write-ahead log).
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from kpop.errors import KpopError
from kpop.feedback.votes import LIKED, OWN_CLIP, Vote
from kpop.generation.settings import Settings

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE votes (
    id INTEGER PRIMARY KEY, minute TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, randomness REAL NOT NULL,
    temperature REAL NOT NULL, length_s REAL NOT NULL, seed_number INTEGER NOT NULL, clip TEXT NOT NULL,
    model TEXT NOT NULL
);
CREATE INDEX votes_by_minute ON votes (minute, kind, clip, randomness, temperature);
"""
WRITE = """
INSERT INTO votes (id, kind, title, minute, randomness, temperature, length_s, seed_number, clip, model)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind
"""
COLUMNS = "kind, title, minute, randomness, temperature, length_s, seed_number, clip, model"
COUNT = """
SELECT substr(minute, 1, 10) AS day, kind, clip, randomness, temperature, count(*)
FROM (SELECT minute, kind, clip, randomness, temperature FROM votes ORDER BY minute DESC LIMIT ?)
GROUP BY day, kind, clip, randomness, temperature
"""
TOP = """
SELECT max(title), randomness, temperature, length_s, seed_number, clip, model, sum(kind IN (?, ?)) AS hearts
FROM votes WHERE minute >= ? AND kind != 'made' AND clip != ?
GROUP BY 2, 3, 4, 5, 6, 7 HAVING hearts > 0 ORDER BY hearts DESC, count(*), max(minute) DESC LIMIT ?
"""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
A_MOMENT_S = 0.005
LATEST = 10_000  # votes that taste is made of: more take longer to read, and tell little new
BESIDE = ("", "-wal", "-shm")  # SQLite's own files, by what follows the name

Result = TypeVar("Result")
_log = logging.getLogger(__name__)
_setting_aside = threading.Lock()


@dataclass(frozen=True)
class Count:
    """How many votes there are of one kind, day (UTC, "2026-11-22"), clip, randomness and temperature."""

    day: str
    kind: str
    clip: str
    randomness: float
    temperature: float
    n: int = 1


@dataclass(frozen=True)
class Hit:
    """A song on the top list: what it is called, what makes it again, and how many liked it."""

    title: str
    settings: Settings
    hearts: int


class Store:
    """The votes in the file at `path`, which is made when it is not there.

    patience_s: how long to wait for another writer. Everything below raises KpopError when the file cannot be used, and
    for a writer that takes longer. A damaged file is moved aside, with a line in the log, and a new one begun.
    """

    PATIENCE_S = 10.0

    def __init__(self, path: Path, patience_s: float = PATIENCE_S) -> None:
        self.path = path
        self.patience_s = patience_s

    def prepare(self) -> None:
        """Makes sure that votes can be written here. Another writer that takes its time is no reason against it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KpopError(f"{self.path.parent} cannot be made ({error.strerror}): choose another place.") from error
        try:
            self._use(_try_writing)
        except Busy:
            return

    def write(self, vote_id: int, vote: Vote) -> None:
        """Keeps the vote; one of the same id is replaced, so writing twice counts once."""
        self._use(
            lambda file: file.execute(WRITE, (vote_id, vote.kind, vote.title, vote.minute, *astuple(vote.settings)))
        )

    def counts(self, latest: int = LATEST) -> list[Count]:
        """The latest votes, added up."""
        return self._use(lambda file: [Count(*row) for row in file.execute(COUNT, (latest,))])

    def top(self, since: str, n: int) -> list[Hit]:
        """The n songs that most liked since that minute; none that grew from a listener's own sound."""
        rows = self._use(lambda file: file.execute(TOP, (*LIKED, since, OWN_CLIP, n)).fetchall())
        return [Hit(title, settings, hearts) for title, *values, hearts in rows if (settings := _settings(values))]

    def votes(self) -> list[Vote]:
        """All of them, in the order of time."""
        rows = self._use(lambda file: file.execute(f"SELECT {COLUMNS} FROM votes ORDER BY minute, id").fetchall())
        return [
            Vote(kind, settings, title, minute)
            for kind, title, minute, *values in rows
            if (settings := _settings(values))
        ]

    def _use(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Does one piece of work in one transaction; a second time after a damaged file has been moved aside."""
        try:
            return self._used(work)
        except sqlite3.Error as error:
            if _code(error) not in DAMAGED:
                raise self._told(error) from error
        self._set_aside()
        try:
            return self._used(work)
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _used(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with closing(sqlite3.connect(self.path, timeout=self.patience_s)) as file:
            if file.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
                self._begin(file)
            file.execute(
                "PRAGMA synchronous = NORMAL"
            )  # safe with a write-ahead log; a power cut may cost the last vote
            with file:
                return work(file)

    def _begin(self, file: sqlite3.Connection) -> None:
        """Makes the table in a new file, unless another process is faster."""
        self._turn_to_wal(file)
        with file:
            file.execute("BEGIN IMMEDIATE")
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise KpopError(
                    f"{self.path} was written by a newer Twice4Life: update this one, or choose another file."
                )
            if version == 0:
                for statement in SCHEMA.split(";"):
                    file.execute(statement)
                file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _turn_to_wal(self, file: sqlite3.Connection) -> None:
        """SQLite itself does not wait for this change, for which nobody else may read or write."""
        deadline_s = time.monotonic() + self.patience_s
        while True:
            try:
                file.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _code(error) not in LOCKED or time.monotonic() > deadline_s:
                    raise
            time.sleep(A_MOMENT_S)

    def _set_aside(self) -> None:
        """Moves a damaged file out of the way, with what belongs to it, unless somebody else was faster."""
        with _setting_aside:
            try:
                self._used(_look_through)
            except sqlite3.Error as error:
                if _code(error) not in DAMAGED:
                    return
            else:
                return
            aside = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
            for ending in BESIDE:
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
            _log.warning("%s was damaged: it is now %s, and a new one is begun.", self.path, aside)

    def _told(self, error: sqlite3.Error) -> KpopError:
        if _code(error) in LOCKED:
            return Busy(f"{self.path} is in use by somebody else: try again in a moment.")
        return KpopError(f"{self.path} cannot be used for listeners' votes ({error}): choose another file.")


class Busy(KpopError):
    """Somebody else writes, and takes longer than patience lasts."""


def _code(error: sqlite3.Error) -> int | None:
    """The primary result code; None where SQLite has given none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _try_writing(file: sqlite3.Connection) -> None:
    file.execute("BEGIN IMMEDIATE")
    file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _look_through(file: sqlite3.Connection) -> None:
    answer = file.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        error = sqlite3.DatabaseError(answer)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _settings(values: list) -> Settings | None:
    """The settings of a row; None where somebody has put there what no song can have."""
    try:
        return Settings(*values)
    except (KpopError, TypeError):
        return None
