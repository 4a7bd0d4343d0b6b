"""The index of a model's training music, the search for the two bars of it that are most similar to a song's, and the
similarities of unseen songs to judge them by."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kpop.audio.io import wav_bytes
from kpop.audio.phase import reconstruct
from kpop.audio.stft import stft_at
from kpop.checkpoint import read_tensors, write_tensors
from kpop.constants import BAR_SAMPLES, HOP_LENGTH, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.corpus.compose import CORPUS_DATA, compose
from kpop.corpus.mix import render
from kpop.errors import KpopError
from kpop.model_info import index_path
from kpop.settings import GRID_BEAT, GeneratedSong
from kpop.similarity.features import Projection, analyse_bars, unit

FORMAT = "twice4life-nearness-1"
QUANTILES = np.linspace(0, 1, 41)
N_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 160)  # the last: songs of five minutes
ALL_KEYS = range(-5, 7)  # semitones
WINDOW_BARS = 2
SHARES = {"low": 0.05, "usual": 0.5, "high": 0.95}  # of unseen songs, that are less similar
N_ITERATIONS = 8  # of Griffin-Lim, as for the song itself
FADE_S = 0.01
_BLOCK_BARS, _BLOCK_WINDOWS = 2048, 8  # compared at a time: the products stay in the processor's cache


@dataclass(frozen=True)
class Reference:
    """Highest similarities of unseen songs, by the number of windows compared: the more, the higher the highest."""

    n_windows: np.ndarray  # (n_lengths,)
    similarities: np.ndarray  # (n_lengths, len(QUANTILES)) float32

    @classmethod
    def of(cls, by_song: list[np.ndarray]) -> "Reference":
        """From each unseen song's highest similarity at each window. Lengths that no song has are taken from all songs
        concatenated."""
        medley = np.concatenate(by_song)
        rows = []
        for length in N_WINDOWS:
            runs = [song for song in by_song if len(song) >= length] or [np.resize(medley, max(len(medley), length))]
            highest = [np.lib.stride_tricks.sliding_window_view(run, length).max(1) for run in runs]
            rows.append(np.quantile(np.concatenate(highest), QUANTILES))
        return cls(np.array(N_WINDOWS, np.int32), np.array(rows, np.float32))

    def quantile(self, share: float, n_windows: int) -> float:
        """The similarity that a share 0..1 of unseen songs stay below, n_windows of each compared; interpolated."""
        log_n = np.log(max(n_windows, 1))
        quantiles = [np.interp(log_n, np.log(self.n_windows), column) for column in self.similarities.T]
        return float(np.interp(share, QUANTILES, np.maximum.accumulate(quantiles)))


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
    reference: Reference
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
            facts = json.loads(metadata["info"])
            matrix = arrays["matrix"].astype(np.float32)
            return cls(
                *(arrays[name] for name in ("vectors", "starts", "first_bars")),
                names=tuple(facts["songs"]),
                projection=Projection(arrays["rhythm_mean"], arrays["lengths"], arrays["mean"], matrix),
                reference=Reference(arrays["reference_windows"], arrays["reference_similarities"]),
                data=facts["data"],
                bar_samples=facts["bar_samples"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise KpopError(f"{path.name} is no index of training music: build it with `kpop index`.") from error

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically."""
        arrays = {
            "vectors": self.vectors,
            "starts": self.starts,
            "first_bars": self.first_bars,
            "rhythm_mean": self.projection.rhythm_mean,
            "lengths": self.projection.norms,
            "mean": self.projection.mean,
            "matrix": self.projection.matrix.astype(np.float16),
            "reference_windows": self.reference.n_windows,
            "reference_similarities": self.reference.similarities,
        }
        facts = {"data": self.data, "bar_samples": self.bar_samples, "songs": self.names}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        write_tensors(path, tensors, {"format": FORMAT, "info": json.dumps(facts)})

    def search(self, waveform: np.ndarray, first_sample: int = 0) -> Match | None:
        """The match of a waveform (n_samples,) float32 from first_sample on, where a bar begins.

        None when fewer than two bars follow, or all are silent. Every two bars are compared with every two consecutive
        bars of the training songs, in all twelve keys.
        """
        n_bars = int((len(waveform) - first_sample) // self.bar_samples)
        if n_bars < WINDOW_BARS:
            return None
        edges = first_sample + np.arange(n_bars + 1) * self.bar_samples
        similarities, bars = self.compare(self.projection.project(analyse_bars(waveform, edges), ALL_KEYS))
        window = int(similarities.argmax())
        similarity, bar = float(min(similarities[window], 1.0)), int(bars[window])
        if similarity <= 0:
            return None
        return Match(
            similarity,
            start_s=float(edges[window]) / SAMPLE_RATE_HZ,
            song=self.names[int(np.searchsorted(self.first_bars, bar, side="right")) - 1],
            song_start_s=float(self.starts[bar]) * STEP_SAMPLES / SAMPLE_RATE_HZ,
            n_windows=len(similarities),
        )

    def compare(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each two consecutive bars of a song, the highest similarity in the index in any key, and its bar.

        vectors: (n_bars, n_keys, N_DIMENSIONS) of length 1; returns two arrays (n_bars - 1,).
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


@dataclass(frozen=True)
class SimilarityResult(Match):
    """The match of a generated song, for the page."""

    low: float  # the 5 % quantile of the similarities of unseen songs of this length
    usual: float  # their median
    high: float  # their 95 % quantile
    here: bytes  # WAV file of the two bars
    there: bytes | None  # WAV file of the training song's; None if that is not of the composed corpus

    @property
    def is_new(self) -> bool:
        """Whether a song that the model was not trained on might be as similar."""
        return self.similarity <= self.high


def closest_moment(song: GeneratedSong, data: str) -> SimilarityResult | None:
    """The most similar moment to what follows the song's seed. data: the songs that its model was trained on.

    A song at another tempo is compared at the training music's. None if there is no index of those songs beside the
    model, the song is too short, or it has another number of beats per bar.
    """
    try:
        index = SimilarityIndex.load(index_path(song.settings.model))
    except KpopError:
        return None
    if index.data != data or song.beat.beats_per_bar != GRID_BEAT.beats_per_bar:
        return None
    bar_s = song.beat.beat_s * song.beat.beats_per_bar
    hop = round(HOP_LENGTH * bar_s * SAMPLE_RATE_HZ / index.bar_samples)
    stretch = hop / HOP_LENGTH
    match = index.search(at_tempo(song.waveform, hop), round(first_bar_after_seed(song) / stretch))
    if match is None:
        return None
    number, start_s = match.song.removeprefix("song-"), match.start_s * stretch
    title = f"song {int(number)}" if number != match.song and number.isdecimal() else match.song
    start, length = (round(each_s * SAMPLE_RATE_HZ) for each_s in (start_s, WINDOW_BARS * bar_s))
    return SimilarityResult(
        **vars(replace(match, start_s=start_s, song=title)),
        **{name: index.reference.quantile(share, match.n_windows) for name, share in SHARES.items()},
        here=wav_bytes(faded(song.waveform[start : start + length])),
        there=wav_bytes(training_excerpt(int(number), match.song_start_s)) if data == CORPUS_DATA else None,
    )


def at_tempo(waveform: np.ndarray, hop: int) -> np.ndarray:
    """A waveform (n_samples,) float32 time-stretched from hop samples per frame to HOP_LENGTH, at the same pitch."""
    if hop == HOP_LENGTH:
        return waveform
    magnitude = np.abs(stft_at(waveform, np.arange(0, len(waveform), hop)))
    return reconstruct(magnitude, (len(magnitude) - 1) * HOP_LENGTH, n_iterations=N_ITERATIONS)


def first_bar_after_seed(song: GeneratedSong) -> int:
    """The sample at which the first wholly generated bar begins."""
    bar_s = song.beat.beat_s * song.beat.beats_per_bar
    bars_before = np.ceil((song.seed_end_s - song.beat.first_downbeat_s) / bar_s - 1e-6)
    return round((song.beat.first_downbeat_s + max(bars_before, 0) * bar_s) * SAMPLE_RATE_HZ)


def training_excerpt(number: int, start_s: float) -> np.ndarray:
    """Waveform float32 of two bars of a song of the composed corpus from start_s on, with short fades."""
    waveform = render(compose(number))
    start = min(round(start_s * SAMPLE_RATE_HZ), len(waveform) - WINDOW_BARS * BAR_SAMPLES)
    return faded(waveform[start : start + WINDOW_BARS * BAR_SAMPLES])


def faded(waveform: np.ndarray) -> np.ndarray:
    """A copy with short linear fades."""
    from_end = np.minimum(np.arange(len(waveform)), np.arange(len(waveform))[::-1])
    return waveform * np.minimum(from_end / (FADE_S * SAMPLE_RATE_HZ), 1).astype(np.float32)
