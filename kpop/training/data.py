"""Songs of a training run, prepared once and cached: composed or the user's own; their features and token windows."""

import hashlib
import multiprocessing
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from tqdm import tqdm

from kpop.audio.beat import track_beats
from kpop.audio.io import read_audio
from kpop.audio.loudness import integrated_loudness, normalise
from kpop.audio.stft import LOG_FLOOR
from kpop.codec.model import Codec
from kpop.constants import (
    FRAMES_PER_STEP,
    HOP_LENGTH,
    LABEL_SIZES,
    N_FFT,
    N_METRE_POSITIONS,
    SAMPLE_RATE_HZ,
    STEP_SAMPLES,
    STEPS_PER_S,
    STEPS_PER_SIXTEENTH,
)
from kpop.corpus.compose import compose, song_name, step_labels
from kpop.corpus.mix import render
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, recalled_steps
from kpop.training.loop import Report

HELD_OUT_SHARE = 0.05
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
MIN_SONG_S = 15.0
SILENCE_LUFS = -60.0
Batch = dict[str, torch.Tensor | list[torch.Tensor]]


@dataclass(frozen=True)
class TrainingSong:
    """One song on the time grid."""

    name: str
    waveform: np.ndarray  # (n_steps * step_samples,) int16, 16 kHz
    metre_positions: np.ndarray  # (n_steps,) int16, 0 to N_METRE_POSITIONS - 1
    labels: np.ndarray  # (n_steps, 5) uint8, classes of LABEL_SIZES, 0 where unknown
    hop: int = HOP_LENGTH  # samples between its STFT frames

    @property
    def n_steps(self) -> int:
        """Length in steps."""
        return len(self.metre_positions)

    @property
    def step_samples(self) -> int:
        """Samples in a step."""
        return self.hop * FRAMES_PER_STEP


Songs = list[TrainingSong]


def metre_rate(songs: Iterable[TrainingSong]) -> float:
    """Metre positions per step, the median over songs: 1 at TEMPO_BPM, 0.8 at 100 BPM."""
    paths = [np.unwrap(song.metre_positions.astype(float), period=N_METRE_POSITIONS) for song in songs]
    return float(np.median([(path[-1] - path[0]) / max(len(path) - 1, 1) for path in paths]))


def cached_song(cache_file: Path, prepare: Callable[[], TrainingSong]) -> TrainingSong:
    """The song in cache_file, or else what prepare() returns, which is then stored there."""
    try:
        with np.load(cache_file, allow_pickle=False) as file:
            arrays = (file[name] for name in ("waveform", "metre_positions", "labels"))
            return TrainingSong(str(file["name"]), *arrays, int(file["hop"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # missing or truncated
    song = prepare()
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    beside = cache_file.with_suffix(f".{os.getpid()}.npz")
    np.savez(beside, **vars(song))
    beside.replace(cache_file)
    return song


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


def in_processes(make: Callable[[int], Any], numbers: Sequence[int], n_jobs: int, title: str) -> list:
    """What make() returns for each song number, computed by n_jobs processes behind a progress bar of this title."""
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch's threads may hang
    with context.Pool(n_jobs, torch.set_num_threads, (1,)) as pool:
        made = pool.imap(make, numbers, chunksize=4)
        return list(tqdm(made, title, len(numbers), unit="song", disable=None))


def corpus_song(number: int, cache: Path | None = None) -> TrainingSong:
    """One composed song, with its labels; with a cache folder, rendered once."""
    if cache:
        return cached_song(cache / f"{song_name(number)}.npz", partial(corpus_song, number))
    score = compose(number)
    labels = step_labels(score)
    metre_positions = (np.arange(len(labels)) % N_METRE_POSITIONS).astype(np.int16)
    waveform = to_int16(render(score), score.hop * FRAMES_PER_STEP)
    return TrainingSong(song_name(number), waveform, metre_positions, labels, score.hop)


def sound_files(folder: Path) -> list[Path]:
    """The sound files in the folder and its subfolders. Raises KpopError when there are none."""
    if not folder.is_dir():
        raise KpopError(f"There is no folder {folder}: give the folder that your songs are in.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise KpopError(f"There are no songs in {folder}: put wav, flac, ogg or mp3 files there.")
    return files


def folder_songs(folder: Path, cache: Path, report: Report, files: list[Path] | None = None) -> Songs:
    """All usable songs in the folder and its subfolders; each one left out is reported with the reason.

    files: some of the folder's sound_files(), by default all. Raises KpopError when the folder has none.
    """
    songs: dict[str, TrainingSong] = {}
    for path in sound_files(folder) if files is None else files:
        name = str(path.relative_to(folder))
        try:
            key = content_key(path)
            if key in songs:
                raise KpopError("it is a copy of another one.")
            songs[key] = cached_song(cache / f"{key}.npz", partial(folder_song, path, name))
            report(f"ready: {name} ({songs[key].n_steps / STEPS_PER_S:.0f} s)")
        except (KpopError, OSError) as error:
            report(f"left out {name}: {error}")
    return list(songs.values())


def folder_song(path: Path, name: str) -> TrainingSong:
    """One song of a file, beats tracked. Raises KpopError when it is broken, silent or too short."""
    waveform = read_audio(path)
    if len(waveform) < MIN_SONG_S * SAMPLE_RATE_HZ:
        raise KpopError(f"it lasts {len(waveform) / SAMPLE_RATE_HZ:.1f} s, training needs {MIN_SONG_S:g} s or more.")
    return unlabelled_song(name, waveform)


def unlabelled_song(name: str, waveform: np.ndarray, hop: int | None = None) -> TrainingSong:
    """A waveform (n_samples,) float32 of unknown score as a training song, at the loudness of all.

    hop: of a waveform that begins with a bar and whose bars are whole frames; of others, beats are tracked. Raises
    KpopError when it is silent.
    """
    if integrated_loudness(waveform) < SILENCE_LUFS:
        raise KpopError("it is silent.")
    waveform = normalise(waveform)
    samples = to_int16(waveform, (hop or HOP_LENGTH) * FRAMES_PER_STEP)
    n_steps = len(samples) // ((hop or HOP_LENGTH) * FRAMES_PER_STEP)
    labels = np.zeros((n_steps, len(LABEL_SIZES)), np.uint8)
    if hop is None:
        return TrainingSong(name, samples, track_beats(waveform).metre_positions(n_steps), labels)
    return TrainingSong(name, samples, (np.arange(n_steps) % N_METRE_POSITIONS).astype(np.int16), labels, hop)


def content_key(path: Path) -> str:
    """Identifies a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


def excerpt(song: TrainingSong, first_step: int, n_steps: int) -> np.ndarray:
    """Samples (n_steps * FRAMES_PER_STEP, N_FFT) int16 of the STFT frames of n_steps steps; zeros outside the song."""
    start = first_step * song.step_samples - N_FFT // 2
    samples = zero_padded(song.waveform, start, start + n_steps * song.step_samples + N_FFT - song.hop)
    return np.ascontiguousarray(sliding_window_view(samples, N_FFT)[:: song.hop])


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


def encode_song(song: TrainingSong, codec: Codec, device: torch.device) -> TokenSequence:
    """The song's tokens: its labels and the codec's."""
    features = log_magnitude(torch.from_numpy(excerpt(song, 0, song.n_steps)).to(device).unsqueeze(0))
    return token_sequence(song.labels, song.metre_positions, codec.encode(features)[0].cpu().numpy())


def token_sequence(labels: np.ndarray, metre_positions: np.ndarray, *tokens: np.ndarray) -> TokenSequence:
    """Labels (n_steps, n_labels), and possibly tokens (n_steps, n), as the LSTM takes them.

    Labels are one step early, so that the LSTM has them as input when it predicts their step.
    """
    early = np.concatenate([labels[1:], labels[-1:]])
    recalled = recalled_steps(labels[:, 0]).astype(np.int32)
    return TokenSequence(np.concatenate([early, *tokens], 1).astype(np.int16), metre_positions, recalled)


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
