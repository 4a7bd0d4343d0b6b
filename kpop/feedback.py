"""Where the votes are kept on this machine, if they are kept at all.

One listener's word on one song, with nothing in it that could tell who they are.

The votes in one SQLite file, which threads and processes may read and write at the same time.

Every operation opens the file, does one short transaction and closes it again: there is nothing to share between
threads, and the file may be moved or deleted while the page runs. Readers never wait (write-ahead log).

What pleases, learnt from votes, and what to offer next: Thompson sampling over seed clips and over settings.

Every seed clip is an arm, and so is every point of a small grid of randomness and temperature. What an arm's votes
leave open is a Beta distribution; to offer is to draw once from each arm's and take the highest (Thompson 1933, "On the
likelihood that one unknown probability exceeds another in view of the evidence of two samples"; Chapelle & Li 2011, "An
empirical evaluation of Thompson sampling"). So what pleases comes often, and what is hardly known comes now and then
until it is known. The draws are those of Chapelle & Li's reshaped posterior, which explores less: better for the first
hundreds of votes, and good enough for thousands (simulation.py). Clip and settings are drawn apart, and a song's vote
counts for both of its arms: 22 arms are known long before 120 pairs would be.
"""

import csv
import io
import logging
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from kpop.errors import KpopError
from kpop.generation.clips import built_in_clips
from kpop.settings import Settings

VARIABLE = "TWICE4LIFE_FEEDBACK"  # the path of the file, or "off"
OFF = "off"
USUAL_PLACE = Path(__file__).parents[1] / ".streamlit" / "feedback.sqlite"

_log = logging.getLogger(__name__)


def the_store(patience_s: float = 2.0) -> "Store | None":
    """The machine's votes; None where feedback is off, or where nothing can be written.

    patience_s: how long to wait for another writer
    """
    return _store_at(os.environ.get(VARIABLE, "").strip() or str(USUAL_PLACE), patience_s)


@lru_cache(maxsize=8)
def _store_at(place: str, patience_s: float) -> "Store | None":
    if place.lower() == OFF:
        return None
    store = Store(Path(place).expanduser(), patience_s)
    try:
        store.prepare()
    except KpopError as error:
        _log.warning("Feedback is off: %s", error)
        return None
    return store


OWN_CLIP = "own"
LONGEST_TITLE = 80  # characters
MINUTE = "%Y-%m-%dT%H:%MZ"
MADE, KEPT, UP, DOWN = KINDS = ("made", "kept", "up", "down")
LIKED = (KEPT, UP)


@dataclass(frozen=True)
class Vote:
    """What became of one song in one visit.

    kind: one of KINDS; "kept" is downloaded, shared, or chosen as the best of several; "made" is heard, without a word
    settings: of the song; its clip is OWN_CLIP where it grew from a listener's own sound
    title: of the song, empty where it grew from a listener's own sound, whose name it would give away
    minute: when, in UTC and no finer than that, for example "2026-11-22T17:23Z"

    Raises KpopError for another kind.
    """

    kind: str
    settings: Settings
    title: str
    minute: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise KpopError(f"A vote cannot be {self.kind!r}: choose one of {', '.join(KINDS)}.")


def vote_now(kind: str, settings: Settings, own_clip: bool, title: str) -> Vote:
    """The vote to be stored: rounded to the minute, and without the name of a listener's own file."""
    if own_clip:
        settings, title = replace(settings, clip=OWN_CLIP), ""
    return Vote(kind, settings, title[:LONGEST_TITLE], minute(datetime.now(UTC)))


def minute(when: datetime) -> str:
    """The minute of an aware time, as votes keep it: as text these sort as they follow each other."""
    return when.astimezone(UTC).strftime(MINUTE)


def start_of_today() -> str:
    """The minute at which the day began where this machine stands."""
    return minute(datetime.now().astimezone().replace(hour=0, minute=0))


def age_days(day: str, now: datetime) -> float:
    """Days between the noon of a day, "2026-11-22", and now; never below 0."""
    noon = datetime.fromisoformat(f"{day}T12:00+00:00")
    return max((now - noon).total_seconds() / 86_400, 0.0)


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
_log_store = logging.getLogger(__name__)
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
            _log_store.warning("%s was damaged: it is now %s, and a new one is begun.", self.path, aside)

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


RANDOMNESS_ARMS = (0.1, 0.3, 0.6, 0.9)
TEMPERATURE_ARMS = (0.8, 1.0, 1.2)
TEMPERATURE_REACH = 0.2  # beyond the outer arms: what is wilder than that tells nothing of them
HALF_LIFE_DAYS = 30.0  # after which a vote counts half, because tastes change
LIKES = {UP: 1.0, KEPT: 1.0}
# A song that nobody says a word about tells little, but not nothing. Were it nothing, those who keep what they like and
# never press a thumb would make everything look liked, most of all whatever is offered most.
DISLIKES = {DOWN: 1.0, MADE: 0.1}
PRIOR_VOTES = 2.0  # how many votes the guess weighs that an arm is liked as everything is
USUAL_LIKES = 5.0  # and as many dislikes: what all arms together begin with
HEAD_START = 2.0  # likes that the defaults begin with: with no votes yet, they are offered most, but not always
SHARPNESS = 4.0  # draws vary as if there were so many times the votes: a booth's day is too short for more curiosity
CONFIDENCE = 0.9
SEED_NUMBERS = 10_000

Arm = TypeVar("Arm")


@dataclass(frozen=True)
class Tally:
    """What is known of one arm: likes and dislikes, faded with age, and the number of thumbs and songs kept."""

    likes: float = 0.0
    dislikes: float = 0.0
    n_votes: int = 0

    def plus(self, likes: float, dislikes: float, n_votes: int) -> "Tally":
        return Tally(self.likes + likes, self.dislikes + dislikes, self.n_votes + n_votes)


@dataclass(frozen=True)
class Liked:
    """One line of what listeners like: the share who like it as far as is known, and where it lies at 90 %."""

    name: str
    mean: float
    low: float
    high: float
    n_votes: int


SettingsArm = tuple[float, float]  # randomness, temperature
SETTINGS_ARMS: tuple[SettingsArm, ...] = tuple((r, t) for r in RANDOMNESS_ARMS for t in TEMPERATURE_ARMS)


@dataclass
class Taste:
    """Tallies of the seed clips' arms by name, and of the settings' arms."""

    clips: dict[str, Tally]
    settings: dict[SettingsArm, Tally] = field(default_factory=lambda: dict.fromkeys(SETTINGS_ARMS, Tally()))

    @classmethod
    def of(cls, votes: Store | Iterable[Count], now: datetime | None = None) -> "Taste":
        """The taste that votes tell of. Raises KpopError when a store cannot be read."""
        taste, now = cls(dict.fromkeys((clip.name for clip in built_in_clips()), Tally())), now or datetime.now(UTC)
        for count in votes.counts() if isinstance(votes, Store) else votes:
            taste.add(count, 0.5 ** (age_days(count.day, now) / HALF_LIFE_DAYS))
        return taste

    def add(self, count: Count, weight: float = 1.0) -> None:
        """Counts votes for their clip, if it is built in, and for the nearest settings, if they are near."""
        said = count.n * (count.kind != MADE)
        told = [weight * count.n * worth.get(count.kind, 0.0) for worth in (LIKES, DISLIKES)]
        if count.clip in self.clips:
            self.clips[count.clip] = self.clips[count.clip].plus(*told, said)
        if arm := nearest_arm(count.randomness, count.temperature):
            self.settings[arm] = self.settings[arm].plus(*told, said)


def nearest_arm(randomness: float, temperature: float) -> SettingsArm | None:
    """The settings' arm that such a song counts for; None if it is too far from any."""
    near_temperature = min(TEMPERATURE_ARMS, key=lambda arm: abs(arm - temperature))
    if round(abs(near_temperature - temperature), 6) > TEMPERATURE_REACH:
        return None
    near_randomness = min(RANDOMNESS_ARMS, key=lambda arm: abs(arm - randomness))
    return near_randomness, near_temperature


def starting_settings(taste: Taste, rng: random.Random) -> Settings:
    """What to offer: clip, randomness and temperature by Thompson sampling, the seed number by chance."""
    randomness, temperature = draw(believed(taste.settings, default_arm()), rng)
    start = Settings(randomness=randomness, temperature=temperature, seed_number=rng.randrange(SEED_NUMBERS))
    return replace(start, clip=draw(believed(taste.clips, start.clip), rng)) if taste.clips else start


def default_arm() -> SettingsArm:
    return nearest_arm(Settings().randomness, Settings().temperature)


def believed(tallies: dict[Arm, Tally], default: Arm | None = None) -> dict[Arm, tuple[float, float]]:
    """What is believed of each arm's share of likes: both parameters of a Beta distribution.

    Before its own votes tell, an arm is thought to be liked as all of them are, and the default, if any, somewhat more.
    """
    likes, dislikes = (sum(getattr(tally, what) for tally in tallies.values()) for what in ("likes", "dislikes"))
    liked = (likes + USUAL_LIKES) / (likes + dislikes + 2 * USUAL_LIKES)
    return {
        arm: (
            PRIOR_VOTES * liked + tally.likes + HEAD_START * (arm == default),
            PRIOR_VOTES * (1 - liked) + tally.dislikes,
        )
        for arm, tally in tallies.items()
    }


def draw(beliefs: dict[Arm, tuple[float, float]], rng: random.Random) -> Arm:
    """One arm: that of the highest draw, each arm's from its own belief, made sharper."""
    return max(beliefs, key=lambda arm: rng.betavariate(*(SHARPNESS * known for known in beliefs[arm])))


def liked_clips(taste: Taste) -> list[Liked]:
    """The seed clips by their names, the best liked first."""
    return _ranked(taste.clips, str)


def liked_settings(taste: Taste) -> list[Liked]:
    """The settings, the best liked first."""
    return _ranked(taste.settings, settings_name)


def settings_name(arm: SettingsArm) -> str:
    return "randomness {:g}, temperature {:g}".format(*arm)


def _ranked(tallies: dict[Arm, Tally], name: Callable[[Arm], str]) -> list[Liked]:
    from scipy.special import betaincinv  # takes a while to import: offers do not need it

    rows = []
    for arm, (likes, dislikes) in believed(tallies).items():
        low, high = (
            float(betaincinv(likes, dislikes, share)) for share in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
        )
        rows.append(Liked(name(arm), likes / (likes + dislikes), low, high, tallies[arm].n_votes))
    return sorted(rows, key=lambda row: -row.mean)


CSV_COLUMNS = (
    "minute",
    "kind",
    "title",
    "clip",
    "randomness",
    "temperature",
    "length_s",
    "seed_number",
    "model",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would take what begins so for a formula
BAR_CELLS = 20
TITLES = {UP: "thumbs up", DOWN: "thumbs down", KEPT: "kept", MADE: "heard without a word"}


def csv_text(votes: Iterable[Vote]) -> str:
    """The votes as CSV with a head line, one song of one visit a line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for vote in votes:
        row = asdict(vote.settings) | {"minute": vote.minute, "kind": vote.kind, "title": vote.title}
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return out.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def totals_line(votes: list[Vote]) -> str:
    """How many votes there are of each kind."""
    n_of = Counter(vote.kind for vote in votes)
    songs = "1 song" if len(votes) == 1 else f"{len(votes)} songs"
    return f"{songs}: " + ", ".join(f"{n_of[kind]} {title}" for kind, title in TITLES.items())


def liked_lines(rows: list[Liked]) -> list[str]:
    """A ranked table with a bar for each mean: what is liked, by what share as far as is known, and how many votes."""
    width = max((len(row.name) for row in rows), default=0)
    return [
        f"  {row.name:<{width}}  {'█' * round(BAR_CELLS * row.mean):<{BAR_CELLS}} {row.mean:4.0%}"
        f"  ({row.low:.0%} to {row.high:.0%}, {row.n_votes} {'vote' if row.n_votes == 1 else 'votes'})"
        for row in rows
    ]


def hit_lines(hits: list[Hit]) -> list[str]:
    """The top list, with what makes each song again."""
    return [
        f"  {place:2}. {hit.title}  ♥ {hit.hearts}  (clip {hit.settings.clip}, randomness {hit.settings.randomness:g},"
        f" temperature {hit.settings.temperature:g}, {hit.settings.length_s:g} s, seed {hit.settings.seed_number},"
        f" voice {hit.settings.model})"
        for place, hit in enumerate(hits, 1)
    ]


def clip_titles() -> dict[str, str]:
    """The titles of the built-in clips by their names."""
    return {clip.name: clip.title for clip in built_in_clips()}
