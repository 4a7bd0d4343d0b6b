"""One visitor's tab without a browser: it speaks the page's websocket, so that the page's script really runs."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from kpop.bench.protocol import Value, View, rerun, state_of
from kpop.errors import KpopError

PATIENCE_S = 120.0
SOCKET = "/_stcore/stream"


class Visitor:
    """A tab on the page at an address such as http://localhost:8501; an async context manager that closes it.

    view: what the tab shows by now
    """

    def __init__(self, address: str) -> None:
        self.address, self.view = address, View()
        self._changed = asyncio.Condition()
        self._timers: dict[str, asyncio.Task] = {}
        self._closed = False

    async def __aenter__(self) -> "Visitor":
        url = self.address.replace("http", "ws", 1) + SOCKET
        self._socket: ClientConnection = await connect(url, max_size=None, compression=None, open_timeout=PATIENCE_S)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._timers.values(), self._reader):
            task.cancel()
        await self._socket.close()

    async def open(self, query: str = "", usable: str = "Generate") -> float:
        """Ask for the page and wait for the button that it is all about; the seconds that took."""
        started_s = time.perf_counter()
        await self._socket.send(rerun(self.view, query=query))
        await self.until(lambda view: view.widget(usable) is not None)
        return time.perf_counter() - started_s

    async def press(self, label: str) -> float:
        """Press the button of that label; the moment of the click on time.perf_counter()."""
        button = self.view.widget(label)
        if button is None:
            raise KpopError(f"The page has no button called {label}.")
        self.view.forget_errors()
        clicked_s = time.perf_counter()
        await self._socket.send(rerun(self.view, button))
        return clicked_s

    async def round_trip(self, button: str, changes: str) -> float:
        """Press a button and wait until the widget that it changes is drawn again; the seconds that took."""
        before = self.view.widget(changes)
        clicked_s = await self.press(button)
        await self.until(lambda view: view.widget(changes) is not before)
        return time.perf_counter() - clicked_s

    def choose(self, label: str, value: Value) -> None:
        """Set a widget. The page hears of it with the next press, as of every widget that starts no run by itself."""
        widget = self.view.widget(label)
        if widget is None:
            raise KpopError(f"The page has nothing called {label}.")
        state = state_of(widget, value)
        self.view.own_values[state.id] = state

    async def until(self, condition: Callable[[View], object], patience_s: float = PATIENCE_S) -> None:
        """Wait until the view is as wanted. KpopError when that takes longer than patience_s or the tab is cut off."""
        try:
            async with asyncio.timeout(patience_s), self._changed:
                await self._changed.wait_for(lambda: self._closed or condition(self.view))
        except TimeoutError:
            raise KpopError(f"The page did not answer within {patience_s:g} s.") from None
        if self._closed and not condition(self.view):
            raise KpopError("The page closed the connection.")

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                self.view.take(data)
                self._wind_timers()
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        finally:
            self._closed = True
            with suppress(asyncio.CancelledError):
                async with self._changed:
                    self._changed.notify_all()

    def _wind_timers(self) -> None:
        """Fragments that the page wants to be run every few seconds: the browser asks for each of these runs."""
        for fragment in self._timers.keys() - self.view.timers.keys():
            self._timers.pop(fragment).cancel()
        for fragment in self.view.timers.keys() - self._timers.keys():
            self._timers[fragment] = asyncio.create_task(self._tick(fragment, self.view.timers[fragment]))

    async def _tick(self, fragment: str, every_s: float) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(every_s)
                await self._socket.send(rerun(self.view, fragment=fragment))
