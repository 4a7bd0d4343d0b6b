"""The client's first design, stepped as its own code does: what there was before."""

import time
from collections.abc import Callable

from kpop.bench.readings import Reading, several
from kpop.errors import KpopError
from kpop.firstdesign.network import FirstDesign
from kpop.generation.checkpoints import MODELS_DIR
from kpop.generation.clips import SEED_BARS, built_in_clip, built_in_clips
from kpop.grid import BAR_SAMPLES, SAMPLE_RATE_HZ

FILE = MODELS_DIR / "first-design.safetensors"


def measure(length_s: float, n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Seconds for a continuation of length_s, and how many times faster than it plays."""
    if not FILE.is_file():
        raise KpopError(f"The first design's weights are not in {MODELS_DIR.name}: train it, or leave this part out.")
    say(f"the first design, {length_s:g} s")
    design = FirstDesign.load(FILE)
    seed = built_in_clip(built_in_clips()[0].name).waveform[: SEED_BARS * BAR_SAMPLES]
    n_samples = round(length_s * SAMPLE_RATE_HZ)
    design.generate(seed, n_samples)  # the first call warms up
    seconds = []
    for _ in range(n_rounds):
        started = time.perf_counter()
        design.generate(seed, n_samples)
        seconds.append(time.perf_counter() - started)
    part = f"the client's first design, {length_s:g} s"
    note = "a buzz, twice a second, that needs no phase: see models/README.md"
    return [
        several(part, "the whole song", "s", seconds, note=note),
        several(part, "times faster than it plays", "x", [length_s / one for one in seconds]),
    ]
