"""Instruments, each loaded once a process, in the background."""

import logging
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from kpop.engine.memory import settle
from kpop.errors import KpopError
from kpop.generation.checkpoints import checkpoint_path

if TYPE_CHECKING:
    from kpop.generation.instrument import Instrument

N_KEPT = 3  # instruments, each about 60 MB
USUAL_S = 6.0  # that loading takes at most, once everything has been compiled
WARMING_UP, FIRST_TIME = "Warming up", "Warming up: the very first start takes half a minute"

_log = logging.getLogger(__name__)


class Loading:
    """An instrument on its way.

    fraction, words: for a progress line; error: why there is none, None while it is coming or there
    """

    fraction = 0.0

    def __init__(self, checkpoint: Path, head_start_s: float) -> None:
        self._started_s = time.monotonic()
        self.instrument: Instrument | None = None
        self.error: KpopError | None = None
        self._finished = threading.Event()
        threading.Thread(target=self._load, args=(checkpoint, head_start_s), name="loading", daemon=True).start()

    @property
    def words(self) -> str:
        """What is going on; on a machine's very first start, when the compiler has work to do, how long it may take."""
        return WARMING_UP if time.monotonic() - self._started_s < USUAL_S else FIRST_TIME

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, timeout_s at most; True once it has come."""
        return self._finished.wait(timeout_s)

    def result(self) -> "Instrument":
        """The instrument; waits for it. Raises KpopError if it cannot be loaded."""
        self._finished.wait()
        if self.error:
            raise self.error
        return self.instrument

    def _load(self, checkpoint: Path, head_start_s: float) -> None:
        try:
            time.sleep(head_start_s)
            from kpop.generation.instrument import Instrument  # brings torch: whoever asks must not wait for it

            self.instrument = Instrument.load(checkpoint, only_to_play=True)
            settle()
        except KpopError as error:
            self.error = error
        except Exception:
            _log.exception("Unforeseen failure while loading %s", checkpoint)
            self.error = KpopError(f"{checkpoint.name} cannot be loaded: the terminal says why.")
        finally:
            self._finished.set()


class Voices:
    """Loads each checkpoint once, and again when its file has changed or could not be loaded before."""

    def __init__(self) -> None:
        self._loadings: OrderedDict[tuple[Path, int | None], Loading] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: str, head_start_s: float = 0.0) -> Loading:
        """The instrument of that name, loaded or on its way.

        head_start_s: how long loading leaves the processor to others first, if it is not already going on
        """
        checkpoint = checkpoint_path(model)
        key = checkpoint, checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        with self._lock:
            known = self._loadings.get(key)
            if known is None or known.error:
                self._loadings[key] = Loading(checkpoint, head_start_s)
            self._loadings.move_to_end(key)
            while len(self._loadings) > N_KEPT:
                self._loadings.popitem(last=False)
            return self._loadings[key]
