"""The process's only engine."""

from functools import lru_cache

from kpop.engine.engine import Engine


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine that all listeners of this process share; made when first asked for."""
    return Engine()
