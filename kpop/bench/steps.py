"""One step of the LSTM, for one song and for many at once, against how fast its weights can be read at all."""

import time
from collections.abc import Callable

import numpy as np

from kpop.bench.machine import LARGE_BYTES, Reader
from kpop.bench.readings import Aim, Reading, several
from kpop.engine.engine import N_STEP_THREADS
from kpop.generation.instrument import Instrument
from kpop.lstm.network import CodeLstm
from kpop.lstm.places import Places, Stride

MANY = 20
STRIDE_STEPS = 16
LEAST = 0.03
BATCH_GAIN, SHARE_OF_MEMORY = Aim(6.0, at_most=False), Aim(70.0, at_most=False)


def weight_bytes(model: CodeLstm) -> int:
    """What a step has to read at least: its matrices in eight bits. Of a table it reads but a few rows."""
    return sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "table" not in name)


def taking_turns(instrument: Instrument, n_rounds: int) -> tuple[np.ndarray, ...]:
    """Seconds (n_rounds,) each: of a step of one song, of MANY songs on one thread and as the engine steps them, of
    reading the weights alone from the cache, and at the speed of memory."""
    ways = ((1, 1), (MANY, 1), (MANY, N_STEP_THREADS))
    halls = [(n_songs, instrument.places(n_songs, n_threads)) for n_songs, n_threads in ways]
    n_bytes = weight_bytes(instrument.lstm)
    readers, rows = (Reader(n_bytes), Reader(LARGE_BYTES)), []
    for round_number in range(n_rounds + 1):
        row = []
        for n_songs, hall in halls:
            strides = [_stride(instrument, place, round_number) for place in range(n_songs)]
            row.append(_timed(hall, strides))
        rows.append([*row, *(n_bytes / reader.bytes_per_s() for reader in readers)])
    return tuple(np.array(rows[1:]).T)  # the first round warmed up


def _timed(hall: Places, strides: list[Stride]) -> float:
    started = time.perf_counter()
    hall.run(strides)
    return (time.perf_counter() - started) / STRIDE_STEPS


def _stride(instrument: Instrument, place: int, round_number: int) -> Stride:
    rng = np.random.default_rng([place, round_number])
    start = round_number * STRIDE_STEPS
    return Stride(
        place,
        instrument.slots(0, start, start + STRIDE_STEPS),
        draws=rng.random((STRIDE_STEPS, instrument.n_streams)),
        temperature=1.0,
        least=LEAST,
        kinds=np.zeros(STRIDE_STEPS, np.int64),
    )


def measure(instrument: Instrument, n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Milliseconds a step, its weights' share of the memory's speed, and what stepping many songs together gains."""
    say(f"stepping 1 and {MANY} songs")
    one_s, many_s, engine_s, cached_s, memory_s = taking_turns(instrument, n_rounds)
    part = f"a step of the LSTM, {weight_bytes(instrument.lstm) / 1e6:.1f} MB of weights"
    return [
        several(part, "one song", "ms", 1e3 * one_s),
        several(part, f"{MANY} songs at once", "ms", 1e3 * many_s),
        several(part, f"{MANY} songs at once, on {N_STEP_THREADS} threads as in the engine", "ms", 1e3 * engine_s),
        several(part, f"throughput of {MANY} over that of one, one thread", "x", MANY * one_s / many_s, BATCH_GAIN),
        several(part, f"throughput of {MANY} over that of one, {N_STEP_THREADS} threads", "x", MANY * one_s / engine_s),
        several(part, "reading the weights from memory", "ms", 1e3 * memory_s),
        several(part, "share of the memory's speed, one song", "%", 100 * memory_s / one_s, SHARE_OF_MEMORY),
        several(part, "reading the weights from the cache", "ms", 1e3 * cached_s),
        several(part, "share of the cache's speed, one song", "%", 100 * cached_s / one_s),
    ]
