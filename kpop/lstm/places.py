"""Songs in the making, side by side: every step reads the LSTM's weights once for all. Knows nothing of audio."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from kpop.lstm import kernel
from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.pack import Desk, Memory, PackedLstm, empty_desk, empty_memory

SONGS_A_THREAD = 4  # for fewer, reading the weights once more is not worth while
LABEL_CALM = 0.5  # of the temperature, for labels: the score is written more surely than it is played


@dataclass(frozen=True)
class Stride:
    """What one place is to do in the next n_steps steps.

    slots: int64 (n_steps,), metronome positions
    known: int64 (n_steps, n_codebooks) values to hear (a stream's size: "not known"), or None to choose them by chance
    draws: float64 (n_steps, n_codebooks), 0..1, the chance; None when known
    temperature: 0 takes the likeliest, 1 what the network has learnt; labels are drawn at LABEL_CALM of it
    least: values less likely than this share of the likeliest one are never drawn, see choice.choose
    kinds: int64 (n_steps,), which grammar of stream 0 holds at each step; None or 0: anything goes
    """

    place: int
    slots: np.ndarray
    known: np.ndarray | None = None
    draws: np.ndarray | None = None
    temperature: float = 1.0
    least: float = 0.0
    kinds: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative: {self.temperature}")
        if not 0 <= self.least < 1:
            raise ValueError(f"least must be a share below 1: {self.least}")
        if (self.known is None) == (self.draws is None):
            raise ValueError("a stride has either known values or draws")


class Task(NamedTuple):
    """Strides of one length as the kernel takes them, those that need no heads last."""

    places: np.ndarray  # int64 (n_songs,)
    modes: np.ndarray  # int64 (n_songs,) CHOOSE, JUDGE or HEAR
    slots: np.ndarray  # int64 (n_songs, n_steps)
    values: np.ndarray  # int64 (n_songs, n_steps, n_codebooks), read or written
    draws: np.ndarray  # float64 (n_songs, n_steps, n_codebooks)
    temperature: np.ndarray  # float64 (n_songs, n_codebooks)
    log_least: np.ndarray  # float64 (n_songs,)
    kinds: np.ndarray  # int64 (n_songs, n_steps)
    grammars: np.ndarray  # bool (n_kinds, sizes[0] + 1, sizes[0])
    nats: np.ndarray  # float64 (n_songs, n_steps, n_codebooks)


class Places:
    """Room for n_places songs in the making, each with the LSTM's state and as much past as it looks back to.

    What becomes of a song depends on its own strides alone: not on who else is in a run, nor on how it is cut. One run
    at a time: places are not to be shared between threads without a lock.
    """

    def __init__(
        self, model: TokenLstm | PackedLstm, n_places: int, grammars: np.ndarray | None = None, n_threads: int = 1
    ) -> None:
        """grammars: bool (n_kinds, size0 + 1, size0): may this value of stream 0 follow its last value? The last row:
        where the last value is not known. Kind 0 lets anything follow anything. n_threads: that share a large run."""
        self.config, self.n_places = model.config, n_places
        self._sizes = np.array(self.config.codebook_sizes)
        self._calm = np.where(np.arange(self.config.n_codebooks) < self.config.n_labels, LABEL_CALM, 1.0)
        self._grammars = self._checked(grammars)
        self._net = (model if isinstance(model, PackedLstm) else PackedLstm.of(model)).net
        self._memory = empty_memory(self.config, n_places)
        self._desks = [empty_desk(self.config, n_places) for _ in range(n_threads)]
        self._helpers = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None  # no thread until it is needed
        self._hear_nothing()

    def _checked(self, grammars: np.ndarray | None) -> np.ndarray:
        shape = self._sizes[0] + 1, self._sizes[0]
        if grammars is None:
            grammars = np.ones((1, *shape), bool)
        if grammars.shape[1:] != shape or not grammars.any(2).all():
            raise ValueError(f"no grammars of {self._sizes[0]} values, or a value that nothing may follow")
        return np.ascontiguousarray(grammars, dtype=bool)

    def _hear_nothing(self) -> None:
        """What a step of which nothing is known leaves behind is taken from the kernel, and kept."""
        nothing = Stride(0, np.zeros(1, np.int64), known=self._sizes[None])
        self.run([nothing])
        memory = self._memory
        self._last_nothing, self._sums_nothing = memory.last[0].copy(), memory.sums[0, 0].copy()
        self._scale_nothing, self._sum_nothing = memory.sums_scale[0, 0], memory.sums_sum[0, 0]
        for place in range(self.n_places):
            self.clear(place)

    def clear(self, place: int) -> None:
        """Nothing has been heard at this place yet."""
        memory: Memory = self._memory
        for array in (memory.clock, memory.hidden, memory.cell):
            array[place] = 0
        memory.past[place] = self._sizes
        memory.last[place], memory.sums[place] = self._last_nothing, self._sums_nothing
        memory.sums_scale[place], memory.sums_sum[place] = self._scale_nothing, self._sum_nothing

    def run(self, strides: list[Stride]) -> list[np.ndarray]:
        """Take strides of one length, each at a place of its own. Releases the GIL.

        Returns each one's values, int64 (n_steps, n_codebooks); known ones are given back.
        """
        return self._run(strides, judge=False)[0]

    def nats(self, stride: Stride) -> np.ndarray:
        """Take a stride of known values, none of them "not known".

        Returns log-probabilities, float64 (n_steps, n_codebooks): of each value, given those before it.
        """
        if stride.known is None or (stride.known >= self._sizes).any():
            raise ValueError("only known values have a probability")
        return self._run([stride], judge=True)[1][0]

    def _run(self, strides: list[Stride], judge: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
        if not strides or not len(strides[0].slots):
            return [np.empty((0, len(self._sizes)), np.int64) for _ in strides], []
        self._check_places([stride.place for stride in strides])
        n_parts = max(1, min(len(self._desks), len(strides) // SONGS_A_THREAD))
        parts = [self._sorted_task(strides[part::n_parts], judge) for part in range(n_parts)]
        others = [self._helpers.submit(self._work, *both) for both in zip(parts[1:], self._desks[1:], strict=False)]
        self._work(parts[0], self._desks[0])
        for other in others:
            other.result()
        values, nats = [np.empty(0)] * len(strides), [np.empty(0)] * len(strides)
        for part, (task, back) in enumerate(parts):
            values[part::n_parts], nats[part::n_parts] = list(task.values[back]), list(task.nats[back])
        return values, nats

    def _work(self, part: tuple[Task, np.ndarray], desk: Desk) -> None:
        kernel.run(self._net, self._memory, desk, part[0])

    def _sorted_task(self, strides: list[Stride], judge: bool) -> tuple[Task, np.ndarray]:
        """The strides in the order that the kernel wants, and which of its rows is whose."""
        modes = [kernel.CHOOSE if s.known is None else kernel.JUDGE if judge else kernel.HEAR for s in strides]
        order = sorted(range(len(strides)), key=modes.__getitem__)
        return self._task([strides[i] for i in order], [modes[i] for i in order]), np.argsort(order)

    def _check_places(self, places: list[int]) -> None:
        if len(set(places)) < len(places) or min(places) < 0 or max(places) >= self.n_places:
            raise ValueError(f"each stride needs a place of its own of {self.n_places}: {places}")

    def _task(self, strides: list[Stride], modes: list[int]) -> Task:
        shape = (len(strides), len(strides[0].slots), len(self._sizes))
        task = Task(
            places=np.array([stride.place for stride in strides]),
            modes=np.array(modes),
            slots=np.stack([stride.slots for stride in strides]).astype(np.int64) % self._net.metre_embedding.shape[0],
            values=np.zeros(shape, np.int64),
            draws=np.zeros(shape),
            temperature=np.array([[stride.temperature] for stride in strides], np.float64) * self._calm,
            log_least=np.array([np.log(s.least) if s.least else -np.inf for s in strides], np.float64),
            kinds=np.zeros(shape[:2], np.int64),
            grammars=self._grammars,
            nats=np.zeros(shape),
        )
        for song, stride in enumerate(strides):
            _fill(task, song, stride)
        self._check(task)
        return task

    def _check(self, task: Task) -> None:
        if ((task.values < 0) | (task.values > self._sizes)).any():
            raise ValueError("a known value is not one of its stream's")
        if (task.kinds < 0).any() or (task.kinds >= len(self._grammars)).any():
            raise ValueError(f"there are {len(self._grammars)} kinds of grammar")


def _fill(task: Task, song: int, stride: Stride) -> None:
    if stride.draws is not None:
        task.draws[song] = stride.draws
    if stride.kinds is not None:
        task.kinds[song] = stride.kinds
    if stride.known is not None:
        task.values[song] = stride.known


def warm_up() -> None:
    """Compile the kernel, or load what was compiled: 10 s the first time, half a second later on."""
    with torch.random.fork_rng(devices=[]):
        Places(TokenLstm(LstmConfig(codebook_sizes=(2, 2), n_labels=1, embed=16, hidden=16, head_width=16)), 1)
