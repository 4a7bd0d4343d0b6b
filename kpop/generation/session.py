"""One song being generated: the sampler's next chunk, and the samples of the steps that are there."""

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import numpy as np
import torch

from kpop.audio.io import from_pcm, pcm_bytes
from kpop.audio.loudness import StreamingLimiter, opening_gain_db
from kpop.audio.phase import StreamingPhase
from kpop.audio.stft import frame_count, from_log_magnitude, log_mel_spectrogram
from kpop.codec.model import Codec
from kpop.codec.streaming import StreamingDecoder
from kpop.constants import HOP_LENGTH, N_SECTION_CLASSES, STEPS_PER_BAR, STEPS_PER_SIXTEENTH
from kpop.generation.clips import SeedClip
from kpop.generation.labels import MASK, LabelTrack, constraint_ids, sixteenth_labels
from kpop.generation.pipeline import N_ITERATIONS, Pipeline
from kpop.generation.seed import Seed, fit_rows, song_grid
from kpop.lstm.sampler import SAMPLED, BatchState, Chunk
from kpop.settings import GeneratedSong, Settings

N_DISPLAY_MELS = 128
CHUNK_STEPS = 16  # one beat: short enough for a new song to join soon, long enough to amortise the call
PIECE_STEPS = 64
FIRST_PIECE_STEPS, N_FIRST_PIECES = 48, 2  # shorter than the others, so that playback can start soon
MIN_P = 0.03  # without it, pulse, key and chords of whole songs are slightly less clear
SEED_TEMPERATURE = 1.0  # of the seed's random part: the seed must not depend on the listener's temperature
MASK_RNG, SEED_RNG, SONG_RNG, LABEL_RNG = range(4)  # every stage has a random generator of its own
ENDING_STEPS = 8 * STEPS_PER_BAR
N_THREADS = torch.get_num_threads()
UNASSIGNED = -1  # slot of a chunk that has not been given one


class Renderer:
    """Tokens of one song in, waveform out, piece by piece; memory depends on the largest piece alone.

    n_samples: of the song, None if it is endless; seed_number: of random phases; hop: hop length, the song's tempo
    """

    def __init__(
        self, codec: Codec, seed: Seed, n_samples: int | None, seed_number: int, hop: int = HOP_LENGTH
    ) -> None:
        self._seed, self._n_samples, self._hop = seed, n_samples, hop
        self._decoder = StreamingDecoder(codec)
        self._phase = StreamingPhase(seed_number, N_ITERATIONS, hop)
        self._n_frames = self._n_inverted = 0

    def push(self, tokens: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32, not yet limited, that these tokens int64 (n_steps, n_codec_codebooks) complete; maybe none.

        Over all pushes up to the `last`, exactly n_samples.
        """
        decoded = self._decoder.push(torch.from_numpy(tokens), last).numpy()
        decoded = self._seed.restore_clip(self._n_frames, decoded)
        if self._n_samples is not None:
            n_left = frame_count(self._n_samples, self._hop) - self._n_frames
            decoded = fit_rows(decoded, n_left) if last else decoded[:n_left]
        self._n_frames += len(decoded)
        samples = self._phase.push(from_log_magnitude(decoded), last)
        if self._n_samples is not None:
            samples = samples[: self._n_samples - self._n_inverted]
        self._n_inverted += len(samples)
        return samples


class GenerationSession:
    """A song being generated. One thread at a time may step it, and one, possibly another, may render it.

    Stepping: `next_chunk` and `take` in turn until `steps_done`: first the random part of the seed is sampled without
    context, then the seed is prefilled, then the song is continued. Rendering: `render_piece` whenever `piece_ready`,
    until `rendered`; then `finish`. The result does not depend on when these are called or on other songs in the batch.

    grid: its time axis; seconds: wall-clock seconds by stage, the sampler's are a share of each pass
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, clip: SeedClip, endless: bool = False) -> None:
        self.pipeline, self.settings = pipeline, settings
        self.grid = song_grid(settings, clip, pipeline.positions_per_step, endless)
        self.steps_done = self.rendered = False
        self._started_s = time.monotonic()
        self.seconds = dict.fromkeys(("seed", "sampler", "render", "spectrogram"), 0.0)
        with self._timed("seed"), single_thread():
            self.seed = pipeline.seed(settings, clip, self.grid.n_seed_steps, self._rng(MASK_RNG))
            self._asks_label = False  # whether the LSTM is to sample the first labels after the seed
            self._labels = self._label_track(clip) if pipeline.score else None
        self._chunks_to_render: deque[np.ndarray] = deque()
        self._sections: list[np.ndarray] = []
        self._n_known = self._n_taken = 0  # steps ever appended to these, and taken from them
        self._renderer = Renderer(pipeline.codec, self.seed, self.grid.n_samples, settings.seed_number, self.grid.hop)
        self._limiter: StreamingLimiter | None = None
        self._chunks = self._step_generator()
        self._chunk, self._reset = next(self._chunks)

    @property
    def has_begun(self) -> bool:
        """Whether the steps of its first piece are there."""
        return self._n_known >= FIRST_PIECE_STEPS or self.steps_done

    def next_chunk(self, state: BatchState, slot: int) -> Chunk:
        """The sampler's next chunk for this song in its slot of `state`; to be followed by `take`."""
        if self._reset:
            state.reset(slot)
        return replace(self._chunk, slot=slot)

    def take(self, tokens: np.ndarray, seconds: float) -> None:
        """The chunk's tokens int64 (CHUNK_STEPS, n_codebooks), and the time that they took."""
        self.seconds["sampler"] += seconds
        try:
            self._chunk, self._reset = self._chunks.send(tokens)
        except StopIteration:
            self.steps_done = True

    @property
    def piece_ready(self) -> bool:
        """Whether there are enough steps for the next piece."""
        is_complete = self._n_known == self.grid.n_steps
        return not self.rendered and (is_complete or len(self._chunks_to_render) >= self._piece_chunks)

    def render_piece(self) -> bytes:
        """The next piece of the song, 16-bit little-endian PCM."""
        with self._timed("render"), single_thread():
            steps = self._take_steps()
            self.rendered = self._n_taken == self.grid.n_steps
            samples = self._renderer.push(steps[:, self.pipeline.n_labels :], self.rendered)
            if self._limiter is None:
                self._limiter = StreamingLimiter(opening_gain_db(samples))
            return pcm_bytes(self._limiter.push(samples, self.rendered))

    def finish(self, pcm: bytes) -> GeneratedSong:
        """The finished song. pcm: all pieces."""
        with self._timed("spectrogram"):
            waveform = from_pcm(pcm)
            level_db = log_mel_spectrogram(waveform, N_DISPLAY_MELS)
        return GeneratedSong(
            waveform=waveform,
            log_mel_db=level_db - level_db.max(),
            seed_end_s=min(self.grid.seed_end_s, self.settings.length_s),
            settings=self.settings,
            seconds_taken=self.seconds,
            taken_s=time.monotonic() - self._started_s,
            beat=self.grid.beat,
            hop=self.grid.hop,
            sections=np.concatenate([[0], *self._sections])[:-1],  # labels are one step early
        )

    def _step_generator(self) -> Generator[tuple[Chunk, bool], np.ndarray, None]:
        """Chunks to be stepped, and whether the slot must be reset before; is sent the chunk's tokens."""
        seed, n_seed, n_steps, rng = self.seed, self.grid.n_seed_steps, self.grid.n_steps, self._rng(SEED_RNG)
        for start in range(0, n_seed, CHUNK_STEPS):
            if seed.token_mask.any():
                sampled = yield self._sampled_chunk(start, rng, SEED_TEMPERATURE, in_seed=True), start == 0
                seed.insert_random(start, sampled)
            self._append(seed.tokens[start : start + CHUNK_STEPS])
        n_labels, rng = self.pipeline.n_labels, self._rng(SONG_RNG)
        for start in range(0, n_seed, CHUNK_STEPS):
            stop, tokens = start + CHUNK_STEPS, seed.tokens[start : start + CHUNK_STEPS].copy()
            asks = self._asks_label and stop == n_seed
            if asks:
                tokens[-1, :n_labels] = SAMPLED
            uniforms = self._rng(LABEL_RNG).random(tokens.shape) if asks else None
            positions, temperature = self.grid.metre_positions(start, stop), self.settings.temperature
            tokens = yield Chunk(UNASSIGNED, positions, tokens, uniforms, temperature), start == 0
            if asks:
                self._labels.append(tokens[-1, :n_labels])
        for start in count(n_seed, CHUNK_STEPS) if n_steps is None else range(n_seed, n_steps, CHUNK_STEPS):
            tokens = yield self._sampled_chunk(start, rng, self.settings.temperature), False
            self._append(tokens if n_steps is None else tokens[: n_steps - start])

    def _label_track(self, clip: SeedClip) -> LabelTrack:
        """The song's labels from those of its clip on, which are put into the seed: there, random ones are sampled in
        their context. Of a clip of unknown score the LSTM samples the first labels after it."""
        grid, seed, n_labels = self.grid, self.seed, self.pipeline.n_labels
        offset, is_random = grid.metre_position % STEPS_PER_SIXTEENTH, seed.token_mask[:, :1]
        n_known = (grid.n_seed_steps + offset) // STEPS_PER_SIXTEENTH
        if is_random.all():
            known = np.full((n_known, n_labels), SAMPLED)
        elif clip.labels is None:
            known = np.tile(MASK, (n_known, 1))
        else:
            labels = np.where(is_random, SAMPLED, clip.labels[: grid.n_seed_steps].astype(int))
            known = sixteenth_labels(labels, offset)
        self._asks_label = clip.labels is None and not is_random.all()
        song = grid.metre_position, grid.n_steps, self.settings.temperature, self._rng(LABEL_RNG)
        track = LabelTrack(self.pipeline.score, known, *song)
        if not self._asks_label:
            seed.tokens[:, :n_labels] = track.rows(0, grid.n_seed_steps)
        seed.token_mask[:, :n_labels] = False
        return track

    def _sampled_chunk(self, start: int, rng: np.random.Generator, temperature: float, in_seed: bool = False) -> Chunk:
        stop, n_labels, recalled, constraints = start + CHUNK_STEPS, self.pipeline.n_labels, None, None
        positions = self.grid.metre_positions(start, stop + 1)
        tokens = np.full((CHUNK_STEPS, self.pipeline.n_codebooks), SAMPLED)
        if self._labels is None:
            n_left = None if self.grid.n_steps is None else self.grid.n_steps - start
            if self.pipeline.has_labels and not in_seed:
                constraints = constraint_ids(positions, n_left, ENDING_STEPS)
        elif in_seed:
            tokens[:, :n_labels] = self.seed.tokens[start:stop, :n_labels]
        else:
            tokens[:, :n_labels] = self._labels.rows(start, stop)
            recalled = self._labels.recalled(start, stop)
        return Chunk(
            UNASSIGNED,
            positions[:-1],
            tokens,
            uniforms=rng.random(tokens.shape),
            temperature=temperature,
            min_p=MIN_P,
            constraint_ids=constraints,
            recalled=recalled,
        )

    def _append(self, tokens: np.ndarray) -> None:
        self._chunks_to_render.append(tokens)
        self._sections.append(tokens[:, 0] % N_SECTION_CLASSES)  # a mask token is unknown, too
        self._n_known += len(tokens)

    @property
    def _piece_chunks(self) -> int:
        is_early = self._n_taken < FIRST_PIECE_STEPS * N_FIRST_PIECES
        return (FIRST_PIECE_STEPS if is_early else PIECE_STEPS) // CHUNK_STEPS

    def _take_steps(self) -> np.ndarray:
        """Tokens (n, n_codebooks) of the next piece."""
        n_chunks = min(self._piece_chunks, len(self._chunks_to_render))
        steps = np.concatenate([self._chunks_to_render.popleft() for _ in range(n_chunks)])
        self._n_taken += len(steps)
        return steps

    def _rng(self, stage: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed_number, stage])

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started


def generate(pipeline: Pipeline, settings: Settings, clip: SeedClip) -> GeneratedSong:
    """Generate one song in this thread; the same samples as from the engine."""
    session, state, pcm = GenerationSession(pipeline, settings, clip), pipeline.batch_state(1), bytearray()
    while not session.rendered:
        if session.piece_ready:
            pcm += session.render_piece()
        else:
            started = time.perf_counter()
            (tokens,) = pipeline.sampler.run(state, [session.next_chunk(state, 0)])
            session.take(tokens, time.perf_counter() - started)
    return session.finish(bytes(pcm))


@contextmanager
def single_thread() -> Iterator[None]:
    """One torch thread: for small products a second one gains nothing, costs much beside other load, and would round
    differently."""
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(N_THREADS)  # not the previous value, which may be another listener's 1
