"""Whole songs, one process each: seconds by stage, and memory, as songs grow longer."""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kpop.bench.crowd import in_own_process
from kpop.bench.readings import Aim, Reading, growth_exponent, several, single
from kpop.bench.server import MEGABYTE

if TYPE_CHECKING:
    from kpop.generation.clips import SeedClip
    from kpop.generation.instrument import Instrument
    from kpop.generation.settings import Settings

WARM_UP_S = 8.0
LINEAR, FLAT_MB_A_MINUTE = Aim(1.1), Aim(2.0)  # a minute of sound itself takes 3.7 MB in float32
TOLD_S = (30.0, 180.0)


@dataclass(frozen=True)
class Made:
    """How songs of one length were made, one after the other.

    totals_s: wall clock of each; stages: seconds of each by stage; streaming_mb: the most memory that arrays took until
    its sound was there, on top of the raw sound; working_mb: until it was finished, on top of the song and its picture
    """

    length_s: float
    totals_s: list[float]
    stages: list[dict[str, float]]
    streaming_mb: float
    working_mb: float

    @property
    def total_s(self) -> float:
        return float(np.median(self.totals_s))


def make(checkpoint: Path, length_s: float, n_rounds: int) -> Made:
    """Make n_rounds songs in this process, which should be a fresh one, after a short song that warms up."""
    from kpop.generation.clips import built_in_clip
    from kpop.generation.dream import generate
    from kpop.generation.instrument import Instrument
    from kpop.generation.settings import Settings

    instrument, settings = Instrument.load(checkpoint), Settings(length_s=length_s)
    clip = built_in_clip(settings.clip)
    generate(instrument, Settings(length_s=WARM_UP_S), clip)
    totals_s, stages = [], []
    for _ in range(n_rounds):
        started = time.perf_counter()
        song = generate(instrument, settings, clip)
        totals_s.append(time.perf_counter() - started)
        stages.append(song.seconds_taken)
    return Made(length_s, totals_s, stages, *_working_mb(instrument, settings, clip))


def _working_mb(instrument: "Instrument", settings: "Settings", clip: "SeedClip") -> tuple[float, float]:
    """Made.streaming_mb and working_mb, of a song that is made slowly, since every allocation is noted."""
    from kpop.generation.dream import generate

    peaks_mb = {}
    tracemalloc.start()
    song = generate(instrument, settings, clip, lambda share, words: peaks_mb.update({share: _peak_mb()}))
    working_mb = _peak_mb()
    tracemalloc.stop()
    raw_mb, picture_mb = song.waveform.nbytes / MEGABYTE, song.log_mel_db.nbytes / MEGABYTE
    return peaks_mb[1.0] - raw_mb, working_mb - raw_mb - picture_mb


def measure(checkpoint: Path, lengths_s: Sequence[float], n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Seconds, stages and speed of the lengths that are told of; how time and memory grow over all of them."""
    songs = []
    for length_s in lengths_s:
        say(f"songs of {length_s:g} s, one by one")
        songs.append(in_own_process(make, checkpoint, length_s, n_rounds))
    readings = [line for song in songs if song.length_s in TOLD_S for line in _of_one(song)]
    part = f"songs of {', '.join(f'{song.length_s:g}' for song in songs)} s"
    times = ", ".join(f"{song.total_s:.2f}" for song in songs) + " s"
    growth = growth_exponent(lengths_s, [song.total_s for song in songs])
    return [
        *readings,
        single(part, "growth of time with length, exponent", "", growth, LINEAR, times),
        _memory_growth(part, "while it streams", lengths_s, [song.streaming_mb for song in songs], FLAT_MB_A_MINUTE),
        _memory_growth(part, "until it is finished", lengths_s, [song.working_mb for song in songs], None),
    ]


def _memory_growth(
    part: str, when: str, lengths_s: Sequence[float], working_mb: list[float], aim: Aim | None
) -> Reading:
    """By a minute of song: the slope of a straight line, because what hardly grows has no exponent worth telling."""
    slope = float(np.polyfit(np.array(lengths_s) / 60, working_mb, 1)[0])
    note = ", ".join(f"{mb:.0f}" for mb in working_mb) + " MB"
    return single(part, f"growth of working memory {when}", "MB/min", slope, aim, note)


def _of_one(made: Made) -> list[Reading]:
    part = f"a song of {made.length_s:g} s"
    names = made.stages[0]
    shares = {name: np.median([stages[name] for stages in made.stages]) / made.total_s for name in names}
    return [
        several(part, "the whole song", "s", made.totals_s),
        *(
            several(part, f"  {name}", "s", (stages[name] for stages in made.stages), note=f"{shares[name]:.0%}")
            for name in names
        ),
        several(part, "times faster than it plays", "x", [made.length_s / total_s for total_s in made.totals_s]),
        single(part, "working memory while it streams", "MB", made.streaming_mb),
        single(part, "working memory until it is finished", "MB", made.working_mb),
    ]


def _peak_mb() -> float:
    return tracemalloc.get_traced_memory()[1] / MEGABYTE
