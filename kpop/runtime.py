"""State of the process: loaded pipelines, and settings of allocator, garbage collector and threads."""

import ctypes
import gc
import os
import sys
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np

from kpop.constants import CLIP_SAMPLES
from kpop.errors import Outcome, ending_on_failure
from kpop.generation.clips import SeedClip
from kpop.model_info import checkpoint_path
from kpop.settings import LENGTH_RANGE_S, Settings

M_ARENA_MAX = -8  # glibc's mallopt() option: number of allocation arenas
N_ARENAS = 2  # instead of eight per core, each of which keeps the most it ever needed
SWITCH_INTERVAL_S = 0.0005  # instead of 5 ms: songs are made in many short bursts, by several threads
N_KEPT = 3  # pipelines, about 60 MB each
USUAL_LOAD_S = 6.0  # once everything is in numba's cache
WARM_UP = Settings(randomness=1.0, length_s=LENGTH_RANGE_S[0])
WARMING_UP, FIRST_START = "Warming up", "Warming up: the very first start takes a few seconds longer"


class PipelineLoader(Outcome):
    """A checkpoint's `Pipeline`, loaded by a thread of its own."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        self._started_s = time.monotonic()
        threading.Thread(target=self._load, args=(checkpoint,), name="load pipeline", daemon=True).start()

    @property
    def status(self) -> str:
        """What is going on, for the listener."""
        return WARMING_UP if time.monotonic() - self._started_s < USUAL_LOAD_S else FIRST_START

    def _load(self, checkpoint: Path) -> None:
        with ending_on_failure(self):
            from kpop.generation.pipeline import Pipeline  # imports torch, which takes a second
            from kpop.generation.session import generate, single_thread

            with single_thread():  # ten times as fast on a busy machine
                pipeline = Pipeline.load(checkpoint)
            generate(pipeline, WARM_UP, SeedClip("silence", "", np.zeros(CLIP_SAMPLES, np.float32)))  # compiles all
            gc_freeze()
            self._end(pipeline)


class PipelineCache:
    """Loads each checkpoint once, and again after its file has changed or could not be loaded."""

    def __init__(self) -> None:
        self._loaders: dict[tuple[Path, int | None], PipelineLoader] = {}  # the latest used last
        self._lock = threading.Lock()

    def get(self, model: str) -> PipelineLoader:
        """The pipeline of that model, loaded or loading."""
        checkpoint = checkpoint_path(model)
        key = checkpoint, checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        with self._lock:
            loader = self._loaders.pop(key, None)
            if loader is None or loader.error:
                loader = PipelineLoader(checkpoint)
            self._loaders[key] = loader
            for unused in [*self._loaders][:-N_KEPT]:
                del self._loaders[unused]
            return loader


def configure_process() -> None:
    """Few allocation arenas and a short switch interval; for once, before songs are made."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if libc := _glibc():
        libc.mallopt(M_ARENA_MAX, N_ARENAS)


def malloc_trim() -> None:
    """Return freed memory to the operating system (glibc only); takes a few milliseconds."""
    if libc := _glibc():
        libc.malloc_trim(0)


def gc_freeze() -> None:
    """Exempt all objects alive now from garbage collection.

    Streamlit collects after every rerun. With torch and plotly imported that takes 0.16 s, during which no other
    thread runs and playback may underrun; after this it takes a millisecond.
    """
    gc.collect()
    gc.freeze()
    malloc_trim()


def low_priority() -> None:
    """Give this thread the lowest share of the processor, where threads have priorities of their own (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)


@cache
def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
