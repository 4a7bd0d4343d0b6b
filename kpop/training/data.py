"""The songs of a training run: waveform, metronome and labels, prepared once and kept in a cache folder.

Songs of our own corpus, rendered in all processes and cached.

Songs of the user's own: any rate, channels, tempo and format; what can't be used is named and left out.

Log-magnitude of pieces of songs, on the device where training runs; equal to kpop.audio.spectrum's.

Songs as sequences of streams for the LSTM: labels and the codec's codes of each step, and what preceded them.
"""

import hashlib
import multiprocessing
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kpop.audio.beat import metronome
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
)
from kpop.corpus.collection import song_name
from kpop.corpus.compose import compose
from kpop.corpus.labels import step_labels
from kpop.corpus.render import render
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig

HELD_OUT_SHARE = 0.05


@dataclass(frozen=True)
class Song:
    """One song on the grid.

    name: what to call it; waveform: (n_steps * STEP_SAMPLES,) int16, 16 kHz
    slots: (n_steps,) int16, metronome position 0..255 of each step
    labels: (n_steps, len(LABEL_SIZES)) uint8, classes of section, key, chord and tune, 0 where they are not known
    """

    name: str
    waveform: np.ndarray
    slots: np.ndarray
    labels: np.ndarray

    @property
    def n_steps(self) -> int:
        """Length in code steps."""
        return len(self.slots)


def no_labels(n_steps: int) -> np.ndarray:
    """Labels (n_steps, len(LABEL_SIZES)) uint8 of a song of which nothing is known."""
    return np.zeros((n_steps, len(LABEL_SIZES)), np.uint8)


def metronome_rate(songs: Iterable[Song]) -> float:
    """Metronome slots a step, the median over songs: 1 at our corpus's tempo, 0.8 for songs at 100 BPM."""
    paths = [np.unwrap(song.slots.astype(float), period=N_METRE_POSITIONS) for song in songs]
    return float(np.median([(path[-1] - path[0]) / max(len(path) - 1, 1) for path in paths]))


def cached_song(cache_file: Path, prepare: Callable[[], Song]) -> Song:
    """The song in cache_file, or else what prepare() makes, which is then kept there."""
    try:
        with np.load(cache_file, allow_pickle=False) as held:
            return Song(str(held["name"]), held["waveform"], held["slots"], held["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or half written: make it again
    song = prepare()
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    beside = cache_file.with_suffix(f".{os.getpid()}.npz")
    np.savez(beside, name=song.name, waveform=song.waveform, slots=song.slots, labels=song.labels)
    beside.replace(cache_file)
    return song


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """(n,) float32 in -1..1 -> whole steps of int16; the rest of the last step is dropped."""
    whole = len(waveform) // STEP_SAMPLES * STEP_SAMPLES
    return np.round(waveform[:whole] * 32767).clip(-32768, 32767).astype(np.int16)


def split(songs: Iterable[Song]) -> tuple[list[Song], list[Song]]:
    """(training songs, held-out songs): about every twentieth is held out, one at least.

    A song's name alone decides, so with more songs later none changes sides (unless so few are held out by name that
    one had to be taken). Raises KpopError when there are fewer than two.
    """
    ranked = sorted(songs, key=_lot)
    if len(ranked) < 2:
        raise KpopError("Training needs at least two usable songs, one of them to be held out: add more songs.")
    n_held_out = min(max(1, sum(_lot(song) < HELD_OUT_SHARE for song in ranked)), len(ranked) - 1)
    return ranked[n_held_out:], ranked[:n_held_out]


def songs_id(songs: list[Song], held_out: list[Song]) -> str:
    """The same for the same songs on the same sides, else another."""
    sides = [sorted(song.name for song in side) for side in (songs, held_out)]
    return hashlib.sha256(repr(sides).encode()).hexdigest()[:16]


def _lot(song: Song) -> float:
    """0..1, drawn by the song's name."""
    return int.from_bytes(hashlib.sha256(song.name.encode()).digest()[:6]) / 2**48


CORPUS_VERSION = "3d8a4885"
"""Names the songs that the composer writes: caches, checkpoints and the similarity index carry it.

To be changed whenever the same number gives another song; tests/test_golden.py says when that is.
"""


def corpus_songs(n_songs: int, cache: Path, n_jobs: int, report: Callable[[str], None]) -> list[Song]:
    """Songs number 0 to n_songs - 1, each from its number alone."""
    tasks = [(number, cache) for number in range(n_songs)]
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch's threads may hang
    with context.Pool(n_jobs) as pool:
        for done, _ in enumerate(pool.imap(_prepare, tasks, chunksize=2), 1):
            if done % 50 == 0 or done == n_songs:
                report(f"corpus: {done} of {n_songs} songs rendered")
    return [cached_song(_cache_file(number, cache), lambda n=number: corpus_song(n)) for number in range(n_songs)]


def corpus_song(number: int) -> Song:
    """One song of our corpus, with its labels."""
    score = compose(number)
    waveform = to_int16(render(score))
    labels = step_labels(score)
    slots = (np.arange(len(labels)) % N_METRE_POSITIONS).astype(np.int16)
    return Song(song_name(number), waveform, slots, labels)


def _prepare(task: tuple[int, Path]) -> None:
    number, cache = task
    cached_song(_cache_file(number, cache), lambda: corpus_song(number))


def _cache_file(number: int, cache: Path) -> Path:
    return cache / f"{song_name(number)}.npz"


SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
SHORTEST_S = 15.0
SILENCE_LUFS = -60.0


def folder_songs(folder: Path, cache: Path, report: Callable[[str], None]) -> list[Song]:
    """All usable songs in the folder and the folders in it; each one left out is reported with the reason.

    Raises KpopError when the folder is missing or holds no usable song.
    """
    files = sound_files(folder)
    songs = list(usable_songs(files, folder, cache, report))
    if not songs:
        raise KpopError(f"None of the {len(files)} files in {folder} can be used: see the reasons above.")
    return songs


def sound_files(folder: Path) -> list[Path]:
    """The sound files in the folder and the folders in it. Raises KpopError when there are none."""
    if not folder.is_dir():
        raise KpopError(f"There is no folder {folder}: give the folder that your songs are in.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise KpopError(f"There are no songs in {folder}: put wav, flac, ogg or mp3 files there.")
    return files


def usable_songs(files: list[Path], folder: Path, cache: Path, report: Callable[[str], None]) -> Iterator[Song]:
    """The songs in these files of the folder; each one left out is reported with the reason."""
    heard = set()
    for path in files:
        name = str(path.relative_to(folder))
        try:
            key = content_key(path)
            if key in heard:
                raise KpopError("it is a copy of another one.")
            heard.add(key)
            song = cached_song(cache / f"{key}.npz", lambda path=path, name=name: folder_song(path, name))
        except (KpopError, OSError) as error:
            report(f"left out {name}: {error}")
        else:
            report(f"ready: {name} ({len(song.waveform) / SAMPLE_RATE_HZ:.0f} s)")
            yield song


def folder_song(path: Path, name: str) -> Song:
    """One song on the grid. Raises KpopError when it is broken, silent or too short."""
    waveform = read_audio(path)
    if len(waveform) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise KpopError(f"it lasts {len(waveform) / SAMPLE_RATE_HZ:.1f} s, training needs {SHORTEST_S:g} s or more.")
    if integrated_loudness(waveform) < SILENCE_LUFS:
        raise KpopError("it is silent.")
    waveform = normalise(waveform)
    slots, _ = metronome(waveform)
    return Song(name, to_int16(waveform), slots, no_labels(len(slots)))


def content_key(path: Path) -> str:
    """A name for the cache that changes with the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


MARGIN = N_FFT // 2  # samples that the first and last frame reach beyond their piece


def cut(song: Song, first_step: int, n_steps: int) -> np.ndarray:
    """Samples (n_steps * STEP_SAMPLES + N_FFT - HOP_LENGTH,) int16 that n_steps steps see; zeros outside the song."""
    start = first_step * STEP_SAMPLES - MARGIN
    stop = start + n_steps * STEP_SAMPLES + N_FFT - HOP_LENGTH
    inside = song.waveform[max(start, 0) : stop]
    before = max(-start, 0)
    return np.pad(inside, (before, stop - start - before - len(inside)))


def log_magnitude(pieces: torch.Tensor) -> torch.Tensor:
    """(batch, n_samples) int16 from cut() -> (batch, n_frames, N_BINS) float32 natural log-magnitude."""
    window = torch.hann_window(N_FFT, device=pieces.device)
    spectrum = torch.stft(pieces.float() / 32767, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
    magnitude = spectrum.abs() * (2 / window.sum())
    return magnitude.clamp_min(LOG_FLOOR).log().transpose(1, 2)


def song_log_magnitude(song: Song, device: torch.device) -> torch.Tensor:
    """(1, n_steps * FRAMES_PER_STEP, N_BINS) float32 of a whole song."""
    piece = torch.from_numpy(cut(song, 0, song.n_steps)).to(device)
    features = log_magnitude(piece.unsqueeze(0))
    assert features.shape[1] == song.n_steps * FRAMES_PER_STEP
    return features


@dataclass(frozen=True)
class Sequence:
    """One song: streams (n_steps, n_codebooks) int16 and metronome slots (n_steps,) int16."""

    streams: np.ndarray
    slots: np.ndarray


@dataclass(frozen=True)
class Batch:
    """What the LSTM takes, int64: see TokenLstm.forward."""

    before: torch.Tensor
    lookbacks: list[torch.Tensor]
    slots: torch.Tensor
    targets: torch.Tensor


def encode(song: Song, codec: Codec, device: torch.device) -> np.ndarray:
    """The song's codes (n_steps, n_codes) int16."""
    return codec.encode(song_log_magnitude(song, device))[0].cpu().numpy().astype(np.int16)


def encode_song(song: Song, codec: Codec, device: torch.device) -> Sequence:
    """The song's labels and codes."""
    return as_sequence(song, encode(song, codec, device))


def as_sequence(song: Song, codes: np.ndarray) -> Sequence:
    """The song's labels, each a step early, and its codes.

    A step's labels are those of the step that follows, so that the LSTM has taken them in before it must sound them.
    """
    return Sequence(np.concatenate([early(song.labels), codes], 1).astype(np.int16), song.slots)


def encode_songs(songs: list[Song], codec: Codec, device: torch.device, cache: Path) -> list[Sequence]:
    """Every song's labels and codes; codes are kept in the cache folder, by codec and sound, for the next sitting."""
    codec_id = hashlib.sha256()
    for tensor in codec.state_dict().values():
        codec_id.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    cache.mkdir(parents=True, exist_ok=True)
    return [_cached_sequence(song, codec, device, cache, codec_id) for song in songs]


def _cached_sequence(song: Song, codec: Codec, device: torch.device, cache: Path, codec_id: Any) -> Sequence:
    key = codec_id.copy()
    key.update(song.waveform.tobytes())
    file = cache / f"{key.hexdigest()[:24]}.npy"
    try:
        codes = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there yet, or half written
        codes = encode(song, codec, device)
        beside = file.with_suffix(f".{os.getpid()}.npy")
        np.save(beside, codes)
        beside.replace(file)
    return as_sequence(song, codes)


def early(labels: np.ndarray) -> np.ndarray:
    """Labels (n_steps, n_labels) moved to one step before they hold; the last step's hold on."""
    return np.concatenate([labels[1:], labels[-1:]])


def window(sequence: Sequence, first: int, n_steps: int, config: LstmConfig) -> list[np.ndarray]:
    """[before, *lookbacks, targets], each (n_steps, n_codebooks), of the steps from first on.

    What lies before the song's start is "not known". n_steps must not reach beyond the song.
    """
    return [
        _shifted(sequence.streams, first - ago, n_steps, config.codebook_sizes) for ago in (1, *config.lag_steps, 0)
    ]


def as_batch(windows: list[list[np.ndarray]], slots: list[np.ndarray], device: torch.device) -> Batch:
    """Windows of equal length, side by side."""
    before, *lookbacks, targets = (
        torch.from_numpy(np.stack(part).astype(np.int64)).to(device) for part in zip(*windows, strict=True)
    )
    return Batch(before, lookbacks, torch.from_numpy(np.stack(slots).astype(np.int64)).to(device), targets)


def _shifted(streams: np.ndarray, first: int, n_steps: int, unknown: tuple[int, ...]) -> np.ndarray:
    inside = streams[max(first, 0) : max(first + n_steps, 0)]
    outside = np.broadcast_to(np.array(unknown, streams.dtype), (n_steps - len(inside), streams.shape[1]))
    return np.concatenate([outside, inside])
