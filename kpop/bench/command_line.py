"""`python -m kpop generate` as a person types it: a cold process and all."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kpop.bench.readings import Reading, several
from kpop.bench.server import ROOT
from kpop.errors import KpopError


def measure(length_s: float, n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Wall-clock seconds from Return to the WAV file."""
    seconds = []
    for number in range(n_rounds):
        say(f"kpop generate, {length_s:g} s, a cold process")
        seconds.append(_generate(length_s, number))
    return [several("the command line", f"kpop generate --seconds {length_s:g}", "s", seconds)]


def _generate(length_s: float, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "song.wav"
        command = [sys.executable, "-m", "kpop", "generate", f"--out={out}", f"--seconds={length_s}", f"--seed={seed}"]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode or not out.is_file():
            raise KpopError(f"kpop generate failed: {done.stderr[-300:]}")
    return seconds
