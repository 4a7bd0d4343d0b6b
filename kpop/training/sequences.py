"""Songs as sequences of streams for the LSTM: the chord and the codec's codes of each step, and what preceded them."""

from dataclasses import dataclass

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


def encode_song(song: Song, codec: Codec, device: torch.device) -> Sequence:
    """The song's labels, each a step early, and its codes.

    A step's labels are those of the step that follows, so that the LSTM has taken them in before it must sound them.
    """
    codes = codec.encode(song_log_magnitude(song, device))[0].cpu().numpy()
    return Sequence(np.concatenate([early(song.labels), codes], 1).astype(np.int16), song.slots)


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
