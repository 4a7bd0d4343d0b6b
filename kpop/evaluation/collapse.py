"""Do songs of five minutes fall apart, at careful and at wild temperatures?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kpop.constants import SAMPLE_RATE_HZ
from kpop.evaluation.controls import pink_noise
from kpop.evaluation.rows import generated, unheard
from kpop.evaluation.steadiness import Course, course, verdict
from kpop.generation.pipeline import Pipeline
from kpop.training.data import TrainingSong

TEMPERATURES = (0.7, 1.0, 1.2)
N_SEEDS = 3
LENGTH_S = 290.0  # with its seed of 7.68 s nearly the longest song there is
RANDOMNESS = 0.3


@dataclass(frozen=True)
class Limits:
    """Beyond these a song is no music: noise_entropy 0..1, most_repetition -1..1."""

    noise_entropy: float
    most_repetition: float


@dataclass(frozen=True)
class LongSong:
    """A generated song, its course, and what is to be said of it: see steadiness.verdict."""

    temperature: float
    seed_number: int
    course: Course
    verdict: str


def limits(songs: list[TrainingSong]) -> Limits:
    """Half-way between what unheard songs do at most and the collapse itself: in entropy, the lowest of pink noise; in
    repetition, 1, one bar again and again."""
    courses = [course(unheard([song], len(song.waveform), 0)[0]) for song in songs]
    noise = course(pink_noise(30 * SAMPLE_RATE_HZ, np.random.default_rng(0)))
    music_entropy = max(float(song.entropy.max()) for song in courses)
    most_repetition = max(song.repetition for song in courses)
    return Limits((music_entropy + float(noise.entropy.min())) / 2, (most_repetition + 1) / 2)


def long_songs(
    pipeline: Pipeline, found: Limits, n_seeds: int = N_SEEDS, length_s: float = LENGTH_S
) -> Iterator[LongSong]:
    """Songs of each temperature, judged one by one."""
    for temperature in TEMPERATURES:
        for number, waveform in enumerate(generated(pipeline, n_seeds, length_s, temperature, RANDOMNESS)):
            whole = course(waveform)
            said = verdict(whole, found.noise_entropy, found.most_repetition)
            yield LongSong(temperature, number, whole, said)
