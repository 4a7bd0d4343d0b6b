"""What listeners do in the long run: hear a song out, tweak in the middle, press twice, walk off, let it play on."""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace

from kpop.bench.listener import Heard, Listener, Wishes
from kpop.errors import KpopError

ENDLESS = "Endless"
LENGTHS_S = (4.0, 12.0, 30.0, 30.0, 60.0)
HABITS = {"hears it out": 8, "tweaks": 4, "presses twice": 2, "walks off": 3, "lets it play on": 2}
TURNS_A_VISIT = 4  # on average, before the tab is closed and somebody else comes
TWEAK_AFTER_S = 3.0  # at most
WALK_OFF_AFTER_S = 6.0  # of sound, at most
PLAY_ON_S = 25.0  # of sound, at most
PAUSE_S = 2.0  # on average, between a song and the next wishes


@dataclass
class Turn:
    """One song's worth of a listener. at_s: since the soak began; habit: see HABITS; heard: of its last song."""

    at_s: float
    habit: str
    heard: Heard = field(default_factory=Heard)


async def listen_until(address: str, number: int, started_s: float, length_s: float, turns: list[Turn]) -> None:
    """One listener after the other on one chair, until length_s after started_s (on time.perf_counter())."""
    rng = random.Random(number)
    while (left_s := started_s + length_s - time.perf_counter()) > 0:
        turn = Turn(time.perf_counter() - started_s, "comes")
        try:
            async with Listener(address) as listener:
                await listener.open()
                while left_s > 0:
                    turn = Turn(time.perf_counter() - started_s, rng.choices(list(HABITS), list(HABITS.values()))[0])
                    turns.append(turn)
                    stays = await _take_turn(listener, turn, rng, left_s)
                    left_s = started_s + length_s - time.perf_counter()
                    if not stays or rng.random() < 1 / TURNS_A_VISIT:
                        break
                    await asyncio.sleep(min(rng.expovariate(1 / PAUSE_S), max(left_s, 0)))
        except (KpopError, OSError) as error:
            turn.heard.errors.append(str(error))
            turns.append(turn) if turn not in turns else None
            await asyncio.sleep(PAUSE_S)


async def _take_turn(listener: Listener, turn: Turn, rng: random.Random, left_s: float) -> bool:
    """One habit; False when the listener leaves the page in the middle of a song."""
    wishes = Wishes.of(rng.randrange(10_000), rng.choice(LENGTHS_S))
    listener.wish(wishes)
    if listener.view.widget(ENDLESS):
        listener.choose(ENDLESS, turn.habit == "lets it play on")
    if turn.habit in ("tweaks", "presses twice"):
        first = asyncio.create_task(listener.hear_a_song())
        await asyncio.sleep(rng.uniform(0, TWEAK_AFTER_S) if turn.habit == "tweaks" else 0.05)
        first.cancel()
        listener.wish(replace(wishes, temperature=rng.uniform(0.6, 1.4), randomness=rng.random()))
        await asyncio.wait({first})
    most_s = {"walks off": WALK_OFF_AFTER_S, "lets it play on": PLAY_ON_S}.get(turn.habit)
    began_s = time.perf_counter()
    turn.heard = await listener.hear_a_song(most_s and min(rng.uniform(0.5, most_s), wishes.length_s))
    if most_s is None and turn.heard.first_sound_s is not None:
        rest_s = turn.heard.first_sound_s + wishes.length_s - (time.perf_counter() - began_s)
        await asyncio.sleep(max(0.0, min(rest_s, left_s)))  # the song plays to its end
    return turn.habit != "walks off"
