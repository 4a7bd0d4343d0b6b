"""A listener's song on its way through the engine."""

import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kpop.audio.files import SAMPLE_WIDTH_BYTES
from kpop.engine.voices import Loading
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip
from kpop.generation.settings import GeneratedSong, Settings
from kpop.grid import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from kpop.generation.dream import Dream

CANCELLED = "This was cancelled: start it again."
MOST_KEPT_PIECES = 32  # of a song that never ends: a minute that nobody has fetched yet


class Job:
    """A song that was asked for: its sound as it is made, and in the end the whole song.

    id: unguessable name of its stream; place_in_queue: 0 once it is being made, 1 for the next one to be
    n_samples: of the whole song, None if it never ends; error: why there is no song, None while all is well
    Callable from any thread. What begins with an underscore is the engine's.
    """

    def __init__(
        self, settings: Settings, clip: SeedClip, endless: bool, voice: Loading, on_cancel: Callable[["Job"], None]
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.settings, self.clip, self.endless = settings, clip, endless
        self.n_samples = None if endless else round(settings.length_s * SAMPLE_RATE_HZ)
        self.place_in_queue = 0
        self.error: KpopError | None = None
        self.asked_at_s = time.monotonic()
        self.first_sound_at_s: float | None = None
        self._voice, self._on_cancel = voice, on_cancel
        self._dream: Dream | None = None
        self._place: int | None = None
        self._admitted_at_s = 0.0
        self._lock = threading.Lock()
        self._pieces: list[bytes] = []
        self._n_forgotten = 0
        self._all_pieces_made = False
        self._song: GeneratedSong | None = None
        self._finished = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._last_listened_s = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether there will be no more news: the song is there, or there is an error."""
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        return self.error is not None and str(self.error) == CANCELLED

    @property
    def all_pieces_made(self) -> bool:
        return self._all_pieces_made

    @property
    def fraction(self) -> float:
        """Share of the song that has its sound, 0 to 1."""
        dream = self._dream
        if not dream or not self.n_samples:
            return float(self.finished and not self.error)
        return dream.n_sounded / self.n_samples

    @property
    def words(self) -> str:
        """What is going on, for a progress line."""
        if self.place_in_queue:
            return f"Number {self.place_in_queue} in the queue"
        if not self._voice.finished:
            return self._voice.words
        return "Mastering" if self._all_pieces_made else "Dreaming up the song"

    def cancel(self) -> None:
        """Give it up; its place is free at once."""
        if self._end(error=KpopError(CANCELLED)):
            self._on_cancel(self)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, timeout_s at most; True once it has come."""
        return self._finished.wait(timeout_s)

    def result(self) -> GeneratedSong:
        """The finished song; waits for it. Raises KpopError if it failed or was cancelled."""
        self._finished.wait()
        if self.error:
            raise self.error
        return self._song

    def pieces(self, start: int) -> list[bytes]:
        """Sound made so far, from piece number `start` on: 16-bit little-endian mono PCM at 16 kHz."""
        with self._lock:
            return self._pieces[max(start - self._n_forgotten, 0) :]

    def played(self, n_pieces: int) -> None:
        """The first n_pieces have reached the listener; of a song that never ends they are forgotten."""
        if self.endless:
            with self._lock:
                n_now = min(max(n_pieces - self._n_forgotten, 0), len(self._pieces))
                del self._pieces[:n_now]
                self._n_forgotten += n_now

    def on_news(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls callback() from the engine's threads whenever something has changed. Returns what ends that."""
        with self._lock:
            self._listeners.append(callback)

        def end() -> None:
            with self._lock:
                self._listeners.remove(callback)
                self._last_listened_s = time.monotonic()

        return end

    @property
    def _lead_s(self) -> float:
        """How far the sound is ahead of a listener who hears it from its first piece on; -inf before that.

        Of a song that never ends at least what is in store: its listener may have been away for a while.
        """
        dream, started_s = self._dream, self.first_sound_at_s
        if not dream or started_s is None:
            return float("-inf")
        ahead_s = dream.n_sounded / SAMPLE_RATE_HZ - (time.monotonic() - started_s)
        return max(ahead_s, self._stored_s) if self.endless else ahead_s

    @property
    def _stored_s(self) -> float:
        """Seconds of sound that have not been fetched yet."""
        with self._lock:
            return sum(map(len, self._pieces)) / (SAMPLE_WIDTH_BYTES * SAMPLE_RATE_HZ)

    @property
    def _has_enough(self) -> bool:
        """Whether a song that never ends has as much sound in store as may be."""
        return self.endless and len(self._pieces) >= MOST_KEPT_PIECES

    @property
    def _unheard_s(self) -> float:
        """Seconds since anyone listened; 0 while somebody does."""
        return 0.0 if self._listeners else time.monotonic() - self._last_listened_s

    def _add_piece(self, piece: bytes, last: bool) -> None:
        with self._lock:
            self._pieces.append(piece) if piece else None
            self._all_pieces_made = last
        if piece and self.first_sound_at_s is None:
            self.first_sound_at_s = time.monotonic()
        self._tell()

    def _end(self, song: GeneratedSong | None = None, error: KpopError | None = None) -> bool:
        """The song, or why there is none; False if it had ended before."""
        with self._lock:
            if self.finished:
                return False
            self._song, self.error, self._dream = song, error, None
            self._finished.set()
        self._tell()
        return True

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
