"""What the machine can do at best: its name, its cores, and how fast one thread reads memory."""

import os
import platform
import time
from pathlib import Path

import numpy as np
from numba import njit

LARGE_BYTES = 256 << 20  # no cache holds it
PASS_S = 0.02


def cpu_name() -> str:
    """As Linux tells it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Reader:
    """An array of n_bytes that one thread reads as fast as it can."""

    def __init__(self, n_bytes: int) -> None:
        self._array = np.ones(n_bytes // 8, np.int64)
        self._n_repeats = 1  # so many that a pass is long enough to be timed
        _read(self._array, 1)  # compiles
        while self._n_repeats * self._array.nbytes / self.bytes_per_s() < PASS_S:
            self._n_repeats *= 2

    def bytes_per_s(self) -> float:
        """Its speed in one more pass; what the cache can hold, the pass before has left there."""
        started = time.perf_counter()
        _read(self._array, self._n_repeats)
        return self._array.nbytes * self._n_repeats / (time.perf_counter() - started)


@njit(nogil=True, cache=True)
def _read(array, n_repeats):
    """Exclusive or of all numbers: integers may be taken in any order, so the compiler uses the widest registers."""
    total = np.int64(0)
    for repeat in range(n_repeats):
        once = np.int64(0)
        for i in range(array.size):
            once ^= array[i]
        total += once ^ repeat  # else once could do for all repeats
    return total
