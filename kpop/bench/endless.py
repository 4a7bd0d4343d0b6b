"""A song that never ends, made as fast as can be: does it slow down, or take more and more memory?"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kpop.bench.crowd import in_own_process
from kpop.bench.readings import Aim, Reading, several, single
from kpop.bench.server import own_memory_mb
from kpop.grid import SAMPLE_RATE_HZ

SETTLED_MINUTES = 4  # of sound, after which memory is not to grow
FLAT_MB_AN_HOUR = Aim(20.0)


def make(checkpoint: Path, minutes: int) -> tuple[list[float], list[float]]:
    """Seconds that each minute of sound takes, and the megabytes that this process has after it."""
    from kpop.generation.clips import built_in_clip
    from kpop.generation.dream import Dream
    from kpop.generation.instrument import Instrument
    from kpop.generation.settings import Settings

    instrument, settings = Instrument.load(checkpoint, only_to_play=True), Settings()
    dream, places = Dream(instrument, settings, built_in_clip(settings.clip), endless=True), instrument.places(1)
    seconds, memory_mb = [], []
    for minute in range(1, minutes + 1):
        started = time.perf_counter()
        while dream.n_sounded < minute * 60 * SAMPLE_RATE_HZ:
            if dream.piece_ready:
                dream.make_piece()
            else:
                dream.take(places.run([dream.next_stride(places, 0)])[0], 0.0)
        seconds.append(time.perf_counter() - started)
        memory_mb.append(own_memory_mb())
    return seconds, memory_mb


def measure(checkpoint: Path, minutes: int, say: Callable[[str], None]) -> list[Reading]:
    """Speed and memory of so many minutes of sound, more than SETTLED_MINUTES + 1."""
    say(f"{minutes} minutes of a song that never ends")
    seconds, memory_mb = in_own_process(make, checkpoint, minutes)
    part = f"a song that never ends, its first {minutes} minutes"
    settled = np.array(memory_mb[SETTLED_MINUTES:])
    slope = float(np.polyfit(np.arange(len(settled)) / 60, settled, 1)[0])
    note = f"{settled[0]:.0f} MB after minute {SETTLED_MINUTES + 1}, {settled[-1]:.0f} MB at the end"
    return [
        several(part, "times faster than it plays", "x", [60 / each for each in seconds[1:]]),
        single(part, "growth of memory, in an hour of sound", "MB", slope, FLAT_MB_AN_HOUR, note),
    ]
