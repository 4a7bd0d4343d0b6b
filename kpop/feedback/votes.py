"""One listener's word on one song, with nothing in it that could tell who they are."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kpop.errors import KpopError
from kpop.generation.settings import Settings

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
