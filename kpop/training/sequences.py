"""Songs as sequences of streams for the LSTM: labels and the codec's codes of each step, and what preceded them."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kpop.codec.network import Codec
from kpop.lstm.config import LstmConfig
from kpop.training.features import song_log_magnitude
from kpop.training.songs import Song


@dataclass(frozen=True)
class Sequence:
    """One song: streams (n_steps, n_streams) int16 and metronome slots (n_steps,) int16."""

    streams: np.ndarray
    slots: np.ndarray


@dataclass(frozen=True)
class Batch:
    """What the LSTM takes, int64: see CodeLstm.forward."""

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
    """[before, *lookbacks, targets], each (n_steps, n_streams), of the steps from first on.

    What lies before the song's start is "not known". n_steps must not reach beyond the song.
    """
    return [
        _shifted(sequence.streams, first - ago, n_steps, config.stream_sizes) for ago in (1, *config.lookback_steps, 0)
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
