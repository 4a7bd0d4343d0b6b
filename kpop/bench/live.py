"""A song's live stream as a player hears it: read by HTTP, played on a clock of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from kpop.errors import KpopError
from kpop.grid import SAMPLE_RATE_HZ

HEAD_START_S = 0.4  # of sound that a player gathers before it begins, and begins again after it ran dry
BYTES_PER_SAMPLE = 2
BLOCK_BYTES = 1 << 16
END_OF_LINE = b"\r\n"


@dataclass
class Playback:
    """A player that begins with HEAD_START_S of sound, stops when nothing is left, and goes on with as much again.

    first_sound_s: the moment at which it began, on the caller's clock; None before
    n_underruns: how often it ran dry before the end; silent_s: for how long in all; received_s: of sound, so far
    """

    first_sound_s: float | None = None
    n_underruns: int = 0
    silent_s: float = 0.0
    received_s: float = 0.0
    _position_s: float = 0.0
    _at_s: float = 0.0  # when it was at _position_s
    _playing: bool = False

    def arrive(self, now_s: float, n_bytes: int) -> None:
        """Sound has come at now_s."""
        if self._playing:
            self._play_on(now_s)
        self.received_s += n_bytes / (BYTES_PER_SAMPLE * SAMPLE_RATE_HZ)
        if not self._playing and self.received_s - self._position_s >= HEAD_START_S - 1e-9:
            self._begin(now_s)

    def end(self, now_s: float) -> None:
        """Nothing more is to come: what is there is played, however little."""
        if not self._playing and self.received_s > self._position_s:
            self._begin(now_s)

    def _play_on(self, now_s: float) -> None:
        dry_at_s = self._at_s + self.received_s - self._position_s
        if now_s > dry_at_s:
            self.n_underruns += 1
            self._playing, self._position_s, self._at_s = False, self.received_s, dry_at_s
        else:
            self._position_s, self._at_s = self._position_s + now_s - self._at_s, now_s

    def _begin(self, now_s: float) -> None:
        if self.first_sound_s is None:
            self.first_sound_s = now_s
        else:
            self.silent_s += now_s - self._at_s
        self._playing, self._at_s = True, now_s


async def play(address: str, path: str, most_s: float | None = None) -> Playback:
    """Play a live stream to its end, or until most_s of sound have come: then hang up as a listener who leaves."""
    playback = Playback()
    async with aclosing(read_body(address, path)) as body:
        async for block in body:
            playback.arrive(time.perf_counter(), len(block))
            if most_s is not None and playback.received_s >= most_s:
                return playback
    playback.end(time.perf_counter())
    return playback


async def read_body(address: str, path: str) -> AsyncIterator[bytes]:
    """The body of an HTTP answer, block by block as it comes. KpopError unless its status is 200."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(END_OF_LINE * 2)).decode("latin-1").lower()
        if head.split()[1] != "200":
            raise KpopError(f"{path} was answered with {head.splitlines()[0]}.")
        blocks = _chunks(reader) if "transfer-encoding: chunked" in head else _rest(reader)
        async for block in blocks:
            yield block
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        raise KpopError(f"{path} was cut off in the middle.") from error
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Chunked transfer coding (RFC 9112, 7.1)."""
    while n_bytes := int((await reader.readuntil(END_OF_LINE)).split(b";")[0], 16):
        yield (await reader.readexactly(n_bytes + len(END_OF_LINE)))[:n_bytes]


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while block := await reader.read(BLOCK_BYTES):
        yield block
