"""Half an hour of coming and going: does anything fail, grow, or get lost?"""

import asyncio
import json
import multiprocessing
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from itertools import pairwise

import numpy as np

from kpop.bench.habits import Turn, listen_until
from kpop.bench.listener import Heard, Listener, Wishes
from kpop.bench.readings import Aim, Reading, single
from kpop.bench.server import Server

N_LISTENERS = 20
SETTLING_SHARE = 1 / 6  # of the soak: five minutes of thirty, after which memory is not to grow
N_WINDOWS = 6
FIRST_SOUND_P95_S, NONE_AT_ALL, GROWTH, SLOPE_MB_A_MINUTE = Aim(3.0), Aim(0), Aim(1.1), Aim(2.0)
EMPTY_WITHIN_S = 30.0
LAST_SONG_S = 8.0
STATE = "/live/state"
TRACEBACK = "Traceback (most recent call last):"


def soak(minutes: float, say: Callable[[str], None], n_listeners: int = N_LISTENERS) -> list[Reading]:
    """n_listeners come, tweak, cancel and leave on a server of its own for so many minutes."""
    with Server() as server:
        return soak_on(server, minutes, say, n_listeners)


def soak_on(server: Server, minutes: float, say: Callable[[str], None], n_listeners: int) -> list[Reading]:
    """The same on a server that runs."""
    part = f"soak of {minutes:g} minutes, {n_listeners} listeners"
    hear_one(server.address)  # loads the weights
    turns, memory = _come_and_go(server, minutes * 60, n_listeners, say)
    left = _left_over(server)
    last = hear_one(server.address)
    failures = failures_in(server.log())
    return [
        *_of_turns(part, turns, minutes * 60),
        single(part, "failures in the server's log", "", len(failures), NONE_AT_ALL, "; ".join(failures[:2])[:200]),
        *_of_memory(part, memory, minutes * 60),
        left_over_reading(part, left, last),
        single(part, "first sound for one who comes last", "s", _or_nan(last.first_sound_s), FIRST_SOUND_P95_S),
    ]


def hear_one(address: str) -> Heard:
    """One listener's short song, heard from this process."""

    async def hear() -> Heard:
        async with Listener(address) as listener:
            await listener.open()
            listener.wish(Wishes(length_s=LAST_SONG_S, seed_number=int(time.time())))
            return await listener.hear_a_song()

    return asyncio.run(hear())


def come_and_go(address: str, length_s: float, n_listeners: int) -> list[Turn]:
    """All turns of n_listeners chairs in length_s."""

    async def all_chairs() -> list[Turn]:
        turns, started_s = [], time.perf_counter()
        await asyncio.gather(*(listen_until(address, n, started_s, length_s, turns) for n in range(n_listeners)))
        return turns

    return asyncio.run(all_chairs())


def _come_and_go(
    server: Server, length_s: float, n_listeners: int, say: Callable[[str], None]
) -> tuple[list[Turn], list[tuple[float, float]]]:
    """Every turn, and (seconds since the start, megabytes) of the server, sixty times at least."""
    memory, started_s, every_s = [], time.perf_counter(), min(10.0, length_s / 60)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        future: Future[list[Turn]] = pool.submit(come_and_go, server.address, length_s, n_listeners)
        told_s = 0.0
        while not wait([future], every_s).done:
            memory.append((time.perf_counter() - started_s, server.memory_mb()))
            if memory[-1][0] - told_s >= 60:
                told_s = memory[-1][0]
                say(f"soak: {told_s / 60:.0f} min, {memory[-1][1]:.0f} MB")
        return future.result(), memory


def engine_state(address: str) -> dict[str, int] | None:
    """What the engine says of itself; None where the server does not tell."""
    try:
        with urllib.request.urlopen(address + STATE, timeout=5) as answer:
            return json.load(answer)
    except (urllib.error.HTTPError, ValueError):
        return None


def failures_in(log: str) -> list[str]:
    """The last line of every traceback in a log, which names the exception and what it says."""
    lines = log.splitlines()
    starts = [number for number, line in enumerate(lines) if TRACEBACK in line]
    ends = (next((line for line in lines[start + 1 :] if line[:1].strip()), "cut off") for start in starts)
    return list(ends)


def _left_over(server: Server) -> dict[str, int] | None:
    """The engine's state once it is empty, or EMPTY_WITHIN_S after everybody has left."""
    deadline = time.monotonic() + EMPTY_WITHIN_S
    while (state := engine_state(server.address)) and _n_busy(state) and time.monotonic() < deadline:
        time.sleep(0.5)
    return state


def _n_busy(state: dict[str, int]) -> int:
    return state.get("running", 0) + state.get("waiting", 0) + state.get("finishing", 0)


def left_over_reading(part: str, state: dict[str, int] | None, last: Heard) -> Reading:
    """Songs that still take a place when nobody is there. Without the engine's word: whether one more song is made."""
    name = "songs left over when all have gone"
    if state is None:
        note = "the server does not tell: judged by whether one more song is heard"
        return single(part, name, "", float(last.first_sound_s is None), NONE_AT_ALL, note)
    lost = state.get("places", 0) - state.get("free", 0) - state.get("running", 0)
    words = ", ".join(f"{key} {value}" for key, value in state.items())
    return single(part, name, "", _n_busy(state) + lost, NONE_AT_ALL, words)


def _of_turns(part: str, turns: list[Turn], length_s: float) -> list[Reading]:
    errors = [f"{turn.habit}: {error}" for turn in turns for error in turn.heard.errors]
    kinds = {habit: sum(turn.habit == habit for turn in turns) for habit in sorted({turn.habit for turn in turns})}
    dry = ", ".join(f"{turn.habit} {turn.heard.n_underruns}" for turn in turns if turn.heard.n_underruns)[:200]
    unheard = [turn.habit for turn in turns if turn.heard.first_sound_s is None and not turn.heard.refused]
    readings = [
        single(part, "songs asked for", "", len(turns), note=", ".join(f"{n} {habit}" for habit, n in kinds.items())),
        single(part, "errors", "", len(errors), NONE_AT_ALL, "; ".join(sorted(set(errors)))[:300]),
        single(part, "refused, because it was full", "", sum(turn.heard.refused for turn in turns)),
        single(part, "never heard, though not refused", "", len(unheard), NONE_AT_ALL, ", ".join(unheard)[:200]),
        single(part, "underruns", "", sum(turn.heard.n_underruns for turn in turns), NONE_AT_ALL, dry),
    ]
    edges_s = np.linspace(0, length_s, N_WINDOWS + 1)
    for start_s, stop_s in pairwise(edges_s):
        asked = [turn.heard for turn in turns if start_s <= turn.at_s < stop_s and not turn.heard.refused]
        heard_s = [heard.first_sound_s for heard in asked if heard.first_sound_s is not None]
        name = f"first sound, 95th percentile, minute {start_s / 60:.3g} to {stop_s / 60:.3g}"
        p95_s = float(np.percentile(heard_s, 95)) if heard_s else np.nan
        aim = FIRST_SOUND_P95_S if asked else None
        readings.append(single(part, name, "s", p95_s, aim, f"{len(heard_s)} of {len(asked)} songs heard"))
    return readings


def _of_memory(part: str, memory: list[tuple[float, float]], length_s: float) -> list[Reading]:
    """Memory once settled and at the end, medians of a sixth of the soak each, and the slope between."""
    times_s, mb = np.array(memory).T
    settled = times_s >= length_s * SETTLING_SHARE
    early = mb[settled & (times_s < 2 * length_s * SETTLING_SHARE)]
    late = mb[times_s >= length_s * (1 - SETTLING_SHARE)]
    ratio = float(np.median(late) / np.median(early))
    slope = float(np.polyfit(times_s[settled] / 60, mb[settled], 1)[0])
    by_minute = [f"{mb[(times_s // 60) == minute].mean():.0f}" for minute in np.unique(times_s // 60)]
    after = f"minute {length_s * SETTLING_SHARE / 60:.3g}"
    return [
        single(part, "server's memory at most", "MB", mb.max(), note="by the minute: " + " ".join(by_minute)),
        single(part, f"memory at the end over that after {after}", "x", ratio, GROWTH),
        single(part, f"growth of memory after {after}", "MB/min", slope, SLOPE_MB_A_MINUTE),
    ]


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
