"""Many listeners who press Generate at once, and one more visitor who only wants to see whether the page answers."""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np

from kpop.bench.listener import ROLL, Heard, Listener, Wishes
from kpop.bench.readings import Aim, Reading, several, single
from kpop.bench.server import MemoryWatch, Server
from kpop.bench.visitor import Visitor
from kpop.errors import KpopError

AIMED_SIZE = 20
FIRST_SOUND_S = {1: Aim(0.5)}
FIRST_SOUND_P95_S = {AIMED_SIZE: Aim(3.0)}
NONE_AT_ALL = Aim(0)
ONE_LISTENER_MB = Aim(700)
ROLL_EVERY_S = 0.5
SEED_NUMBER = "Seed number"


@dataclass(frozen=True)
class Evening:
    """What a crowd heard: each listener's song, and the seconds that the page took to answer one more visitor.

    own_load: share of a core that all these listeners themselves took
    """

    heard: list[Heard]
    answers_s: list[float]
    own_load: float = 0.0


def in_own_process(work: Callable, *arguments: object) -> object:
    """What work(*arguments) returns, done in a fresh process: listeners must not share one with what they measure."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def evening(address: str, n_listeners: int, length_s: float) -> Evening:
    """n_listeners press Generate at the same moment, each with wishes of their own."""
    return asyncio.run(_evening(address, n_listeners, length_s))


async def _evening(address: str, n_listeners: int, length_s: float) -> Evening:
    async with AsyncExitStack() as tabs:
        listeners = [await tabs.enter_async_context(Listener(address)) for _ in range(n_listeners)]
        for number, listener in enumerate(listeners):
            await listener.open()
            listener.wish(Wishes.of(n_listeners * 100 + number, length_s))
        answers_s: list[float] = []
        rolling = asyncio.create_task(_roll(address, answers_s))
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        try:
            heard = await asyncio.gather(*(listener.hear_a_song() for listener in listeners))
        finally:
            rolling.cancel()
        own_load = (time.process_time() - started_cpu_s) / (time.perf_counter() - started_s)
        return Evening(list(heard), answers_s, own_load)


async def _roll(address: str, answers_s: list[float]) -> None:
    """A visitor who opens the page and plays with the dice."""
    async with Visitor(address) as visitor:
        await visitor.open()
        while True:
            try:
                answers_s.append(await visitor.round_trip(ROLL, SEED_NUMBER))
            except KpopError:
                answers_s.append(np.inf)
                return
            await asyncio.sleep(ROLL_EVERY_S)


def measure(server: Server, sizes: Sequence[int], length_s: float, say: Callable[[str], None]) -> list[Reading]:
    """Readings of a crowd of each size, one after the other, on one server that is already warm."""
    readings = []
    for n_listeners in sizes:
        say(f"{n_listeners} at once, songs of {length_s:g} s")
        with MemoryWatch(server) as memory:
            heard = in_own_process(evening, server.address, n_listeners, length_s)
        readings += crowd_readings(n_listeners, length_s, heard, memory)
    return readings


def crowd_readings(n_listeners: int, length_s: float, evening: Evening, memory: MemoryWatch) -> list[Reading]:
    """The lines of one crowd."""
    part = f"crowd of {n_listeners}, songs of {length_s:g} s" if n_listeners > 1 else f"one listener, {length_s:g} s"
    heard = [one for one in evening.heard if not one.refused]
    errors = [error for one in heard for error in one.errors]
    firsts_s = [one.first_sound_s for one in heard if one.first_sound_s is not None]
    shown_s = [one.shown_s for one in heard if one.shown_s is not None]
    silent_s = sum(one.silent_s for one in heard)
    lines = [
        several(part, "first sound after the click", "s", firsts_s, FIRST_SOUND_S.get(n_listeners)),
        *_worst(part, firsts_s, FIRST_SOUND_P95_S.get(n_listeners)),
        single(part, "underruns", "", sum(one.n_underruns for one in heard), NONE_AT_ALL, _silence(silent_s)),
        several(part, "finished song shown", "s", shown_s),
        several(part, "page answers one more visitor", "s", evening.answers_s),
        single(part, "refused, because it was full", "", len(evening.heard) - len(heard)),
        single(part, "errors", "", len(errors), NONE_AT_ALL, "; ".join(sorted(set(errors)))[:200]),
        single(part, "without any sound", "", len(heard) - len(firsts_s), NONE_AT_ALL),
    ]
    if n_listeners > 1:
        lines.append(single(part, "the listeners themselves took of a core", "%", 100 * evening.own_load))
    aim = ONE_LISTENER_MB if n_listeners == 1 else None
    for name, value in (("before", memory.before_mb), ("at most", memory.peak_mb), ("after", memory.after_mb)):
        lines.append(single(part, f"server's memory {name}", "MB", value, aim if name == "at most" else None))
    return lines


def _worst(part: str, firsts_s: list[float], aim: Aim | None) -> list[Reading]:
    if len(firsts_s) < 2:
        return []
    p95_s = float(np.percentile(firsts_s, 95))
    note = f"mean {statistics.fmean(firsts_s):.2f} s, latest {max(firsts_s):.2f} s"
    return [single(part, "first sound, 95th percentile", "s", p95_s, aim, note)]


def _silence(silent_s: float) -> str:
    return f"{silent_s:.1f} s of silence in all" if silent_s else ""
