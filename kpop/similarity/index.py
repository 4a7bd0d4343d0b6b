"""How near songs come that nobody has trained on: what a similarity is to be judged by.

The index of the training music, and the question how near a song comes to it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kpop.checkpoint import read_tensors, write_tensors
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.errors import KpopError
from kpop.similarity.features import Projection, describe, regular_edges, unit

QUANTILES = np.linspace(0, 1, 41)
N_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 160)  # the last: songs of five minutes


@dataclass(frozen=True)
class Reference:
    """Highest similarities of unheard songs, by how much of them is compared: the more, the higher the highest.

    n_windows: (n_lengths,) pairs of bars compared; similarities: (n_lengths, len(QUANTILES)) float32
    """

    n_windows: np.ndarray
    similarities: np.ndarray

    @classmethod
    def of(cls, by_song: list[np.ndarray]) -> "Reference":
        """From each unheard song's highest similarity at each of its two bars.

        Lengths that no song has are read from the songs laid end to end.
        """
        medley = np.concatenate(by_song)
        rows = []
        for length in N_WINDOWS:
            runs = [song for song in by_song if len(song) >= length] or [np.resize(medley, max(len(medley), length))]
            highest = [np.lib.stride_tricks.sliding_window_view(run, length).max(1) for run in runs]
            rows.append(np.quantile(np.concatenate(highest), QUANTILES))
        return cls(np.array(N_WINDOWS, np.int32), np.array(rows, np.float32))

    def at(self, n_windows: int) -> np.ndarray:
        """Quantiles (len(QUANTILES),) of the highest similarity of n_windows pairs of bars of an unheard song."""
        place = np.log(max(n_windows, 1))
        columns = [np.interp(place, np.log(self.n_windows), column) for column in self.similarities.T]
        return np.maximum.accumulate(columns)

    def quantile(self, share: float, n_windows: int) -> float:
        """The similarity that a share 0..1 of unheard songs stay under, n_windows pairs of bars of each compared."""
        return float(np.interp(share, QUANTILES, self.at(n_windows)))

    def percentile(self, similarity: float, n_windows: int) -> float:
        """Share 0..1 of unheard songs that come less near than similarity; interpolated."""
        return float(np.interp(similarity, self.at(n_windows), QUANTILES))


FORMAT = "twice4life-nearness-1"
ALL_KEYS = range(-5, 7)  # semitones
WINDOW_BARS = 2
LARGEST_INT8 = 127
_BLOCK_BARS = 2048  # of the index, compared at a time: what comes of it stays in the processor's cache
_BLOCK_WINDOWS = 8


@dataclass(frozen=True)
class Match:
    """The two bars of the training music that a song comes nearest to.

    similarity: 0..1, 1 for the same two bars, in whatever key
    start_s: where in the song; song, song_start_s: in which training song, and where in it
    semitones: how much higher the training song is there, -5 to 6
    percentile: share, 0..1, of unheard songs (as much of them as was compared here) that come less near than this
    n_windows: pairs of bars that were compared
    """

    similarity: float
    start_s: float
    song: str
    song_start_s: float
    semitones: int
    percentile: float
    n_windows: int


@dataclass(frozen=True)
class SimilarityIndex:
    """All bars of the training music as short vectors.

    vectors: (n_bars, N_DIMENSIONS) int8, each to be scaled to length 1
    starts: (n_bars,) int32, where each begins in its song, in code steps
    first_bars: (n_songs + 1,) int32, the first bar of each song, and the number of bars
    names: of the songs; data: what they are, as a checkpoint's info says it; bar_samples: length of a bar
    reference: how near unheard songs come
    """

    vectors: np.ndarray
    starts: np.ndarray
    first_bars: np.ndarray
    names: tuple[str, ...]
    projection: Projection
    reference: Reference
    data: str
    bar_samples: float = BAR_SAMPLES

    @classmethod
    def load(cls, path: Path) -> "SimilarityIndex":
        """Raises KpopError when the file is missing, damaged, or not one of ours."""
        tensors, metadata = read_tensors(path)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            if metadata["format"] != FORMAT:
                raise ValueError(f"unknown format {metadata['format']}")
            facts = json.loads(metadata["info"])
            projection = Projection(*(arrays[name] for name in ("rhythm_mean", "lengths", "mean")), _floats(arrays))
            index = cls(
                *(arrays[name] for name in ("vectors", "starts", "first_bars")),
                tuple(facts["songs"]),
                projection,
                Reference(arrays["reference_windows"], arrays["reference_similarities"]),
                facts["data"],
                facts["bar_samples"],
            )
            index._check()
            return index
        except (KeyError, TypeError, ValueError) as error:
            raise KpopError(f"{path.name} is no index of training music: build it with `kpop index`.") from error

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically."""
        arrays = {
            "vectors": self.vectors,
            "starts": self.starts,
            "first_bars": self.first_bars,
            "rhythm_mean": self.projection.rhythm_mean,
            "lengths": self.projection.lengths,
            "mean": self.projection.mean,
            "matrix": self.projection.matrix.astype(np.float16),
            "reference_windows": self.reference.n_windows,
            "reference_similarities": self.reference.similarities,
        }
        facts = {"data": self.data, "bar_samples": self.bar_samples, "songs": self.names}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        write_tensors(path, tensors, {"format": FORMAT, "info": json.dumps(facts)})

    def nearest(self, waveform: np.ndarray, first_sample: int = 0) -> Match | None:
        """What a waveform (n_samples,) float32 at 16 kHz comes nearest to, from first_sample on, where a bar begins.

        None when fewer than two bars follow, or all is silent. Two bars are compared with every two that follow each
        other in a training song, in all twelve keys.
        """
        edges = regular_edges(len(waveform), first_sample, self.bar_samples)
        if len(edges) <= WINDOW_BARS:
            return None
        similarities, places, keys = self.compare(self.projection.project(describe(waveform, edges), ALL_KEYS))
        if similarities.max() <= 0:
            return None
        window = int(similarities.argmax())
        similarity, bar = float(min(similarities[window], 1.0)), int(places[window])
        song = int(np.searchsorted(self.first_bars, bar, side="right")) - 1
        return Match(
            similarity,
            float(edges[window]) / SAMPLE_RATE_HZ,
            self.names[song],
            float(self.starts[bar]) * STEP_SAMPLES / SAMPLE_RATE_HZ,
            ALL_KEYS[int(keys[window])],
            self.reference.percentile(similarity, len(similarities)),
            len(similarities),
        )

    def compare(self, bars: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each two neighbouring bars of a song, the highest similarity in the index, and its bar and key.

        bars: (n_bars, n_keys, N_DIMENSIONS) unit vectors; returns three arrays (n_bars - 1,).
        """
        n_windows = max(len(bars) - 1, 0)
        best, places, keys = np.zeros(n_windows, np.float32), np.zeros(n_windows, int), np.zeros(n_windows, int)
        for start in range(0, len(self.vectors) - 1, _BLOCK_BARS):
            stop = min(start + _BLOCK_BARS + 1, len(self.vectors))
            block = unit(self.vectors[start:stop].astype(np.float32)).T
            no_pair = np.isin(np.arange(start + 1, stop), self.first_bars)
            for first in range(0, n_windows, _BLOCK_WINDOWS):
                here = slice(first, min(first + _BLOCK_WINDOWS, n_windows))
                alike = bars[here.start : here.stop + 1] @ block
                pairs = (alike[:-1, :, :-1] + alike[1:, :, 1:]) / 2
                pairs[:, :, no_pair] = -1
                flat = pairs.reshape(len(pairs), -1)
                winners = flat.argmax(1)
                highest = flat[np.arange(len(flat)), winners]
                better = np.flatnonzero(highest > best[here])
                best[first + better] = highest[better]
                keys[first + better], columns = np.divmod(winners[better], pairs.shape[2])
                places[first + better] = start + columns
        return best, places, keys

    def _check(self) -> None:
        n_bars, n_dimensions = self.vectors.shape
        fits = (
            self.vectors.dtype == np.int8
            and self.starts.shape == (n_bars,)
            and self.first_bars.shape == (len(self.names) + 1,)
            and self.first_bars[-1] == n_bars
            and self.projection.matrix.shape == (len(self.projection.mean), n_dimensions)
            and self.bar_samples > 0
        )
        if not fits:
            raise ValueError("vectors, songs and projection do not belong together")


def packed(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (n_bars, n_dimensions) as int8, each to its own largest number."""
    largest = np.maximum(np.abs(vectors).max(1, keepdims=True), 1e-9)
    return np.round(vectors * (LARGEST_INT8 / largest)).astype(np.int8)


def _floats(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return arrays["matrix"].astype(np.float32)
