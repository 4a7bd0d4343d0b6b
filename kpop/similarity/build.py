"""Building an index: features of every training song, and of unseen songs as its reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from kpop.checkpoint import load_codec
from kpop.codec.model import Codec
from kpop.constants import STEP_SAMPLES, STEPS_PER_BAR
from kpop.corpus.compose import CORPUS_VERSION, song_name
from kpop.errors import KpopError
from kpop.generation.pipeline import codec_copy
from kpop.similarity.features import Bars, Projection, analyse_bars, bar_edges
from kpop.similarity.index import ALL_KEYS, WINDOW_BARS, Reference, SimilarityIndex, quantised
from kpop.similarity.match import corpus_data
from kpop.training.data import TrainingSong, corpus_song, folder_songs, in_processes, metre_rate

FIRST_UNSEEN = 2_000_000  # neither training nor seed clips use song numbers as high
INT16_SCALE = np.float32(32_767)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A checkpoint, the cache folder of its songs, the number of processes, and where progress lines go."""

    checkpoint: Path
    cache: Path
    n_jobs: int
    report: Report


@dataclass(frozen=True)
class AnalysedSong:
    """A song's bars, their starts in steps (n_bars,) int32, and its metre positions per step."""

    name: str
    bars: Bars
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
    parts = [(song.bars.chroma, song.bars.rhythm) for song in training]
    projection = Projection.fit(Bars(*map(np.concatenate, zip(*parts, strict=True))))
    index = SimilarityIndex(
        vectors=np.concatenate([quantised(projection.project(song.bars)[:, 0]) for song in training]),
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


def corpus_index(plan: Plan, n_songs: int | None, n_unseen: int) -> SimilarityIndex:
    """The index of a model of the composed corpus. n_songs: only those with lower numbers; None: all it was trained on.

    KpopError when the model was trained on other songs.
    """
    info = load_codec(plan.checkpoint)[1]
    if info.get("data") != corpus_data():
        raise KpopError(
            f"{plan.checkpoint.name} was trained on {info.get('data', 'something unknown')}, and what is here is "
            f"{corpus_data()}: train it again, or give the FOLDER of its songs."
        )
    held_out = set(info["held_out"])
    training = [n for n in range(n_songs or info["n_songs"] + len(held_out)) if song_name(n) not in held_out]
    unseen = range(FIRST_UNSEEN, FIRST_UNSEEN + n_unseen)
    return build(_analyse_corpus(plan, training), _analyse_corpus(plan, unseen, plan.checkpoint), info["data"])


def folder_index(plan: Plan, folder: Path) -> SimilarityIndex:
    """The index of a model of the user's own songs; those held out of its training are its unseen songs.

    KpopError when the model was not trained on this folder's songs.
    """
    codec, info = load_codec(plan.checkpoint)
    songs = folder_songs(folder, plan.cache / "songs", plan.report)
    held_out = set(info.get("held_out", ()))
    training, unseen = ([song for song in songs if (song.name in held_out) == out] for out in (False, True))
    if len(training) != info.get("n_songs") or len(unseen) != len(held_out):
        raise KpopError(f"{plan.checkpoint.name} was not trained on the songs in {folder}: give the folder it learnt.")
    return build(list(map(analyse_song, training)), [analyse_song(song, codec) for song in unseen], info["data"])


def _analyse_corpus(plan: Plan, numbers: Sequence[int], checkpoint: Path | None = None) -> list[AnalysedSong]:
    analyse = partial(_analyse_number, plan.cache / f"corpus-{CORPUS_VERSION}", checkpoint)
    return in_processes(analyse, numbers, plan.n_jobs, plan.report, "analysed")


def _analyse_number(cache: Path, checkpoint: Path | None, number: int) -> AnalysedSong:
    return analyse_song(corpus_song(number, cache), _codec(checkpoint) if checkpoint else None)


@lru_cache(maxsize=1)
def _codec(checkpoint: Path) -> Codec:
    return load_codec(checkpoint)[0]
