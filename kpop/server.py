"""GET /songs/<id>.wav: a song as a WAV file that can be played, sought and downloaded while it is still being made.

The header states the final length before the first sample exists, so the bytes sent during generation are the file.
"""

import asyncio
import re
import secrets
import signal
import threading
import time
import weakref
import webbrowser
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kpop.audio.io import BYTES_PER_S, MAX_WAV_BYTES, SAMPLE_WIDTH_BYTES, wav_header
from kpop.generation.clips import clip_path, is_built_in

if TYPE_CHECKING:
    from kpop.engine import PcmBuffer

CHUNK_BYTES = 1 << 16
LEAD_S = 12.0  # an endless song is sent no further ahead of its listener; Chromium starts once it has 7.2 s
STALLED_S = 600.0  # a listener who takes nothing for so long has not paused but is gone
GRACE_S = 1.0  # an endless song without a listener is cancelled after this
CLOSE_S = 0.5
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy must not collect the response before it passes it on
    "Content-Encoding": "identity",  # keeps compressing middleware away
}
NOT_FOUND = "This song is over: press Generate for another."

_files: "weakref.WeakValueDictionary[str, SongFile]" = weakref.WeakValueDictionary()
_expired: deque[str] = deque(maxlen=1000)  # ids
_streams: set[asyncio.Task] = set()


class SongFile:
    """A song's WAV file under an unguessable URL, which expires when nothing (the session state) refers to it any more.

    tags: see wav_header; cancel: called once, when the file is dropped or the last listener of an endless song has
    left; must not refer to the file
    """

    def __init__(self, pcm: "PcmBuffer", file_name: str, tags: Mapping[str, str], cancel: Callable[[], None]) -> None:
        self.pcm, self.file_name = pcm, file_name
        self.header = wav_header(pcm.n_samples, tags)
        self.n_bytes = None if pcm.n_samples is None else len(self.header) + SAMPLE_WIDTH_BYTES * pcm.n_samples
        self.id, self.n_listeners = secrets.token_urlsafe(12), 0
        self.cancel = weakref.finalize(self, cancel)
        _files[self.id] = self
        weakref.finalize(self, _expired.append, self.id)

    def url(self, base_path: str = "") -> str:
        """base_path: of the page on its server, "" for the root."""
        return f"{base_path}/songs/{self.id}.wav"

    def read(self, start: int = 0, stop: int = MAX_WAV_BYTES) -> bytes:
        """Bytes start to stop of the file, as far as they have been made."""
        n = len(self.header)
        return self.header[start:stop] + self.pcm.read(max(start - n, 0), max(stop - n, 0))


def song_routes(state: Callable[[], dict[str, int]], base_path: str = "") -> list[Route]:
    """/songs/state: how busy the engine is, as JSON. /songs/<id>.wav: one Range; ?download=1: attachment; 204 if it
    has expired, else 404. /clips/<name>.flac: a built-in seed clip.
    """

    async def engine_state(request: Request) -> Response:
        return JSONResponse(state(), headers=HEADERS)

    async def song(request: Request) -> Response:
        file = _files.get(request.path_params["id"])
        is_download = bool(request.query_params.get("download"))
        if file is None and request.path_params["id"] in _expired and not is_download:
            return Response(status_code=204, headers=HEADERS)  # a player was late, which is no error to be logged
        if file is None:
            return PlainTextResponse(NOT_FOUND, 404, HEADERS)
        headers = HEADERS | ({} if file.n_bytes is None else {"Accept-Ranges": "bytes"})
        if is_download:
            headers["Content-Disposition"] = f'attachment; filename="{file.file_name}"'
        span = file.n_bytes and byte_range(request.headers.get("range", ""), file.n_bytes)
        if not span:
            return SongResponse(file, 0, file.n_bytes, 200, headers)
        start, stop = span
        if start >= stop:
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{file.n_bytes}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.n_bytes}"
        return SongResponse(file, start, stop, 206, headers)

    async def clip(request: Request) -> Response:
        name = request.path_params["name"]
        return FileResponse(clip_path(name)) if is_built_in(name) else PlainTextResponse(NOT_FOUND, 404)

    return [
        Route(f"{base_path}/songs/state", engine_state),
        Route(f"{base_path}/songs/{{id}}.wav", song),
        Route(clip_url("{name}", base_path), clip),
    ]


def clip_url(name: str, base_path: str = "") -> str:
    """Of a built-in seed clip's sound."""
    return f"{base_path}/clips/{name}.flac"


def byte_range(header: str, n_bytes: int) -> tuple[int, int] | None:
    """(start, stop) of a Range header with one range (RFC 9110, section 14); None: answer with the whole file.

    start >= stop: the range cannot be satisfied.
    """
    found = re.fullmatch(r"bytes=([0-9]{0,15})-([0-9]{0,15})", header)
    first, last = found.groups() if found else ("", "")
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    if not first:
        return max(n_bytes - int(last), 0), n_bytes
    return int(first), min(int(last) + 1, n_bytes) if last else n_bytes


class SongResponse(StreamingResponse):
    """Bytes start to stop of a song file, each as soon as it is made; stop None: for as long as somebody listens."""

    def __init__(self, file: SongFile, start: int, stop: int | None, status: int, headers: Mapping[str, str]) -> None:
        length = {} if stop is None else {"Content-Length": str(stop - start)}
        super().__init__((), status, {**headers, **length}, "audio/wav")
        self.file, self.start, self.stop = file, start, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            return await send({"type": "http.response.body"})
        file, loop = self.file, asyncio.get_running_loop()
        sending, leaving = loop.create_task(self._send_body(send)), loop.create_task(_disconnected(receive))
        _streams.add(sending)
        file.n_listeners += 1
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self.stop and sending.done() and not sending.cancelled() and sending.result() < self.stop:
                # The song was cancelled. An end short of the promised length would be an error: the browser turns away.
                await asyncio.wait({leaving}, timeout=STALLED_S)
        finally:
            file.n_listeners -= 1
            if self.stop is None:  # an audio element opens and closes several requests for a song of known length
                loop.call_later(GRACE_S, lambda: file.n_listeners or file.cancel())
            leaving.cancel(), sending.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, OSError):
                await sending
            _streams.discard(sending)

    async def _send_body(self, send: Send) -> int:
        """Returns the position in the file that was reached; short of `stop` the response stays incomplete."""
        pcm, n_header, position = self.file.pcm, len(self.file.header), self.start
        loop, changed, started_s, n_sent = asyncio.get_running_loop(), asyncio.Event(), time.monotonic(), 0

        def notify() -> None:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(changed.set)

        try:
            with pcm.subscribed(notify):
                while self.stop is None or position < self.stop:
                    changed.clear()
                    closed = pcm.closed  # read before the bytes: none can be missed
                    if position >= n_header:  # a late listener of an endless song joins where it is now
                        position = max(position, n_header + pcm.n_dropped)
                    end = min(position + CHUNK_BYTES, n_header + pcm.n_bytes, self.stop or MAX_WAV_BYTES)
                    if end > position:
                        ahead_s = n_sent / BYTES_PER_S - (time.monotonic() - started_s) - LEAD_S
                        await asyncio.sleep(ahead_s if self.stop is None else 0)  # 0: a closed connection is noticed
                        async with asyncio.timeout(STALLED_S):
                            body = self.file.read(position, end)
                            await send({"type": "http.response.body", "body": body, "more_body": True})
                        position, n_sent = end, n_sent + len(body)
                        pcm.mark_read(end - n_header)
                    elif closed:
                        break
                    else:
                        await changed.wait()
        finally:
            if self.stop is None or position == self.stop:
                async with asyncio.timeout(CLOSE_S):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        return position


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def lifespan(app: object, address: Callable[[], str | None], start: Callable[[], object]) -> AsyncIterator[None]:
    """address: of the page, to be opened in the browser of this computer; None where there is no screen.

    start: called once, before the first request.
    """
    loop = asyncio.get_running_loop()

    def end_streams(former: object, number: int, frame: object) -> None:
        loop.call_soon_threadsafe(lambda: [stream.cancel() for stream in _streams])
        if callable(former):
            former(number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):  # Uvicorn waits for open responses, also of endless songs
            signal.signal(number, partial(end_streams, signal.getsignal(number)))
    start()
    if opened := address():
        loop.run_in_executor(None, webbrowser.open, opened)
    yield
