"""One song in the making: which steps it needs next, and the sound of those it has."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count, repeat

import numpy as np
import torch

from kpop.audio.io import pcm_bytes
from kpop.audio.loudness import LiveMaster, SongMaster
from kpop.audio.phase import picture_db
from kpop.audio.stft import mel_centres_hz
from kpop.constants import BEATS_PER_BAR, FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEPS_PER_BAR, STEPS_PER_BEAT
from kpop.generation.clips import SeedClip
from kpop.generation.pipeline import Pipeline, SongSound, kinds
from kpop.generation.seed import Seed, seed_length, song_hop
from kpop.lstm.places import Places, Stride
from kpop.settings import Beat, GeneratedSong, Settings

Progress = Callable[[float, str], None]
N_DISPLAY_MELS = 128
STRIDE_STEPS = 16  # a beat: short enough for a newcomer to be let in soon, long enough to be worth the call
FIRST_PIECES_STEPS = (48, 48)  # short, so that the music starts soon: a second of sound each, or a little more
PIECE_STEPS = 64
LEAST = 0.03  # see Places: without it pulse, key and chords of whole songs are a little less clear
CHANCE_TEMPERATURE = 1.0  # chance must not depend on the listener's temperature, else the seed would
MASK_STAGE, CHANCE_STAGE, DREAM_STAGE = range(3)  # each draws from a random generator of its own
ALL_THREADS = torch.get_num_threads()
NO_PLACE = -1  # a stride that has not yet been given its place


class GenerationSession:
    """A song in the making. One thread at a time may make its steps, and one, perhaps another, its sound.

    Steps: `next_stride` and `take` by turns until `steps_done`. The LSTM first dreams up the chance in the seed, from
    nothing; then it hears the seed; then it goes on. Sound: `make_piece` whenever `piece_ready`, until `sound_done`;
    then `finish`. What a song becomes does not depend on when these are called, nor on who else is in the making.

    n_samples: of the whole song, None if it never ends
    n_sounded: samples in the pieces so far
    seconds: wall-clock seconds by stage, the steps' being a share of each pass made together
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, clip: SeedClip, endless: bool = False) -> None:
        self.pipeline, self.settings = pipeline, settings
        hop = song_hop(clip, settings.randomness, pipeline.metronome_rate)
        self._step_samples = hop * FRAMES_PER_STEP
        self.n_samples = None if endless else round(settings.length_s * SAMPLE_RATE_HZ)
        self.n_steps = None if endless else -(-self.n_samples // self._step_samples)
        self.n_sounded, self.steps_done, self.sound_done = 0, False, False
        self._started_s = time.monotonic()
        self.seconds = dict.fromkeys(("seed", "dream", "sound", "master"), 0.0)
        with self._lap("seed"), one_thread():
            n_seed = seed_length(self.n_steps, pipeline.n_clip_steps(clip), settings.randomness)
            self.seed: Seed = pipeline.seed(settings, clip, n_seed, self._rng(MASK_STAGE))
        self._known: deque[np.ndarray] = deque()  # steps that have no sound yet, in blocks of STRIDE_STEPS
        self._n_known = self._n_taken = 0  # steps ever put there, and taken from there
        self._piece_lengths = chain(FIRST_PIECES_STEPS, repeat(PIECE_STEPS))
        self._next_piece_steps = next(self._piece_lengths)
        self._sound = SongSound(pipeline.codec, self.seed, self.n_samples, settings.seed_number, hop)
        self._live, self._master = LiveMaster(), SongMaster()
        self._course = self._steps()
        self._stride, self._fresh = next(self._course)

    @property
    def has_begun(self) -> bool:
        """Whether the steps of its first piece of sound are there."""
        return self._n_known >= FIRST_PIECES_STEPS[0] or self.steps_done

    @property
    def seed_end_s(self) -> float:
        """Where the seed ends and the machine goes on alone."""
        return self.seed.n_steps * self._step_samples / SAMPLE_RATE_HZ

    @property
    def beat(self) -> Beat:
        """Where its beats and bars lie."""
        slot_s = self._step_samples / SAMPLE_RATE_HZ / self.pipeline.metronome_rate
        return Beat(-self.seed.first_slot % STEPS_PER_BAR * slot_s, STEPS_PER_BEAT * slot_s, BEATS_PER_BAR)

    def next_stride(self, places: Places, place: int) -> Stride:
        """What the song's place is to do next; to be followed by `take`."""
        if self._fresh:
            places.clear(place)
        return replace(self._stride, place=place)

    def take(self, values: np.ndarray, seconds: float) -> None:
        """What came of the stride: (STRIDE_STEPS, n_codebooks) int64, and how long it took."""
        self.seconds["dream"] += seconds
        try:
            self._stride, self._fresh = self._course.send(values)
        except StopIteration:
            self.steps_done = True

    @property
    def piece_ready(self) -> bool:
        """Whether there are steps enough for a piece of sound."""
        n_waiting = self._n_known - self._n_taken
        return not self.sound_done and (n_waiting >= self._next_piece_steps or self._n_known == self.n_steps)

    def make_piece(self) -> bytes:
        """The next piece of sound, 16-bit little-endian PCM, mastered as far as can be without knowing the rest."""
        with self._lap("sound"), one_thread():
            steps = self._take_known()
            self.sound_done = self._n_taken == self.n_steps
            raw = self._sound.push(steps[:, self.pipeline.n_labels :], self.sound_done)
            if self.n_samples is not None:
                self._master.push(raw)
            self.n_sounded += len(raw)
            return pcm_bytes(self._live.push(raw, self.sound_done))

    def finish(self) -> GeneratedSong:
        """The finished song, mastered as a whole."""
        with self._lap("master"):
            waveform = self._master.finish()
            level_db = picture_db(waveform, N_DISPLAY_MELS)
        end_s = min(self.seed_end_s, self.settings.length_s)
        taken_s = time.monotonic() - self._started_s
        return GeneratedSong(
            waveform=waveform,
            log_mel_db=level_db - level_db.max(),
            mel_centres_hz=mel_centres_hz(N_DISPLAY_MELS),
            seed_end_s=end_s,
            settings=self.settings,
            seconds_taken=self.seconds,
            taken_s=taken_s,
            beat=self.beat,
        )

    def _steps(self) -> Generator[tuple[Stride, bool], np.ndarray, None]:
        """What is to be stepped, and whether the place must forget all before it; is sent what came of it."""
        seed, rng = self.seed, self._rng(CHANCE_STAGE)
        starts = range(0, seed.n_steps, STRIDE_STEPS)
        for start in starts:
            if seed.needs_chance:
                seed.put_chance(start, (yield self._choosing(start, rng, CHANCE_TEMPERATURE, ruled=False), start == 0))
            self._know(seed.streams[start : start + STRIDE_STEPS])
        for start in starts:
            known = seed.streams[start : start + STRIDE_STEPS]
            yield Stride(NO_PLACE, self._slots(start, len(known)), known), start == 0
        rng = self._rng(DREAM_STAGE)
        for start in count(seed.n_steps, STRIDE_STEPS):
            if self.n_steps is not None and start >= self.n_steps:
                return
            values = yield self._choosing(start, rng, self.settings.temperature, ruled=True), False
            self._know(values if self.n_steps is None else values[: self.n_steps - start])

    def _choosing(self, start: int, rng: np.random.Generator, temperature: float, ruled: bool) -> Stride:
        slots = self._slots(start, STRIDE_STEPS + 1)
        n_left = None if self.n_steps is None else self.n_steps - start
        ruled = ruled and self.pipeline.knows_labels
        return Stride(
            NO_PLACE,
            slots[:-1],
            draws=rng.random((STRIDE_STEPS, self.pipeline.n_codebooks)),
            temperature=temperature,
            least=LEAST,
            kinds=kinds(slots, n_left) if ruled else np.zeros(STRIDE_STEPS, np.int64),
        )

    def _slots(self, start: int, n_steps: int) -> np.ndarray:
        return self.pipeline.slots(self.seed.first_slot, start, start + n_steps)

    def _know(self, steps: np.ndarray) -> None:
        self._known.append(steps)
        self._n_known += len(steps)

    def _take_known(self) -> np.ndarray:
        """The steps (n, n_codebooks) of the next piece."""
        wanted = min(self._next_piece_steps, self._n_known - self._n_taken)
        blocks = []
        while sum(map(len, blocks)) < wanted:
            blocks.append(self._known.popleft())
        steps = np.concatenate(blocks)
        self._n_taken += len(steps)
        self._next_piece_steps = next(self._piece_lengths)
        return steps

    def _rng(self, stage: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed_number, stage])

    @contextmanager
    def _lap(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started


def generate(
    pipeline: Pipeline, settings: Settings, clip: SeedClip, on_progress: Progress | None = None
) -> GeneratedSong:
    """A song by itself, made by this thread alone: the same bytes as from the engine.

    It lasts exactly settings.length_s seconds, begins with the seed and is dreamt on from there. on_progress(share done
    0..1, what is being done) is called as it goes on; what it raises ends the work.
    """
    report, places = on_progress or (lambda share, words: None), pipeline.places(1)
    report(0.0, "Listening to the seed")
    dream = GenerationSession(pipeline, settings, clip)
    while not dream.sound_done:
        if dream.piece_ready:
            report(dream.n_sounded / dream.n_samples, "Dreaming up the song")
            dream.make_piece()
        else:
            started = time.perf_counter()
            (values,) = places.run([dream.next_stride(places, 0)])
            dream.take(values, time.perf_counter() - started)
    report(1.0, "Mastering")
    return dream.finish()


@contextmanager
def one_thread() -> Iterator[None]:
    """Small products: a second thread would only wait, beside another busy process for long, and round otherwise."""
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(ALL_THREADS)  # not what was set before: that may be another listener's 1
