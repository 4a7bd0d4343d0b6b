"""The process's only engine, and what the process does for it."""

import sys
from functools import lru_cache

from kpop.engine.engine import Engine
from kpop.engine.memory import use_few_pools

TURN_S = 0.0005  # Python's threads take turns after this instead of 5 ms: sound is made in many short bursts


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine that all listeners of this process share; made when first asked for."""
    sys.setswitchinterval(TURN_S)
    use_few_pools()
    return Engine()
