"""Listeners' votes in SQLite, and a bandit that learns from them which seed clips and settings to offer.

Every seed clip is an arm, and so is every point of a small grid of randomness and temperature. The share of likes of an
arm has a Beta posterior; an offer takes the arm with the highest sample (Thompson 1933, "On the likelihood that one
unknown probability exceeds another in view of the evidence of two samples"). The posterior is sharpened (Chapelle & Li
2011, "An empirical evaluation of Thompson sampling"), because a day at a booth brings only hundreds of votes. Clip and
settings are sampled independently, and a vote counts for both: 22 arms need far fewer votes than 120.
"""

import csv
import io
import logging
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from kpop.errors import KpopError
from kpop.generation.clips import built_in_clips, is_built_in
from kpop.generation.titles import song_title
from kpop.settings import Settings

VARIABLE = "TWICE4LIFE_FEEDBACK"  # environment variable: the path of the file, or "off"
OFF = "off"
DEFAULT_PATH = Path(__file__).parents[1] / ".streamlit" / "feedback.sqlite"
TIMEOUT_S = 0.1  # for another writer: the page must not wait, and retries on its next run
UP, DOWN, KEPT, MADE = KINDS = ("up", "down", "kept", "made")
OWN_CLIP = "own"  # stored instead of the name of a listener's own file
N_TOP = 10

SCHEMA_VERSION = 1
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS votes (
    id INTEGER PRIMARY KEY, minute TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, randomness REAL NOT NULL,
    temperature REAL NOT NULL, length_s REAL NOT NULL, seed_number INTEGER NOT NULL, clip TEXT NOT NULL,
    model TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS votes_by_minute ON votes (minute, kind, clip, randomness, temperature);
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
WRITE = """
INSERT INTO votes (id, kind, title, minute, randomness, temperature, length_s, seed_number, clip, model)
VALUES (:id, :kind, :title, :minute, :randomness, :temperature, :length_s, :seed_number, :clip, :model)
ON CONFLICT (id) DO UPDATE SET kind = excluded.kind
"""
TOP = f"""
SELECT max(title) AS title, randomness, temperature, length_s, seed_number, clip, model,
    sum(kind IN ('kept', 'up')) AS hearts
FROM votes WHERE minute >= ? AND kind != 'made' AND clip != 'own'
GROUP BY randomness, temperature, length_s, seed_number, clip, model
HAVING hearts > 0 ORDER BY hearts DESC, count(*), max(minute) DESC LIMIT {N_TOP}
"""

RANDOMNESS_ARMS, TEMPERATURE_ARMS = (0.1, 0.3, 0.6, 0.9), (0.8, 1.0, 1.2)
SETTINGS_ARMS = tuple((r, t) for r in RANDOMNESS_ARMS for t in TEMPERATURE_ARMS)
MAX_TEMPERATURE_DISTANCE = 0.2  # songs further from every arm are not evidence for any
HALF_LIFE_DAYS = 30.0  # of a vote's weight, since preferences change
MAX_VOTES = 5_000  # the latest ones that the bandit learns from
# A song without a vote is weak evidence against it. With a weight of 0, listeners who only ever keep songs would make
# everything look liked, and most of all what is offered most.
DISLIKE_WEIGHTS = {DOWN: 1.0, MADE: 0.1}
ARM_PRIOR_VOTES = 2.0  # each arm's prior, centred on the mean of all arms
MEAN_PRIOR_LIKES = 5.0  # and as many dislikes: the prior of that mean
DEFAULT_PRIOR_LIKES = 2.0  # more for the defaults: without votes they are offered most, but not always
SHARPNESS = 4.0  # multiplies both parameters of the posterior (1/alpha of Chapelle & Li)
SEED_NUMBERS = 10_000
CSV_COLUMNS = ("minute", "kind", "title", "clip", "randomness", "temperature", "length_s", "seed_number", "model")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would evaluate such a cell

Arm = TypeVar("Arm")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vote:
    """One listener's vote on one song."""

    kind: str  # of KINDS: thumbs up, thumbs down, downloaded or chosen among variations, played without a vote
    settings: Settings  # with the clip OWN_CLIP where the seed was a listener's own sound
    title: str  # empty where the seed was a listener's own sound, because it would hold that file's name
    minute: str  # UTC, not finer for privacy, for example "2026-11-22T17:23Z"


def vote_now(kind: str, settings: Settings) -> Vote:
    """A vote as it may be stored: to the minute, without the name of a listener's own file."""
    now = minute(datetime.now(UTC))
    if is_built_in(settings.clip):
        return Vote(kind, settings, song_title(settings), now)
    return Vote(kind, replace(settings, clip=OWN_CLIP), "", now)


def minute(when: datetime) -> str:
    """An aware time in UTC, to the minute. These texts sort in order of time."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def start_of_today() -> str:
    """The minute at which the day began in this machine's time zone."""
    return minute(datetime.now().astimezone().replace(hour=0, minute=0))


class StoreBusy(KpopError):
    """Another writer held the file for longer than the timeout."""


@dataclass(frozen=True)
class Store:
    """Votes in the SQLite file at `path`, created when it is missing. Any thread and process may use it at any time.

    timeout_s: how long to wait for another writer. All methods raise KpopError if the file cannot be used, StoreBusy
    after a timeout. A damaged file is renamed, with a warning in the log, and a new one is created.
    """

    path: Path
    timeout_s: float = TIMEOUT_S

    def write(self, vote_id: int, vote: Vote) -> None:
        """Store the vote; of one that is stored under this id, only the kind changes."""
        self._execute(WRITE, {"id": vote_id} | asdict(vote) | asdict(vote.settings))

    def votes(self, latest: int = -1) -> list[Vote]:
        """The latest votes, or all of them, in order of time."""
        rows = self._execute("SELECT * FROM votes ORDER BY minute DESC, id DESC LIMIT ?", (latest,))
        return [
            Vote(row["kind"], settings, row["title"], row["minute"])
            for row in reversed(rows)
            if row["kind"] in KINDS and (settings := _settings(row))
        ]

    def top(self, since: str) -> list[tuple[str, Settings, int]]:
        """Title, settings and number of likes of the N_TOP songs liked most since a minute, none from own sounds."""
        rows = self._execute(TOP, (since,))
        return [(row["title"], settings, row["hearts"]) for row in rows if (settings := _settings(row))]

    def _execute(self, statement: str, parameters: dict | tuple = (), retry: bool = True) -> list[sqlite3.Row]:
        try:
            with closing(sqlite3.connect(self.path, timeout=self.timeout_s, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                with suppress(sqlite3.OperationalError):  # locked, if another process does this now
                    db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last votes, not the file
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > SCHEMA_VERSION:
                    raise KpopError(f"{self.path} is of a newer version: update this one or choose another file.")
                if version < SCHEMA_VERSION:
                    db.executescript(SCHEMA)
                return db.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreBusy(f"{self.path} is in use by another program: try again in a moment.") from error
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or not retry:
                raise KpopError(f"{self.path} cannot be used for votes ({error}): choose another file.") from error
        aside = f"{self.path}.damaged-{time.time_ns()}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        _log.warning("%s was damaged: it is now %s, and a new file is begun.", self.path, aside)
        return self._execute(statement, parameters, retry=False)


def _settings(row: sqlite3.Row) -> Settings | None:
    """The settings of a row; None for values out of range, which only another program can have written."""
    try:
        return Settings(**{each.name: row[each.name] for each in fields(Settings)})
    except (KpopError, TypeError):
        return None


def open_store() -> Store | None:
    """The store of this machine; None where feedback is off, or the file cannot be written."""
    return _open(os.environ.get(VARIABLE, "").strip() or str(DEFAULT_PATH))


@lru_cache(maxsize=8)
def _open(path: str) -> Store | None:
    if path.lower() == OFF:
        return None
    store = Store(Path(path).expanduser())
    try:
        store.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(StoreBusy):  # can be written, just not now
            store._execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except (KpopError, OSError) as error:
        _log.warning("Feedback is off: %s", error)
        return None
    return store


@dataclass
class Preferences:
    """Likes and dislikes, weighted by age, of each arm: names of seed clips, and settings (randomness, temperature)."""

    likes: Counter = field(default_factory=Counter)
    dislikes: Counter = field(default_factory=Counter)

    @classmethod
    def from_votes(cls, votes: Iterable[Vote], now: datetime | None = None) -> "Preferences":
        """Add up votes, weighted by their age at `now`."""
        learnt, now = cls(), now or datetime.now(UTC)
        for vote in votes:
            age_days = (now - datetime.fromisoformat(vote.minute)).total_seconds() / 86_400
            learnt.add(vote, 0.5 ** (max(age_days, 0) / HALF_LIFE_DAYS))
        return learnt

    def add(self, vote: Vote, weight: float = 1.0) -> None:
        """Count a vote for its clip and for the nearest arm of the settings, if one is near."""
        for arm in (vote.settings.clip, nearest_arm(vote.settings)):
            self.likes[arm] += weight * (vote.kind in (UP, KEPT))
            self.dislikes[arm] += weight * DISLIKE_WEIGHTS.get(vote.kind, 0.0)

    def sample(self, arms: Collection[Arm], default: Arm | None, rng: random.Random) -> Arm:
        """One step of Thompson sampling: the arm with the highest sample from its own, sharpened Beta posterior.

        The mean of the prior is that of all arms.
        """
        likes = MEAN_PRIOR_LIKES + sum(self.likes[arm] for arm in arms)
        dislikes = MEAN_PRIOR_LIKES + sum(self.dislikes[arm] for arm in arms)
        prior_likes, prior_dislikes = (ARM_PRIOR_VOTES * each / (likes + dislikes) for each in (likes, dislikes))
        samples = {}
        for arm in arms:
            arm_likes = prior_likes + self.likes[arm] + DEFAULT_PRIOR_LIKES * (arm == default)
            samples[arm] = rng.betavariate(SHARPNESS * arm_likes, SHARPNESS * (prior_dislikes + self.dislikes[arm]))
        return max(samples, key=samples.get)


def nearest_arm(settings: Settings) -> tuple[float, float] | None:
    """The arm that a vote on a song with these settings counts for; None if its temperature is too far from any."""
    randomness = min(RANDOMNESS_ARMS, key=lambda arm: abs(arm - settings.randomness))
    temperature = min(TEMPERATURE_ARMS, key=lambda arm: abs(arm - settings.temperature))
    is_near = abs(temperature - settings.temperature) <= MAX_TEMPERATURE_DISTANCE + 1e-6
    return (randomness, temperature) if is_near else None


def starting_settings(preferences: Preferences, rng: random.Random) -> Settings:
    """Settings to offer: clip, randomness and temperature by Thompson sampling, the seed number uniformly."""
    randomness, temperature = preferences.sample(SETTINGS_ARMS, nearest_arm(Settings()), rng)
    start = Settings(randomness=randomness, temperature=temperature, seed_number=rng.randrange(SEED_NUMBERS))
    clips = [clip.name for clip in built_in_clips()]
    return replace(start, clip=preferences.sample(clips, start.clip, rng)) if clips else start


def csv_text(votes: Iterable[Vote]) -> str:
    """The votes as CSV with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for vote in votes:
        row = asdict(vote) | asdict(vote.settings)
        writer.writerow({name: f"'{v}" if str(v).startswith(FORMULA_STARTS) else v for name, v in row.items()})
    return out.getvalue()
