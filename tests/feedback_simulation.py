"""Made-up listeners with likings that nobody knows, to see whether offers find what they like.

A run draws how well each clip and each settings' arm is liked, and then lets listeners come one after the other: each
is offered a song, some change the sliders first, some never vote, some vote at random, some keep what they like without
a vote. What learns is what learns on the page; what is measured is the true liking of the offers.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev

from kpop.feedback import (
    DOWN,
    KEPT,
    MADE,
    SETTINGS_ARMS,
    UP,
    Count,
    SettingsArm,
    Tally,
    Taste,
    believed,
    default_arm,
    draw,
    nearest_arm,
)
from kpop.settings import RANDOMNESS_RANGE, Settings

CLIPS = (Settings().clip, *(f"clip {number}" for number in range(2, 11)))
TODAY = "2026-01-01"
SPREAD = 0.8  # of likings between arms, in logits: standard deviation of clips, and of settings
OWN_SPREAD = 0.7  # of one listener's liking of one song around everybody's
USUAL = 0.2  # logit of the usual liking: 55 %
LATE = 100  # listeners at the end of a run who tell what has been found

Offer = tuple[str, SettingsArm]
Policy = Callable[["Crowd", Taste, random.Random], Offer]


@dataclass(frozen=True)
class Habits:
    """Shares of listeners: who never press a thumb, press one at random, and move the sliders first.

    keeps: the share of the silent ones who keep what they like
    """

    silent: float = 0.5
    random: float = 0.1
    tweaks: float = 0.3
    keeps: float = 0.25


@dataclass(frozen=True)
class Crowd:
    """Likings of one run, in logits, by clip and by settings' arm."""

    clips: dict[str, float]
    settings: dict[SettingsArm, float]

    @classmethod
    def by_chance(cls, rng: random.Random) -> "Crowd":
        return cls(*({arm: rng.gauss(0, SPREAD) for arm in arms} for arms in (CLIPS, SETTINGS_ARMS)))

    def liking(self, offer: Offer) -> float:
        """The share of listeners who like that clip with those settings."""
        return self.liked_by(offer, 0.0)

    def liked_by(self, offer: Offer, own: float) -> float:
        return 1 / (1 + math.exp(-(USUAL + self.clips[offer[0]] + self.settings[offer[1]] + own)))

    def best(self) -> Offer:
        return max(self.clips, key=self.clips.get), max(self.settings, key=self.settings.get)


@dataclass(frozen=True)
class Course:
    """One run of one policy: true liking of each offer, and the ranks of its clip and settings, 0 is the best liked."""

    liking: list[float]
    clip_rank: list[int]
    settings_rank: list[int]


def by_thompson(_: Crowd, taste: Taste, rng: random.Random) -> Offer:
    return draw(believed(taste.clips, CLIPS[0]), rng), draw(believed(taste.settings, default_arm()), rng)


def by_greed(_: Crowd, taste: Taste, __: random.Random) -> Offer:
    """What has the best mean so far."""
    beliefs = believed(taste.clips, CLIPS[0]), believed(taste.settings, default_arm())
    clip, arm = (max(each, key=lambda arm: each[arm][0] / sum(each[arm])) for each in beliefs)
    return clip, arm


def by_chance(_: Crowd, __: Taste, rng: random.Random) -> Offer:
    return rng.choice(CLIPS), rng.choice(SETTINGS_ARMS)


def by_knowing(crowd: Crowd, _: Taste, __: random.Random) -> Offer:
    return crowd.best()


POLICIES: dict[str, Policy] = {
    "Thompson": by_thompson,
    "greedy": by_greed,
    "uniform": by_chance,
    "oracle": by_knowing,
}


def one_run(policy: Policy, n_listeners: int, number: int, habits: Habits | None = None) -> Course:
    """The course of one run. number: of the run; the same crowd for every policy."""
    crowd, rng = Crowd.by_chance(random.Random(f"crowd {number}")), random.Random(f"listeners {number}")
    taste, course = Taste(dict.fromkeys(CLIPS, Tally())), Course([], [], [])
    clips, settings = (sorted(arms, key=arms.get, reverse=True) for arms in (crowd.clips, crowd.settings))
    for _ in range(n_listeners):
        offer = policy(crowd, taste, rng)
        course.liking.append(crowd.liking(offer))
        course.clip_rank.append(clips.index(offer[0]))
        course.settings_rank.append(settings.index(offer[1]))
        taste.add(_heard(crowd, offer, habits or Habits(), rng))
    return course


def _heard(crowd: Crowd, offer: Offer, habits: Habits, rng: random.Random) -> Count:
    """What one listener lets us know, and of which song."""
    clip, (randomness, temperature) = offer
    if rng.random() < habits.tweaks:
        randomness, temperature = rng.uniform(*RANDOMNESS_RANGE), rng.uniform(0.7, 1.3)
        clip = rng.choice(CLIPS) if rng.random() < 0.5 else clip
    likes = rng.random() < crowd.liked_by((clip, nearest_arm(randomness, temperature)), rng.gauss(0, OWN_SPREAD))
    if rng.random() < habits.random:
        kind = rng.choice((UP, DOWN))
    elif rng.random() >= habits.silent:
        kind = UP if likes else DOWN
    else:
        kind = KEPT if likes and rng.random() < habits.keeps else MADE
    return Count(TODAY, kind, clip, randomness, temperature)


@dataclass(frozen=True)
class Figure:
    """A mean over runs, and the half width of its 95 % interval."""

    mean: float
    margin: float

    @classmethod
    def of(cls, values: list[float]) -> "Figure":
        return cls(mean(values), 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)


Report = dict[str, dict[str, Figure]]


def simulate(n_listeners: int = 500, n_runs: int = 20, habits: Habits | None = None) -> Report:
    """The figures of every policy by what they are called, each a mean over runs."""
    runs = {
        name: [one_run(policy, n_listeners, number, habits) for number in range(n_runs)]
        for name, policy in POLICIES.items()
    }
    report = {name: _figures(courses) for name, courses in runs.items()}
    for name, courses in runs.items():
        report[name]["gap closed"] = Figure.of(
            [_gap_closed(*three) for three in zip(courses, runs["uniform"], runs["oracle"], strict=True)]
        )
        report[name]["likes missed"] = Figure.of([_missed(*two) for two in zip(courses, runs["oracle"], strict=True)])
    return report


def _figures(courses: list[Course]) -> dict[str, Figure]:
    """Of the last listeners; a third of the clips is three of them, of the settings four."""
    n_clips, n_settings = len(CLIPS) // 3, len(SETTINGS_ARMS) // 3
    return {
        "liking": Figure.of([mean(course.liking[-LATE:]) for course in courses]),
        "best clip": Figure.of([_share(course.clip_rank, 1) for course in courses]),
        "clip in best third": Figure.of([_share(course.clip_rank, n_clips) for course in courses]),
        "best settings": Figure.of([_share(course.settings_rank, 1) for course in courses]),
        "settings in best third": Figure.of([_share(course.settings_rank, n_settings) for course in courses]),
    } | {
        f"liking of {start + 1} to {stop}": Figure.of([mean(course.liking[start:stop]) for course in courses])
        for start, stop in _hundreds(len(courses[0].liking))
    }


def _hundreds(n_listeners: int) -> list[tuple[int, int]]:
    """The first hundred listeners, and then twice as many each time."""
    edges = [0, *(LATE * 2**power for power in range(20))]
    return [(start, min(stop, n_listeners)) for start, stop in pairwise(edges) if start < n_listeners]


def _share(ranks: list[int], n_best: int) -> float:
    return mean(rank < n_best for rank in ranks[-LATE:])


def _gap_closed(course: Course, uniform: Course, oracle: Course) -> float:
    """Where the last listeners' liking lies on the way from offers by chance, 0, to the best there is, 1."""
    found, low, high = (mean(each.liking[-LATE:]) for each in (course, uniform, oracle))
    return (found - low) / (high - low)


def _missed(course: Course, oracle: Course) -> float:
    """Regret: by how many fewer listeners the offers of a run were liked than the best would have been."""
    return sum(oracle.liking) - sum(course.liking)


def report_lines(report: Report) -> list[str]:
    """A table for a terminal: a line for each figure, a column for each policy."""
    names = next(iter(report.values()))
    lines = [f"{'':<26}" + "".join(f"{policy:>16}" for policy in report)]
    for name in names:
        cells = "".join(f"{_cell(figures[name], name):>16}" for figures in report.values())
        lines.append(f"{name:<26}{cells}")
    return lines


def _cell(figure: Figure, name: str) -> str:
    if name == "likes missed":
        return f"{figure.mean:.0f} ± {figure.margin:.0f}"
    return f"{100 * figure.mean:.0f} ± {100 * figure.margin:.0f} %"
