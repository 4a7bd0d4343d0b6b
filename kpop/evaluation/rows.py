"""The songs of each row, all of one length and begun with a bar."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, SEED_BARS
from kpop.evaluation import columns, controls
from kpop.evaluation.figures import INT16_SCALE
from kpop.evaluation.streams import codes_of, sequence_of
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.pipeline import Pipeline, codec_copy
from kpop.generation.session import generate
from kpop.settings import LENGTH_RANGE_S, Settings
from kpop.training.data import TrainingSong

FIRST_BAR = 16  # of unheard songs: past the intro, as what follows a seed is
Report = Callable[[str], None]
Waveforms = list[np.ndarray]


@dataclass(frozen=True)
class Plan:
    """How much to measure: n_songs a row of `seconds` each, what is dreamt counted alone; temperature and randomness of
    the generated ones; for steadiness, n_long songs of twice that length."""

    n_songs: int = 20
    seconds: float = 60.0
    temperature: float = 1.0
    randomness: float = 0.3
    n_long: int = 4

    @property
    def n_samples(self) -> int:
        """Length of every song that is measured."""
        return round(self.seconds * SAMPLE_RATE_HZ)

    @property
    def long_s(self) -> float:
        """Length of the songs whose steadiness is measured."""
        return 2 * self.seconds


def unheard(songs: list[TrainingSong], n_samples: int, first_bar: int = FIRST_BAR) -> Waveforms:
    """Pieces of corpus songs from a bar on, earlier where the song would end before the piece."""
    pieces = []
    for song in songs:
        last_bar = max(len(song.waveform) - n_samples, 0) // BAR_SAMPLES
        start = min(first_bar, last_bar) * BAR_SAMPLES
        pieces.append(song.waveform[start : start + n_samples] / INT16_SCALE)
    return pieces


def generated(
    pipeline: Pipeline, n_songs: int, length_s: float, temperature: float, randomness: float
) -> Iterable[np.ndarray]:
    """What the pipeline dreams after its seed, length_s seconds each; seed numbers from 0 on, seed clips in turn."""
    clips = built_in_clips()
    for number in range(n_songs):
        clip = built_in_clip(clips[number % len(clips)].name)
        whole_s = min(length_s + SEED_BARS * BAR_SAMPLES / SAMPLE_RATE_HZ, LENGTH_RANGE_S[1])
        settings = Settings(randomness, temperature, whole_s, number, clip.name)
        song = generate(pipeline, settings, clip)
        dreamt = song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :]
        yield dreamt[: round(length_s * SAMPLE_RATE_HZ)]


def waveforms(pipeline: Pipeline, songs: list[TrainingSong], plan: Plan, report: Report) -> dict[str, Waveforms]:
    """Every row's songs."""
    report("Dreaming up songs")
    made = {columns.GENERATED: list(generated(pipeline, plan.n_songs, plan.seconds, plan.temperature, plan.randomness))}
    ceiling = made[columns.CEILING] = unheard(songs, plan.n_samples)
    report("Copying unheard songs through the codec")
    made[columns.COPIES] = [codec_copy(waveform, pipeline.codec) for waveform in ceiling]
    report("Making the controls")
    codes = np.concatenate([codes_of(sequence_of(song, pipeline.codec), pipeline.packed.config) for song in songs])
    numbers = range(len(ceiling))
    made[columns.UNIGRAM] = [controls.unigram_song(pipeline.codec, codes, plan.n_samples, n) for n in numbers]
    rngs = [np.random.default_rng([n, 6]) for n in numbers]
    pairs = list(zip(ceiling, rngs, strict=True))
    made[columns.BARS] = [controls.bars_shuffled(waveform, rng) for waveform, rng in pairs]
    made[columns.SIXTEENTHS] = [controls.sixteenths_shuffled(waveform, rng) for waveform, rng in pairs]
    made[columns.NOISE] = [controls.pink_noise(plan.n_samples, rng) for rng in rngs]
    return made
