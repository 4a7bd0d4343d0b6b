"""Building an index: features of every training song, and of unseen songs as its reference."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from kpop.checkpoint import load_codec
from kpop.codec.model import Codec
from kpop.constants import BAR_SAMPLES, STEP_SAMPLES, STEPS_PER_BAR
from kpop.corpus.compose import CORPUS_DATA, CORPUS_VERSION
from kpop.errors import KpopError
from kpop.generation.pipeline import codec_copy
from kpop.similarity.features import Projection, analyse_bars
from kpop.similarity.index import ALL_KEYS, N_WINDOWS, QUANTILES, WINDOW_BARS, SimilarityIndex
from kpop.training.data import INT16_SCALE, TrainingSong, corpus_song, in_processes
from kpop.training.loop import Report
from kpop.training.recordings import folder_songs

FIRST_UNSEEN = 2_000_000  # neither training nor seed clips use song numbers as high
UNSEEN = range(FIRST_UNSEEN, FIRST_UNSEEN + 24)


@dataclass(frozen=True)
class AnalysedSong:
    """Features of a song's bars, and their starts in steps (n_bars,) int32: of a recording, in steps at TEMPO_BPM."""

    name: str
    bars: np.ndarray
    starts: np.ndarray


def analyse_song(song: TrainingSong, codec: Codec | None = None) -> AnalysedSong:
    """The bars of a song, or of its copy through a codec: generated songs have passed one, too."""
    waveform = song.waveform / INT16_SCALE
    if codec is not None:
        waveform = codec_copy(waveform, codec, song.hop)
    edges = song.samples_of(np.arange(0, song.n_steps + 1, STEPS_PER_BAR))
    edges = edges[(edges >= 0) & (edges <= len(waveform))].astype(float)
    starts = edges[:-1] / (song.step_samples if song.centres is None else STEP_SAMPLES)
    return AnalysedSong(song.name, analyse_bars(waveform, edges), np.round(starts).astype(np.int32))


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
        reference=np.zeros((len(N_WINDOWS), len(QUANTILES)), np.float32),
        data=data,
        bar_samples=float(BAR_SAMPLES),
    )
    highest = [index.compare(projection.project(song.bars, ALL_KEYS))[0] for song in unseen]
    return replace(index, reference=reference(highest))


def reference(by_song: list[np.ndarray]) -> np.ndarray:
    """Quantiles (len(N_WINDOWS), len(QUANTILES)) float32 of the highest similarity of N_WINDOWS consecutive windows.

    by_song: each unseen song's similarity at each window. For lengths that no song has, all are concatenated.
    """
    medley, rows = np.concatenate(by_song), []
    for length in N_WINDOWS:
        runs = [song for song in by_song if len(song) >= length] or [np.resize(medley, max(len(medley), length))]
        highest = [np.lib.stride_tricks.sliding_window_view(run, length).max(1) for run in runs]
        rows.append(np.quantile(np.concatenate(highest), QUANTILES))
    return np.array(rows, np.float32)


def training_index(checkpoint: Path, cache: Path, folder: Path | None, n_jobs: int, report: Report) -> SimilarityIndex:
    """The index of the songs in a folder that a model was trained on; with None, of those of the composed corpus.

    cache: the training's folder, whose prepared songs are used. KpopError when the model was trained on other songs.
    """
    codec, info = load_codec(checkpoint)
    held_out = set(info.get("held_out", ()))
    if folder:
        songs = folder_songs(folder, cache / "songs", n_jobs, report)
        training, unseen = ([song for song in songs if (song.name in held_out) == out] for out in (False, True))
        if len(training) != info.get("n_songs") or len(unseen) != len(held_out):
            raise KpopError(f"{checkpoint.name} was not trained on the songs in {folder}: give the folder it learnt.")
        return build(list(map(analyse_song, training)), [analyse_song(song, codec) for song in unseen], info["data"])
    if info.get("data") != CORPUS_DATA:
        data = info.get("data", "something unknown")
        raise KpopError(f"{checkpoint.name} has learnt {data}, not {CORPUS_DATA}: give the FOLDER of its songs.")
    analyse = partial(_analyse_number, cache / f"corpus-{CORPUS_VERSION}")
    training = in_processes(partial(analyse, None), range(info["n_songs"]), n_jobs, "Analysing training songs")
    unseen = in_processes(partial(analyse, codec), UNSEEN, n_jobs, "Analysing unheard songs")
    return build(training, unseen, info["data"])


def _analyse_number(cache: Path, codec: Codec | None, number: int) -> AnalysedSong:
    return analyse_song(corpus_song(number, cache), codec)
