"""GET /live/<id>: the sound of a song while it is made, to as many listeners as there are, without a thread for any."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kpop.grid import SAMPLE_RATE_HZ
from kpop.serve.audience import Audience

if TYPE_CHECKING:
    from kpop.engine.job import Job

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
