"""A cold start: from the command to a page that can be used, and to the first sound."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from kpop.bench.browser import Browser, browser
from kpop.bench.crowd import FIRST_SOUND_S, in_own_process
from kpop.bench.listener import Listener, Wishes
from kpop.bench.readings import Aim, Reading, several
from kpop.bench.server import Server

SONG_S = 12.0
USABLE_S = Aim(2.0)


@dataclass(frozen=True)
class Start:
    """Seconds: from the command to a page that can be used, from asking for the page to the same, from the first click
    in a fresh process to sound, and from a later one; None for a sound that never came."""

    from_command_s: float
    usable_s: float
    first_click_s: float | None
    later_click_s: float | None


def measure(n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Readings of n_rounds cold starts, in a browser where there is one."""
    starts = []
    with browser() as found:
        for number in range(n_rounds):
            say(f"cold start {number + 1} of {n_rounds}, {_who(found)}")
            with Server() as server:
                starts.append(_in_browser(found, server) if found else _without_browser(server))
    part = f"cold start, {_who(found)}"
    return [
        several(part, "command to usable page", "s", (start.from_command_s for start in starts), USABLE_S),
        several(part, "usable after the page is asked for", "s", (start.usable_s for start in starts), USABLE_S),
        several(part, "first click at once, to first sound", "s", _there(start.first_click_s for start in starts)),
        several(
            part,
            "a later click, to first sound",
            "s",
            _there(start.later_click_s for start in starts),
            FIRST_SOUND_S[1],
        ),
    ]


def _who(found: Browser | None) -> str:
    return "in Chromium" if found else "by a client without a browser"


def _there(values) -> list[float]:
    return [value for value in values if value is not None]


def _in_browser(found: Browser, server: Server) -> Start:
    usable_s = found.open(server.address)
    from_command_s = time.perf_counter() - server.started_s
    try:
        first_click_s = found.first_sound_s()
        found.wait_for_song()
        return Start(from_command_s, usable_s, first_click_s, found.first_sound_s())
    finally:
        found.close_tab()


def _without_browser(server: Server) -> Start:
    asked_s = time.perf_counter() - server.started_s
    usable_s, first_click_s, later_click_s = in_own_process(visit, server.address)
    return Start(asked_s + usable_s, usable_s, first_click_s, later_click_s)


def visit(address: str) -> tuple[float, float | None, float | None]:
    """Open the page and hear two songs: (usable_s, first sound of the one, of the other)."""
    return asyncio.run(_visit(address))


async def _visit(address: str) -> tuple[float, float | None, float | None]:
    async with Listener(address) as listener:
        usable_s, firsts_s = await listener.open(), []
        for number in range(2):
            listener.wish(Wishes(seed_number=number, length_s=SONG_S))
            firsts_s.append((await listener.hear_a_song()).first_sound_s)
        return usable_s, *firsts_s
