"""Songs of a training run, prepared once and memory-mapped from a cache; their features, tokens and windows."""

import hashlib
import multiprocessing
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from tqdm import tqdm

from kpop.audio.stft import LOG_FLOOR
from kpop.checkpoint import load_codec
from kpop.codec.model import Codec
from kpop.constants import (
    FRAMES_PER_STEP,
    HOP_LENGTH,
    N_FFT,
    N_METRE_POSITIONS,
    STEP_SAMPLES,
    STEPS_PER_SIXTEENTH,
)
from kpop.corpus.compose import compose, song_name, step_labels
from kpop.corpus.mix import render
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, recalled_steps

HELD_OUT_SHARE = 0.05
PIECE_STEPS, CONTEXT_STEPS = 8_192, 64  # encoded at once, and beyond both ends, which is more than the codec sees
INT16_SCALE = np.float32(32_767)
Batch = dict[str, torch.Tensor | list[torch.Tensor]]


@dataclass(frozen=True)
class TrainingSong:
    """One song on the time grid."""

    name: str
    waveform: np.ndarray  # (n_steps * step_samples,) int16, 16 kHz
    metre_positions: np.ndarray  # (n_steps,) int16, 0 to N_METRE_POSITIONS - 1
    labels: np.ndarray  # (n_steps, 5) uint8, classes of LABEL_SIZES, 0 where unknown
    hop: int = HOP_LENGTH  # samples between its STFT frames
    centres: np.ndarray | None = None  # (n_frames,) int32, the samples that frames are around; None: every hop samples
    key: str = ""  # identifies waveform and frames in caches; empty: not cached

    @property
    def n_steps(self) -> int:
        """Length in steps."""
        return len(self.metre_positions)

    @property
    def step_samples(self) -> int:
        """Samples in a step."""
        return self.hop * FRAMES_PER_STEP

    def samples_of(self, steps: np.ndarray) -> np.ndarray:
        """The samples int64 (n,) at which steps (n,) begin, one after the last included."""
        if self.centres is None:
            return steps * self.step_samples
        begins = np.append(self.centres[::FRAMES_PER_STEP], self.centres[-1] + self.hop)
        return begins[steps].astype(np.int64)


Songs = list[TrainingSong]


def cached_song(path: Path, prepare: Callable[[], TrainingSong]) -> TrainingSong:
    """The song stored at path.npz and, memory-mapped, its waveform at path.npy; else what prepare() returns, once it is
    stored there. It has no centres."""
    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
            rest = {name: file[name] for name in ("metre_positions", "labels")}
            name, hop = str(file["name"]), int(file["hop"])
        return TrainingSong(name, np.load(path.with_suffix(".npy"), mmap_mode="r"), **rest, hop=hop, key=_key(path))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # missing or truncated
    song = prepare()
    rest = {"name": song.name, "metre_positions": song.metre_positions, "labels": song.labels, "hop": song.hop}
    write_file(path.with_suffix(".npy"), partial(np.save, arr=song.waveform))
    write_file(path.with_suffix(".npz"), partial(np.savez, **rest))
    return replace(song, key=_key(path))


def _key(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written atomically: `write` is given another one, which then takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def to_int16(waveform: np.ndarray, step_samples: int = STEP_SAMPLES) -> np.ndarray:
    """(n_samples,) float32 in -1..1 -> whole steps of int16; the remainder is dropped."""
    whole = len(waveform) // step_samples * step_samples
    return np.round(waveform[:whole] * 32767).clip(-32768, 32767).astype(np.int16)


def split(songs: Songs, work_of: Callable[[str], str] = str, held_out_work: str | None = None) -> tuple[Songs, Songs]:
    """(training songs, held-out songs), all songs of one work_of(name) on the same side.

    Without held_out_work, about every twentieth work is held out, at least one. A hash of its name decides, so that no
    work changes sides when others are added (unless so few are held out that one had to be taken). Raises KpopError
    when there are fewer than two works, or not that one.
    """
    works = {work_of(song.name) for song in songs}
    shares = {work: int.from_bytes(hashlib.sha256(work.encode()).digest()[:6]) / 2**48 for work in works}
    ranked = sorted(shares, key=shares.get)
    if len(ranked) < 2:
        raise KpopError("Training needs at least two usable songs, one of them to be held out: add more songs.")
    n_held_out = min(max(1, sum(share < HELD_OUT_SHARE for share in shares.values())), len(ranked) - 1)
    held_out = ranked[:n_held_out] if held_out_work is None else [work_of(held_out_work)]
    if not set(held_out) <= set(ranked):
        raise KpopError(f"There is no song {held_out_work} to hold out: choose one of {', '.join(sorted(ranked))}.")
    songs = sorted(songs, key=lambda song: shares[work_of(song.name)])
    return tuple([song for song in songs if (work_of(song.name) in held_out) == side] for side in (False, True))


def songs_id(songs: Songs, held_out: Songs) -> str:
    """Identifies the names of the songs and their split."""
    sides = [sorted(song.name for song in side) for side in (songs, held_out)]
    return hashlib.sha256(repr(sides).encode()).hexdigest()[:16]


def in_processes(make: Callable[[Any], Any], items: Sequence, n_jobs: int, title: str) -> list:
    """What make() returns for each item, computed by n_jobs processes behind a progress bar of this title."""
    if not items:
        return []
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch's threads may hang
    with context.Pool(n_jobs, torch.set_num_threads, (1,)) as pool:
        return list(tqdm(pool.imap(make, items), title, len(items), unit="song", disable=None))


def corpus_songs(numbers: Sequence[int], cache: Path, n_jobs: int) -> Songs:
    """Composed songs, rendered in n_jobs processes unless they are in the cache."""
    missing = [number for number in numbers if not (cache / f"{song_name(number)}.npz").exists()]
    in_processes(partial(_render_to_file, cache), missing, n_jobs, "Rendering songs")
    return [corpus_song(number, cache) for number in numbers]


def _render_to_file(cache: Path, number: int) -> None:
    corpus_song(number, cache)


def corpus_song(number: int, cache: Path | None = None) -> TrainingSong:
    """One composed song, with its labels; with a cache folder, rendered once."""
    if cache:
        return cached_song(cache / f"{song_name(number)}", partial(corpus_song, number))
    score = compose(number)
    labels = step_labels(score)
    metre_positions = (np.arange(len(labels)) % N_METRE_POSITIONS).astype(np.int16)
    waveform = to_int16(render(score), score.hop * FRAMES_PER_STEP)
    return TrainingSong(song_name(number), waveform, metre_positions, labels, score.hop)


def excerpt(song: TrainingSong, first_step: int, n_steps: int) -> np.ndarray:
    """Samples (n_steps * FRAMES_PER_STEP, N_FFT) int16 of the STFT frames of n_steps steps; zeros outside the song."""
    frames = np.arange(first_step * FRAMES_PER_STEP, (first_step + n_steps) * FRAMES_PER_STEP)
    starts = (frames * song.hop if song.centres is None else song.centres[frames]) - N_FFT // 2
    samples = zero_padded(song.waveform, starts[0], starts[-1] + N_FFT)
    return sliding_window_view(samples, N_FFT)[starts - starts[0]]


def zero_padded(samples: np.ndarray, start: int, stop: int) -> np.ndarray:
    """samples[start:stop] (stop - start,) with zeros before sample 0 and after the last one."""
    inside = samples[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    return np.pad(inside, (before, stop - start - before - len(inside)))


def log_magnitude(excerpts: torch.Tensor) -> torch.Tensor:
    """(batch, n_frames, N_FFT) int16 from excerpt() -> (batch, n_frames, N_BINS) float32, as kpop.audio.stft's."""
    window = torch.hann_window(N_FFT, device=excerpts.device)
    magnitude = torch.fft.rfft(excerpts.float() / 32767 * window).abs() * (2 / window.sum())
    return magnitude.clamp_min(LOG_FLOOR).log()


@dataclass(frozen=True)
class TokenSequence:
    """One song."""

    tokens: np.ndarray  # (n_steps, n_codebooks) int16, labels first, one step early
    metre_positions: np.ndarray  # (n_steps,) int16
    recalled: np.ndarray  # (n_steps,) int32, of recalled_steps()


def encode_song(song: TrainingSong, codec: Codec) -> TokenSequence:
    """The song's tokens: its labels and the codec's."""
    pieces = []
    for start in range(0, song.n_steps, PIECE_STEPS):  # an hour's frames at once would fill the memory
        first, stop = max(start - CONTEXT_STEPS, 0), min(start + PIECE_STEPS + CONTEXT_STEPS, song.n_steps)
        features = log_magnitude(torch.from_numpy(excerpt(song, first, stop - first)).unsqueeze(0))
        pieces.append(codec.encode(features)[0, start - first :][:PIECE_STEPS].numpy())
    return token_sequence(song.labels, song.metre_positions, *([np.concatenate(pieces)] if pieces else ()))


def encode_songs(
    songs: Songs, codec_file: Path, cache: Path, n_jobs: int, semitones: Sequence[int] = (0,)
) -> list[TokenSequence]:
    """The songs' tokens, of each song in all transpositions by semitones. codec_file: a checkpoint with the codec;
    cache: a folder for the tokens of this codec."""
    jobs = [(song, each, cache / f"{song.key}{each:+d}.npy") for song in songs for each in semitones]
    missing = [job for job in jobs if not job[2].exists()]
    in_processes(partial(_encode_to_file, codec_file), missing, n_jobs, "Encoding songs")
    rows = [(song, np.load(path, mmap_mode="r")) for song, _, path in jobs]
    return [TokenSequence(tokens, song.metre_positions, recalled_of(song.labels)) for song, tokens in rows]


def _encode_to_file(codec_file: Path, job: tuple[TrainingSong, int, Path]) -> None:
    song, semitones, path = job
    tokens = encode_song(transposed(song, semitones), _codec(codec_file)).tokens
    write_file(path, partial(np.save, arr=tokens))


@lru_cache(maxsize=1)
def _codec(codec_file: Path) -> Codec:
    return load_codec(codec_file)[0]


def transposed(song: TrainingSong, semitones: float) -> TrainingSong:
    """The song played faster and higher, or slower and lower, on a grid that follows."""
    if not semitones:
        return song
    ratio = 2 ** (semitones / 12)
    centres = np.arange(song.n_steps * FRAMES_PER_STEP) * song.hop if song.centres is None else song.centres
    waveform = to_int16(varispeed(song.waveform / INT16_SCALE, ratio), 1)
    return replace(song, waveform=waveform, centres=np.rint(centres / ratio).astype(np.int32))


def varispeed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """The waveform (n_samples,) resampled to n_samples / speed: faster and higher by that factor."""
    import soxr  # imported here because training on composed songs does without it

    return waveform if speed == 1 else soxr.resample(waveform, speed, 1.0, quality="HQ").astype(np.float32)


def token_sequence(labels: np.ndarray, metre_positions: np.ndarray, *tokens: np.ndarray) -> TokenSequence:
    """Labels (n_steps, n_labels), and possibly tokens (n_steps, n), as the LSTM takes them.

    Labels are one step early, so that the LSTM has them as input when it predicts their step.
    """
    early = np.concatenate([labels[1:], labels[-1:]])
    return TokenSequence(np.concatenate([early, *tokens], 1).astype(np.int16), metre_positions, recalled_of(labels))


def recalled_of(labels: np.ndarray) -> np.ndarray:
    """recalled_steps() int32 (n_steps,) of labels (n_steps, n_labels)."""
    return recalled_steps(labels[:, 0]).astype(np.int32)


def score_sequence(number: int) -> TokenSequence:
    """The labels of one composed song, a step of the sequence for each sixteenth, after one of unknown labels."""
    labels = step_labels(compose(number))[::STEPS_PER_SIXTEENTH]
    positions = np.arange(-1, len(labels)) * STEPS_PER_SIXTEENTH % N_METRE_POSITIONS
    return token_sequence(np.pad(labels, ((1, 0), (0, 0))), positions.astype(np.int16))


def make_batch(
    windows: list[tuple[TokenSequence, int]], n_steps: int, config: LstmConfig, device: torch.device
) -> Batch:
    """Arguments of TokenLstm.forward, int64, of windows (sequence, first step) of n_steps steps.

    Before a song's start there are mask tokens. A window must not reach beyond its end.
    """
    rows, windows = [], [(song, np.arange(first, first + n_steps)) for song, first in windows]
    for song, steps in windows:
        tokens = np.concatenate([song.tokens, [config.codebook_sizes]])  # the last row, -1, is of mask tokens
        sources = [np.maximum(steps - lag, -1) for lag in (1, *config.lag_steps)]
        sources += [song.recalled[steps]] * config.recalls + [steps]
        rows.append([tokens[source] for source in sources])
    positions = [song.metre_positions[steps] for song, steps in windows]
    stacked = [np.stack(each) for each in (*zip(*rows, strict=True), positions)]
    previous, *lagged, targets, positions = (torch.from_numpy(each.astype(np.int64)).to(device) for each in stacked)
    return {"previous": previous, "lagged": lagged, "positions": positions, "targets": targets}
