"""Where the votes are kept on this machine, if they are kept at all."""

import logging
import os
from functools import lru_cache
from pathlib import Path

from kpop.errors import KpopError
from kpop.feedback.store import Store

VARIABLE = "TWICE4LIFE_FEEDBACK"  # the path of the file, or "off"
OFF = "off"
USUAL_PLACE = Path(__file__).parents[2] / ".streamlit" / "feedback.sqlite"

_log = logging.getLogger(__name__)


def the_store(patience_s: float = Store.PATIENCE_S) -> Store | None:
    """The machine's votes; None where feedback is off, or where nothing can be written.

    patience_s: how long to wait for another writer
    """
    return _store_at(os.environ.get(VARIABLE, "").strip() or str(USUAL_PLACE), patience_s)


@lru_cache(maxsize=8)
def _store_at(place: str, patience_s: float) -> Store | None:
    if place.lower() == OFF:
        return None
    store = Store(Path(place).expanduser(), patience_s)
    try:
        store.prepare()
    except KpopError as error:
        _log.warning("Feedback is off: %s", error)
        return None
    return store
