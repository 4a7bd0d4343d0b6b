"""Memory of a process that lives long: what is freed goes back to the system, what stays is not gone through again.

The C library's allocator keeps what is freed otherwise, in a pool for every thread.
"""

import ctypes
import gc
import sys
from functools import cache

M_ARENA_MAX = -8  # glibc's number for "how many pools"
N_POOLS = 2


def use_few_pools() -> None:
    """Threads share a few pools instead of eight a core, of which each keeps the most it ever needed. glibc only."""
    if library := _glibc():
        library.mallopt(M_ARENA_MAX, N_POOLS)


def give_back() -> None:
    """Return to the system what is free by now; takes a few milliseconds. glibc only."""
    if library := _glibc():
        library.malloc_trim(0)


def settle() -> None:
    """All that is loaded by now stays: the garbage collector need not look at it any more.

    Streamlit collects after every run of the page. With torch and plotly loaded that takes 0.16 s each time, during
    which no other thread runs, so that sound is late; after this it takes a millisecond.
    """
    gc.collect()
    gc.freeze()
    give_back()


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc: others have neither function, and no such habit."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
