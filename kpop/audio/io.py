"""Sound files in and out: anything libsndfile reads becomes mono at our rate; what we write is 16-bit WAV."""

import io
import os
import struct
import threading
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError

READ_BLOCK_FRAMES = 1 << 18
SLOWEST_RATE_HZ = 1_000  # a header below this is broken, and resampling it would fill the memory
PCM_SCALE = 32_768  # libsndfile divides by the same when it reads
SAMPLE_WIDTH_BYTES = 2


def read_audio(source: str | Path | BinaryIO, max_s: float | None = None) -> np.ndarray:
    """Waveform float32 (n_samples,), mono at 16 kHz, of a sound file of any rate and number of channels.

    `source` is a path or an open binary file; formats are libsndfile's (wav, flac, ogg, mp3 ...). Channels are
    averaged. With `max_s` only that many seconds from the start are read. KpopError for a file that is missing, not
    audio, broken, empty or that holds NaN or infinity; silence is allowed.
    """
    if max_s is not None and not max_s > 0:
        raise ValueError(f"max_s must be positive, not {max_s}")
    name = _name(source)
    if isinstance(source, str | Path) and not Path(source).is_file():
        raise KpopError(f"There is no sound file at {name}; check the path.")
    waveform = _decode(source, name, max_s)
    if not waveform.size:
        raise KpopError(f"{name} holds no sound at all; choose another file.")
    if not np.isfinite(waveform).all():
        raise KpopError(f"{name} holds samples that are not numbers; export it again from where it was made.")
    return waveform


def wav_bytes(waveform: np.ndarray, tags: Mapping[str, str] | None = None) -> bytes:
    """WAV file, 16-bit mono at 16 kHz, of a waveform (n_samples,) within -1..1; ValueError for anything outside.

    tags: texts of a RIFF INFO list by their four letters, such as {"INAM": "a title"}
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise ValueError(f"a mono waveform has one axis, this one has shape {waveform.shape}")
    if not (np.abs(waveform) <= 1).all():  # also false for NaN
        raise ValueError("the waveform leaves -1..1 or holds NaN; normalise it before writing")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_WIDTH_BYTES)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm_bytes(waveform))
    return _tagged(buffer.getvalue(), tags) if tags else buffer.getvalue()


def _tagged(wav: bytes, tags: Mapping[str, str]) -> bytes:
    """The list goes behind the sound, so that the sound begins where simple readers expect it."""
    texts = (_chunk(name, text.encode() + b"\0") for name, text in tags.items())
    content = wav + _chunk("LIST", b"INFO" + b"".join(texts))
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


def _chunk(name: str, body: bytes) -> bytes:
    """Of a RIFF file: four letters, the body's length, the body, and a byte of padding to an even place."""
    return name.encode() + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def pcm_bytes(waveform: np.ndarray) -> bytes:
    """16-bit little-endian PCM of a waveform (n_samples,); what leaves -1..1 is cut off there."""
    # 16 bits have no +1, hence the limit.
    return np.clip(np.rint(waveform * float(PCM_SCALE)), -PCM_SCALE, PCM_SCALE - 1).astype("<i2").tobytes()


def write_wav(path: str | Path, waveform: np.ndarray, tags: Mapping[str, str] | None = None) -> None:
    """Write `wav_bytes(waveform, tags)` to `path`, whole or not at all; KpopError if the folder does not take it."""
    path, content = Path(path), wav_bytes(waveform, tags)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None
        raise KpopError(f"Cannot write {path} ({error.strerror}); choose a folder that exists and is yours.") from error


def _name(source: str | Path | BinaryIO) -> str:
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "The file"


def _decode(source: str | Path | BinaryIO, name: str, max_s: float | None) -> np.ndarray:
    """Mono waveform at our rate; KpopError if libsndfile does not understand it."""
    import soundfile  # here, because the page and training start without it

    try:
        with soundfile.SoundFile(source) as file:
            if file.samplerate < SLOWEST_RATE_HZ:
                raise KpopError(f"{name} claims {file.samplerate} samples a second; export it again as WAV or FLAC.")
            return _read_resampled(file, max_s)
    except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: a headerless format
        raise KpopError(f"{name} is not a sound file that can be read; try WAV, FLAC, OGG or MP3.") from error


def _read_resampled(file, max_s: float | None) -> np.ndarray:
    """Read an open `soundfile.SoundFile` block by block, so that a stereo hour never lies in memory at its own rate."""
    import soxr

    frames_left = None if max_s is None else max(1, round(max_s * file.samplerate))
    resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    parts = []
    while frames_left is None or frames_left > 0:
        n_wanted = READ_BLOCK_FRAMES if frames_left is None else min(READ_BLOCK_FRAMES, frames_left)
        block = file.read(n_wanted, dtype="float32", always_2d=True)
        parts.append(resampler.resample_chunk(block.mean(axis=1)))
        frames_left = None if frames_left is None else frames_left - n_wanted
        if len(block) < n_wanted:
            break
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts)
