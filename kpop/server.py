"""Who listens to which song, so that a song that nobody waits for any more gives its place to another.

What goes along with the server from its start to its end.

GET /live/<id>: the sound of a song while it is made, to as many listeners as there are, without a thread for any.
"""

import asyncio
import signal
import threading
import time
import webbrowser
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kpop.constants import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from kpop.engine import Job


KEPT_S = 60.0  # a song that is made may wait so long for its listener to come
GRACE_S = 0.1  # a listener whose line broke may come back on another before the old one is missed


class Audience:
    """Counts listeners, and cancels what the last of them walked out of. Lives in one event loop, but for `expect`."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[float, Job]] = {}
        self._n_listeners: Counter[str] = Counter()
        self._streams: set[asyncio.Task] = set()

    def expect(self, job: "Job") -> None:
        """Keeps a job whose listener is on the way, even if it should be finished first. From any thread."""
        now_s = time.monotonic()
        for job_id, (since_s, _) in list(self._expected.items()):
            if now_s - since_s > KEPT_S:
                self._expected.pop(job_id, None)
        self._expected[job.id] = now_s, job

    def join(self, job: "Job", stream: asyncio.Task) -> None:
        self._n_listeners[job.id] += 1
        self._streams.add(stream)

    def leave(self, job: "Job", stream: asyncio.Task, early: bool) -> None:
        """early: before the stream was over; if nobody else listens, the song is cancelled."""
        self._n_listeners[job.id] -= 1
        self._streams.discard(stream)
        if not self._n_listeners[job.id]:
            del self._n_listeners[job.id]
            if not early:
                self._expected.pop(job.id, None)
            else:
                asyncio.get_running_loop().call_later(GRACE_S, self._give_up, job)

    def send_home(self) -> None:
        """Ends every stream: the server closes."""
        for stream in self._streams:
            stream.cancel()

    def _give_up(self, job: "Job") -> None:
        if not job.finished and not self._n_listeners[job.id]:
            job.cancel()


@cache
def audience() -> Audience:
    """The process's only one."""
    return Audience()


_served = threading.Event()


def is_served() -> bool:
    """Whether this process sends sound while it is made; otherwise a page can only show songs that are finished."""
    return _served.is_set()


def lifespan(
    audience: Audience, address: Callable[[], str | None]
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """address: of the page, to open it in the listener's browser; None where there is no screen."""

    @asynccontextmanager
    async def live(app: object) -> AsyncIterator[None]:
        _end_streams_at_once(audience)
        if opened := address():
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, opened)
        _served.set()
        yield
        _served.clear()

    return live


def _end_streams_at_once(audience: Audience) -> None:
    """On Ctrl-C: the server waits for open streams first, and a song that never ends would keep it for ever."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _then(signal.getsignal(number), lambda: loop.call_soon_threadsafe(audience.send_home)))


def _then(former: object, also: Callable[[], None]) -> Callable:
    def handle(number: int, frame: object) -> None:
        also()
        if callable(former):
            former(number, frame)

    return handle


MEDIA_TYPE = f"audio/pcm;rate={SAMPLE_RATE_HZ};encoding=signed-int;bits=16;channels=1"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that collected the pieces first would undo it all
    "Content-Encoding": "identity",  # keeps any compression on the way from doing the same
}
BYTES_PER_S = 2 * SAMPLE_RATE_HZ
LEAD_S = 10.0  # a song that never ends is sent no further ahead of its listener
STALLED_S = 60.0  # a listener who takes nothing for so long is gone
FAREWELL_S = 0.5
GONE = "This song is over: press Generate for another."


def live_route(find: Callable[[str], "Job | None"], audience: Audience, base_path: str = "") -> Route:
    """find: the job of an id; base_path: where the page lives, "" for the root.

    ?from=<piece> goes on from that piece on. 404 for an unknown id.
    """

    async def live(request: Request) -> Response:
        job = find(request.path_params["id"])
        first = request.query_params.get("from", "0")
        if job is None:
            return PlainTextResponse(GONE, 404, HEADERS)
        if not (first.isascii() and first.isdecimal()):
            return PlainTextResponse("'from' is the number of a piece, 0 or more.", 400, HEADERS)
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=MEDIA_TYPE)
        return LiveStream(job, int(first[:9]), audience)

    return Route(f"{base_path}/live/{{id}}", live, methods=["GET"])


def state_route(state: Callable[[], dict[str, int]], base_path: str = "") -> Route:
    """GET /live/state: how many songs are in the making and waiting, as JSON. Stands before the songs' own route."""

    async def live_state(request: Request) -> Response:
        return JSONResponse(state(), headers=HEADERS)

    return Route(f"{base_path}/live/state", live_state, methods=["GET"])


class LiveStream(Response):
    """The pieces of a job from number `first` on, each once it is made and those before are taken."""

    def __init__(self, job: "Job", first: int, audience: Audience) -> None:
        super().__init__(headers=HEADERS, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self.job, self.first, self.audience = job, first, audience
        self.sent_all = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        playing = asyncio.ensure_future(self._play(send))
        leaving = asyncio.ensure_future(_until_gone(receive))
        self.audience.join(self.job, playing)
        try:
            await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.audience.leave(self.job, playing, early=not self.sent_all)
            leaving.cancel()
            playing.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, OSError):
                await playing

    async def _play(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await self._play_pieces(send)
        finally:  # also when the server closes: an end that the browser understands
            async with asyncio.timeout(FAREWELL_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _play_pieces(self, send: Send) -> None:
        news, n_sent, pace = asyncio.Event(), self.first, _Pace()
        stop_news = self.job.on_news(_from_any_thread(news))
        try:
            while True:
                news.clear()
                over = self.job.all_pieces_made or self.job.finished  # asked before the pieces: none can be missed
                for piece in self.job.pieces(n_sent):
                    if self.job.endless:
                        await pace.wait(len(piece))
                    async with asyncio.timeout(STALLED_S):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    n_sent += 1
                    self.job.played(n_sent)
                if over:
                    self.sent_all = True
                    return
                await news.wait()
        finally:
            stop_news()


class _Pace:
    """Lets bytes through at the speed at which they are heard, LEAD_S ahead."""

    def __init__(self) -> None:
        self._started_s: float | None = None
        self._n_bytes = 0

    async def wait(self, n_bytes: int) -> None:
        now_s = time.monotonic()
        self._started_s = self._started_s or now_s
        ahead_s = self._n_bytes / BYTES_PER_S - (now_s - self._started_s)
        self._n_bytes += n_bytes
        if ahead_s > LEAD_S:
            await asyncio.sleep(ahead_s - LEAD_S)


def _from_any_thread(news: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(news.set)

    return tell


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
