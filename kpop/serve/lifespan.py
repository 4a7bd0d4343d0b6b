"""What goes along with the server from its start to its end."""

import asyncio
import signal
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from kpop.serve.audience import Audience

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
