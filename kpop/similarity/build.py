"""Building an index: features of every training song, and of unseen songs as its reference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from kpop.checkpoint import load_codec
from kpop.codec.model import Codec
from kpop.constants import STEP_SAMPLES, STEPS_PER_BAR
from kpop.corpus.compose import CORPUS_DATA, CORPUS_VERSION, song_name
from kpop.errors import KpopError
from kpop.generation.pipeline import codec_copy
from kpop.similarity.features import Projection, analyse_bars, bar_edges
from kpop.similarity.index import ALL_KEYS, WINDOW_BARS, Reference, SimilarityIndex
from kpop.training.data import TrainingSong, corpus_song, folder_songs, in_processes, metre_rate
from kpop.training.loop import Report

FIRST_UNSEEN = 2_000_000  # neither training nor seed clips use song numbers as high
INT16_SCALE = np.float32(32_767)


@dataclass(frozen=True)
class AnalysedSong:
    """Features of a song's bars, their starts in steps (n_bars,) int32, and its metre positions per step."""

    name: str
    bars: np.ndarray
    starts: np.ndarray
    rate: float


def analyse_song(song: TrainingSong, codec: Codec | None = None) -> AnalysedSong:
    """The bars of a song, or of its copy through a codec: generated songs have passed one, too."""
    waveform = song.waveform / INT16_SCALE
    if codec is not None:
        waveform = codec_copy(waveform, codec)
    edges = bar_edges(song.metre_positions)
    starts = np.round(edges[:-1] / STEP_SAMPLES).astype(np.int32)
    return AnalysedSong(song.name, analyse_bars(waveform, edges), starts, metre_rate([song]))


def build(training: list[AnalysedSong], unseen: list[AnalysedSong], data: str) -> SimilarityIndex:
    """The index of the training songs, with the unseen ones as its reference.

    data: what the songs are, as in the checkpoint's info. KpopError when either side has no two consecutive bars.
    """
    training, unseen = ([song for song in side if len(song.bars) >= WINDOW_BARS] for side in (training, unseen))
    if not training or not unseen:
        raise KpopError("An index needs songs of at least two bars, both of the training and others: add songs.")
    projection = Projection.fit(np.concatenate([song.bars for song in training]))
    vectors = np.concatenate([projection.project(song.bars)[:, 0] for song in training])
    largest = np.maximum(np.abs(vectors).max(1, keepdims=True), 1e-9)
    index = SimilarityIndex(
        vectors=np.round(vectors * (127 / largest)).astype(np.int8),
        starts=np.concatenate([song.starts for song in training]),
        first_bars=np.cumsum([0] + [len(song.bars) for song in training]).astype(np.int32),
        names=tuple(song.name for song in training),
        projection=projection,
        reference=Reference(np.zeros(0), np.zeros((0, 0))),
        data=data,
        bar_samples=STEPS_PER_BAR / float(np.median([song.rate for song in training])) * STEP_SAMPLES,
    )
    highest = [index.compare(projection.project(song.bars, ALL_KEYS))[0] for song in unseen]
    return replace(index, reference=Reference.of(highest))


def corpus_index(
    checkpoint: Path, cache: Path, n_songs: int | None, n_unseen: int, n_jobs: int, report: Report
) -> SimilarityIndex:
    """The index of a model of the composed corpus. n_songs: only those with lower numbers; None: all it was trained on.

    cache: the training's folder, whose rendered songs are used; KpopError when the model was trained on other songs.
    """
    info = load_codec(checkpoint)[1]
    if info.get("data") != CORPUS_DATA:
        raise KpopError(
            f"{checkpoint.name} was trained on {info.get('data', 'something unknown')}, and what is here is "
            f"{CORPUS_DATA}: train it again, or give the FOLDER of its songs."
        )
    held_out = set(info["held_out"])
    training = [n for n in range(n_songs or info["n_songs"] + len(held_out)) if song_name(n) not in held_out]
    unseen = range(FIRST_UNSEEN, FIRST_UNSEEN + n_unseen)
    rendered = cache / f"corpus-{CORPUS_VERSION}"

    def analyse(numbers: Sequence[int], codec_of: Path | None) -> list[AnalysedSong]:
        return in_processes(partial(_analyse_number, rendered, codec_of), numbers, n_jobs, report, "analysed")

    return build(analyse(training, None), analyse(unseen, checkpoint), info["data"])


def folder_index(checkpoint: Path, cache: Path, folder: Path, report: Report) -> SimilarityIndex:
    """The index of a model of the user's own songs; those held out of its training are its unseen songs.

    KpopError when the model was not trained on this folder's songs.
    """
    codec, info = load_codec(checkpoint)
    songs = folder_songs(folder, cache / "songs", report)
    held_out = set(info.get("held_out", ()))
    training, unseen = ([song for song in songs if (song.name in held_out) == out] for out in (False, True))
    if len(training) != info.get("n_songs") or len(unseen) != len(held_out):
        raise KpopError(f"{checkpoint.name} was not trained on the songs in {folder}: give the folder it learnt.")
    return build(list(map(analyse_song, training)), [analyse_song(song, codec) for song in unseen], info["data"])


_load_codec = lru_cache(maxsize=1)(load_codec)  # once per process


def _analyse_number(cache: Path, codec_of: Path | None, number: int) -> AnalysedSong:
    return analyse_song(corpus_song(number, cache), _load_codec(codec_of)[0] if codec_of else None)
