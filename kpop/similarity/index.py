"""The index of a model's training music, and the search for the two bars of it that are most similar to a song's."""

import json
import threading
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from kpop.audio.io import wav_bytes
from kpop.checkpoint import read_tensors, write_tensors
from kpop.constants import HOP_LENGTH, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.corpus.compose import CORPUS_DATA, compose
from kpop.corpus.mix import render
from kpop.errors import KpopError
from kpop.model_info import index_path
from kpop.runtime import malloc_trim
from kpop.settings import GRID_BEAT, GeneratedSong
from kpop.similarity.features import Projection, analyse_bars, unit

FORMAT = "twice4life-nearness-1"
ALL_KEYS = range(-5, 7)  # semitones
WINDOW_BARS = 2
N_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 160)  # the more are compared, the higher the highest; up to five minutes
QUANTILES = np.linspace(0, 1, 41)
SHARES = {"low": 0.05, "usual": 0.5, "high": 0.95}  # of unseen songs, that are less similar
FADE_S = 0.01
_BLOCK_BARS, _BLOCK_WINDOWS = 2048, 8  # compared at a time: the products stay in the processor's cache
_one_rendering = threading.Lock()  # at a time, since each takes 300 MB


@dataclass(frozen=True)
class Match:
    """The two bars of the training music most similar to any two of a song."""

    similarity: float  # 0..1, 1 for the same two bars, in whatever key
    start_s: float  # where in the song
    song: str  # which training song
    song_start_s: float  # and where in it
    n_windows: int  # pairs of bars that were compared


@dataclass(frozen=True)
class SimilarityIndex:
    """All bars of the training music as short vectors."""

    vectors: np.ndarray  # (n_bars, N_DIMENSIONS) int8, each to be scaled to length 1
    starts: np.ndarray  # (n_bars,) int32, of each bar in its song, in steps
    first_bars: np.ndarray  # (n_songs + 1,) int32, the first bar of each song, and the number of bars
    names: tuple[str, ...]  # of the songs
    projection: Projection
    reference: np.ndarray  # (len(N_WINDOWS), len(QUANTILES)) float32, the highest similarities of unseen songs
    data: str  # what the songs are, as in the checkpoint's info
    bar_samples: float  # length of a bar

    @classmethod
    def load(cls, path: Path) -> "SimilarityIndex":
        """Raises KpopError when the file is missing, damaged, or not an index."""
        tensors, metadata = read_tensors(path)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            if metadata["format"] != FORMAT:
                raise ValueError(f"unknown format {metadata['format']}")
            facts, bars = json.loads(metadata["info"]), (arrays[name] for name in ("vectors", "starts", "first_bars"))
            projection = Projection(*(arrays[each.name].astype(np.float32) for each in fields(Projection)))
            reference = arrays["reference_similarities"]
            return cls(*bars, tuple(facts["songs"]), projection, reference, facts["data"], facts["bar_samples"])
        except (KeyError, TypeError, ValueError) as error:
            raise KpopError(f"{path.name} is no index of training music: build it with `kpop index`.") from error

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically."""
        arrays = vars(self.projection) | {
            "matrix": self.projection.matrix.astype(np.float16),
            "vectors": self.vectors,
            "starts": self.starts,
            "first_bars": self.first_bars,
            "reference_windows": np.array(N_WINDOWS, np.int32),
            "reference_similarities": self.reference,
        }
        facts = {"data": self.data, "bar_samples": self.bar_samples, "songs": self.names}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        write_tensors(path, tensors, {"format": FORMAT, "info": json.dumps(facts)})

    def search(self, waveform: np.ndarray, first_sample: int = 0, bar_samples: float = 0) -> Match | None:
        """The match of a waveform (n_samples,) float32 from first_sample on, where a bar begins.

        bar_samples: length of a bar, by default the training music's. None when fewer than two bars follow, or all are
        silent.
        """
        bar_samples = bar_samples or self.bar_samples
        n_bars = int((len(waveform) - first_sample) // bar_samples)
        if n_bars < WINDOW_BARS:
            return None
        edges = first_sample + np.arange(n_bars + 1) * bar_samples
        similarities, bars = self.compare(self.projection.project(analyse_bars(waveform, edges), ALL_KEYS))
        window = int(similarities.argmax())
        if similarities[window] <= 0:
            return None
        return Match(
            similarity=float(min(similarities[window], 1.0)),
            start_s=float(edges[window]) / SAMPLE_RATE_HZ,
            song=self.names[int(np.searchsorted(self.first_bars, bars[window], side="right")) - 1],
            song_start_s=float(self.starts[bars[window]]) * STEP_SAMPLES / SAMPLE_RATE_HZ,
            n_windows=len(similarities),
        )

    def compare(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each two consecutive bars of a song, the highest similarity to any two of a training song in any key, and
        the first of these two. vectors: (n_bars, n_keys, N_DIMENSIONS) of length 1; returns two arrays (n_bars - 1,).
        """
        n_windows = max(len(vectors) - 1, 0)
        best, bars = np.zeros(n_windows, np.float32), np.zeros(n_windows, int)
        for start in range(0, len(self.vectors) - 1, _BLOCK_BARS):
            stop = min(start + _BLOCK_BARS + 1, len(self.vectors))
            block = unit(self.vectors[start:stop].astype(np.float32)).T
            spans_songs = np.isin(np.arange(start + 1, stop), self.first_bars)
            for first in range(0, n_windows, _BLOCK_WINDOWS):
                products = vectors[first : first + _BLOCK_WINDOWS + 1] @ block
                windows = ((products[:-1, :, :-1] + products[1:, :, 1:]) / 2).max(1)  # (n_windows, n_bars), best key
                windows[:, spans_songs] = -1
                here = np.arange(first, first + len(windows))
                better = here[windows.max(1) > best[here]]
                best[better] = windows[better - first].max(1)
                bars[better] = start + windows[better - first].argmax(1)
        return best, bars

    def quantile(self, share: float, n_windows: int) -> float:
        """The similarity that a share 0..1 of unseen songs stay below, n_windows of each compared; interpolated."""
        quantiles = [np.interp(np.log(max(n_windows, 1)), np.log(N_WINDOWS), column) for column in self.reference.T]
        return float(np.interp(share, QUANTILES, np.maximum.accumulate(quantiles)))


@dataclass(frozen=True)
class SimilarityResult(Match):
    """The match of a generated song, for the page."""

    low: float  # the 5 % quantile of the similarities of unseen songs of this length
    usual: float  # their median
    high: float  # their 95 % quantile
    here: bytes  # WAV file of the two bars
    number: int | None  # of the training song in the composed corpus; None if it is not from there

    @cached_property
    def there(self) -> bytes:
        """WAV file of the two bars of training song `number`; rendering all of it takes seconds, at first use."""
        with _one_rendering:
            score = compose(self.number)
            waveform, length = render(score), WINDOW_BARS * score.bar_samples
            malloc_trim()
        start = min(round(self.song_start_s * SAMPLE_RATE_HZ), len(waveform) - length)
        return _faded_wav(waveform[start : start + length])


def closest_moment(song: GeneratedSong, data: str) -> SimilarityResult | None:
    """The most similar moment to what follows the song's seed. data: the songs that its model was trained on.

    None if there is no index of those songs, the song is too short, or it has another number of beats per bar.
    """
    try:
        index = SimilarityIndex.load(index_path(song.settings.model))
    except KpopError:
        return None
    if index.data != data or song.beat.beats_per_bar != GRID_BEAT.beats_per_bar:
        return None
    bar_s = song.beat.beat_s * song.beat.beats_per_bar
    first_bar = max(np.ceil((song.seed_end_s - song.beat.first_downbeat_s) / bar_s - 1e-6), 0)  # wholly generated
    first_sample = round((song.beat.first_downbeat_s + first_bar * bar_s) * SAMPLE_RATE_HZ)
    match = index.search(song.waveform, first_sample, bar_s * SAMPLE_RATE_HZ)
    if match is None:
        return None
    number = int(match.song.removeprefix("song-")) if data == CORPUS_DATA else None
    title = match.song if number is None else f"song {number}"
    if number is not None:  # the index counts steps of HOP_LENGTH
        match = replace(match, song_start_s=match.song_start_s * compose(number).hop / HOP_LENGTH)
    match = replace(match, song=title)
    start, length = (round(each_s * SAMPLE_RATE_HZ) for each_s in (match.start_s, WINDOW_BARS * bar_s))
    here = _faded_wav(song.waveform[start : start + length])
    quantiles = {name: index.quantile(share, match.n_windows) for name, share in SHARES.items()}
    return SimilarityResult(**vars(match), **quantiles, here=here, number=number)


def _faded_wav(waveform: np.ndarray) -> bytes:
    """With short linear fades."""
    from_end = np.minimum(np.arange(len(waveform)), np.arange(len(waveform))[::-1])
    return wav_bytes(waveform * np.minimum(from_end / (FADE_S * SAMPLE_RATE_HZ), 1).astype(np.float32))
