"""What pleases, learnt from votes, and what to offer next: Thompson sampling over seed clips and over settings.

Every seed clip is an arm, and so is every point of a small grid of randomness and temperature. What an arm's votes
leave open is a Beta distribution; to offer is to draw once from each arm's and take the highest (Thompson 1933, "On the
likelihood that one unknown probability exceeds another in view of the evidence of two samples"; Chapelle & Li 2011, "An
empirical evaluation of Thompson sampling"). So what pleases comes often, and what is hardly known comes now and then
until it is known. The draws are those of Chapelle & Li's reshaped posterior, which explores less: better for the first
hundreds of votes, and good enough for thousands (simulation.py). Clip and settings are drawn apart, and a song's vote
counts for both of its arms: 22 arms are known long before 120 pairs would be.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from kpop.feedback.store import Count, Store
from kpop.feedback.votes import DOWN, KEPT, MADE, UP, age_days
from kpop.generation.clips import built_in_clips
from kpop.generation.settings import Settings

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
