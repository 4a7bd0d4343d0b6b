"""Sound files: reading any format as mono at 16 kHz, writing 16-bit WAV with tags."""

import math
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError

READ_BLOCK_FRAMES = 1 << 18
MIN_RATE_HZ = 1_000  # a lower one is a broken header, and resampling from it would fill the memory
PCM_SCALE = 32_768  # libsndfile divides by the same when it reads
SAMPLE_WIDTH_BYTES = 2
BYTES_PER_S = SAMPLE_WIDTH_BYTES * SAMPLE_RATE_HZ  # of PCM
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")  # of files that can be written
MAX_WAV_BYTES = 2**32 - 1  # the sizes in the header of a file whose length is not known


def read_audio(source: str | Path | BinaryIO, max_s: float | None = None) -> np.ndarray:
    """Waveform float32 (n_samples,), mono at 16 kHz, of a sound file of any rate and number of channels.

    Formats are libsndfile's (wav, flac, ogg, mp3 ...); channels are averaged; at most max_s seconds are read. Raises
    KpopError for a file that is missing, not audio, broken, empty or that holds NaN or infinity; silence is allowed.
    """
    import soundfile  # here, because the page and training start without them
    import soxr

    is_path = isinstance(source, str | Path)
    name = str(source if is_path else getattr(source, "name", "The file"))
    if is_path and not Path(source).is_file():
        raise KpopError(f"There is no sound file at {name}; check the path.")
    try:
        with soundfile.SoundFile(source) as file:
            if file.samplerate < MIN_RATE_HZ:
                raise KpopError(f"{name} claims {file.samplerate} samples a second; export it again as WAV or FLAC.")
            n_left = math.inf if max_s is None else max(1, round(max_s * file.samplerate))
            resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
            parts = []  # block by block: a stereo hour never lies in memory at its own rate
            while len(block := file.read(min(READ_BLOCK_FRAMES, n_left), dtype="float32", always_2d=True)):
                parts.append(resampler.resample_chunk(block.mean(axis=1)))
                n_left -= len(block)
            waveform = np.concatenate([*parts, resampler.resample_chunk(np.zeros(0, np.float32), last=True)])
    except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: a headerless format
        raise KpopError(f"{name} is not a sound file that can be read; try WAV, FLAC, OGG or MP3.") from error
    if not waveform.size:
        raise KpopError(f"{name} holds no sound at all; choose another file.")
    if not np.isfinite(waveform).all():
        raise KpopError(f"{name} holds samples that are not numbers; export it again from where it was made.")
    return waveform


def pcm_bytes(waveform: np.ndarray) -> bytes:
    """16-bit little-endian PCM of a waveform (n_samples,), clipped to -1..1 (which 16 bits reach from below only)."""
    return np.clip(np.rint(waveform * float(PCM_SCALE)), -PCM_SCALE, PCM_SCALE - 1).astype("<i2").tobytes()


def from_pcm(pcm: bytes) -> np.ndarray:
    """Waveform float32 (n_samples,) of 16-bit little-endian PCM; exact inverse of `pcm_bytes`."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / PCM_SCALE


def wav_header(n_samples: int | None, tags: Mapping[str, str] | None = None) -> bytes:
    """What comes before the PCM in a 16-bit mono WAV file at 16 kHz; n_samples None: of unknown length.

    tags: texts of a RIFF INFO list by their four letters, such as {"INAM": "a title"}. The list comes before the
    samples: behind them, a browser would request the end of a file that is still being made, and wait for it.
    """
    texts = b"".join(_chunk(name, text.encode() + b"\0") for name, text in (tags or {}).items())
    info = _chunk("LIST", b"INFO" + texts) if tags else b""
    n_bytes = MAX_WAV_BYTES if n_samples is None else n_samples * SAMPLE_WIDTH_BYTES
    mono_pcm = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE_HZ, BYTES_PER_S, SAMPLE_WIDTH_BYTES, 8 * SAMPLE_WIDTH_BYTES)
    body = b"WAVE" + _chunk("fmt ", mono_pcm) + info + struct.pack("<4sI", b"data", n_bytes)
    return struct.pack("<4sI", b"RIFF", min(len(body) + n_bytes, MAX_WAV_BYTES)) + body


def _chunk(name: str, body: bytes) -> bytes:
    """RIFF chunk, padded to an even length."""
    return struct.pack("<4sI", name.encode(), len(body)) + body + b"\0" * (len(body) % 2)


def wav_bytes(waveform: np.ndarray, tags: Mapping[str, str] | None = None) -> bytes:
    """WAV file of a waveform (n_samples,) within -1..1, ValueError otherwise; format and tags as in `wav_header`."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not (np.abs(waveform) <= 1).all():  # also false for NaN
        raise ValueError(f"a mono waveform within -1..1 is needed; this one, {waveform.shape}, leaves it or holds NaN")
    return wav_header(waveform.size, tags) + pcm_bytes(waveform)


def write_wav(path: str | Path, waveform: np.ndarray, tags: Mapping[str, str] | None = None) -> None:
    """Write `wav_bytes(waveform, tags)` to `path`, whole or not at all; KpopError if the folder does not take it."""
    with _whole_file(path) as file:
        file.write_bytes(wav_bytes(waveform, tags))


def write_audio(path: str | Path, waveform: np.ndarray, tags: Mapping[str, str]) -> None:
    """Write a sound file in the format of the path's suffix, one of SUFFIXES; otherwise as write_wav()."""
    import soundfile

    if Path(path).suffix.lower() == ".wav":
        return write_wav(path, waveform, tags)
    with _whole_file(path) as file, soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1) as sound:
        sound.title, sound.artist, sound.comment = tags["INAM"], tags["IART"], tags["ICMT"]
        sound.write(waveform)


@contextmanager
def _whole_file(path: str | Path) -> Iterator[Path]:
    """A file to be written, which replaces `path` when it is complete. KpopError if the folder does not take it."""
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            yield Path(folder) / path.name
            os.replace(Path(folder) / path.name, path)
    except OSError as error:
        raise KpopError(f"Cannot write {path} ({error.strerror}); choose a folder that exists and is yours.") from error
