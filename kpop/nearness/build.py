"""Building the index: every training song described, and unheard songs compared with them."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kpop.checkpoint import load_codec
from kpop.codec.network import Codec
from kpop.corpus.collection import song_name
from kpop.errors import KpopError
from kpop.generation.copying import codec_copy
from kpop.grid import STEP_SAMPLES, STEPS_PER_BAR
from kpop.nearness.bars import Bars, bar_edges, describe
from kpop.nearness.index import ALL_KEYS, WINDOW_BARS, NearnessIndex, packed
from kpop.nearness.projection import Projection
from kpop.nearness.reference import Reference
from kpop.training.corpus_songs import CORPUS_VERSION, corpus_song
from kpop.training.songs import Song, cached_song, metronome_rate

FIRST_UNHEARD = 2_000_000  # no training and no seed clip reaches these songs
PCM_SCALE = np.float32(32_767)
Report = Callable[[str], None]
Task = tuple[int, Path, Path | None]  # a song's number, the cache folder, and whose codec it passes through first


@dataclass(frozen=True)
class Plan:
    """The model, the folder that holds or will hold its songs' cache, processes, and where to tell how it goes on."""

    checkpoint: Path
    cache: Path
    n_jobs: int
    report: Report


@dataclass(frozen=True)
class Described:
    """A song's bars, where they begin in it, in code steps (n_bars,) int32, and its metronome slots a step."""

    name: str
    bars: Bars
    starts: np.ndarray
    rate: float


def described(song: Song, codec: Codec | None = None) -> Described:
    """The bars of a song, or of its copy through a codec, as what a model makes is heard."""
    waveform = song.waveform / PCM_SCALE
    if codec is not None:
        waveform = codec_copy(waveform, codec)
    edges = bar_edges(song.slots)
    starts = np.round(edges[:-1] / STEP_SAMPLES).astype(np.int32)
    return Described(song.name, describe(waveform, edges), starts, metronome_rate([song]))


def build(training: list[Described], unheard: list[Described], data: str) -> NearnessIndex:
    """The index of the training songs, with the unheard ones as its reference.

    data: what the songs are, as in the checkpoint's info. KpopError when either side has no two bars in a row.
    """
    training = [song for song in training if len(song.bars) >= WINDOW_BARS]
    unheard = [song for song in unheard if len(song.bars) >= WINDOW_BARS]
    if not training or not unheard:
        raise KpopError("An index needs songs of at least two bars, heard and unheard: add songs.")
    bars = _joined([song.bars for song in training])
    projection = Projection.fit(bars)
    index = NearnessIndex(
        vectors=np.concatenate([packed(projection.project(song.bars)[:, 0]) for song in training]),
        starts=np.concatenate([song.starts for song in training]),
        first_bars=np.cumsum([0] + [len(song.bars) for song in training]).astype(np.int32),
        names=tuple(song.name for song in training),
        projection=projection,
        reference=Reference(np.zeros(0), np.zeros((0, 0))),
        data=data,
        bar_samples=STEPS_PER_BAR / float(np.median([song.rate for song in training])) * STEP_SAMPLES,
    )
    nearest = [index.compare(projection.project(song.bars, ALL_KEYS))[0] for song in unheard]
    return replace(index, reference=Reference.of(nearest))


def corpus_index(plan: Plan, n_songs: int | None, n_unheard: int) -> NearnessIndex:
    """The index of a model of our corpus. n_songs: only those with lower numbers; None: all it was trained on.

    KpopError when the model was trained on other songs than our composer writes now.
    """
    info = load_codec(plan.checkpoint)[1]
    if info.get("data") != corpus_data():
        raise KpopError(
            f"{plan.checkpoint.name} was trained on {info.get('data', 'something unknown')}, and what is here is "
            f"{corpus_data()}: train it again, or give the FOLDER of its songs."
        )
    held_out = set(info["held_out"])
    numbers = range(n_songs or info["n_songs"] + len(held_out))
    training = [number for number in numbers if song_name(number) not in held_out]
    unheard = range(FIRST_UNHEARD, FIRST_UNHEARD + n_unheard)
    cache = plan.cache / f"corpus-{CORPUS_VERSION}"
    sides = [[(n, cache, None) for n in training], [(n, cache, plan.checkpoint) for n in unheard]]
    return build(*(_in_all_processes(plan, _corpus_task, tasks) for tasks in sides), info["data"])


def folder_index(plan: Plan, folder: Path) -> NearnessIndex:
    """The index of a model of songs of the user's own; those held out of its training are its unheard songs.

    KpopError when the model was not trained on this folder's songs.
    """
    from kpop.training.folder_songs import folder_songs  # needs soundfile and librosa; our own corpus does not

    info = load_codec(plan.checkpoint)[1]
    songs = folder_songs(folder, plan.cache / "songs", plan.report)
    held_out = set(info.get("held_out", ()))
    sides = [[song for song in songs if (song.name in held_out) == out] for out in (False, True)]
    if len(sides[0]) != info.get("n_songs") or len(sides[1]) != len(held_out):
        raise KpopError(f"{plan.checkpoint.name} was not trained on the songs in {folder}: give the folder it learnt.")
    codec = _codec(plan.checkpoint)
    return build([described(song) for song in sides[0]], [described(song, codec) for song in sides[1]], info["data"])


def corpus_data() -> str:
    """What a checkpoint's info calls our corpus as it is now."""
    return f"own corpus, version {CORPUS_VERSION}"


def _in_all_processes(plan: Plan, work: Callable[[Task], Described], tasks: list[Task]) -> list[Described]:
    done = []
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch's threads may hang
    with context.Pool(plan.n_jobs, torch.set_num_threads, (1,)) as pool:
        for song in pool.imap(work, tasks):
            done.append(song)
            if len(done) % 50 == 0 or len(done) == len(tasks):
                plan.report(f"{len(done)} of {len(tasks)} songs heard")
    return done


def _corpus_task(task: Task) -> Described:
    number, cache, checkpoint = task
    song = cached_song(cache / f"{song_name(number)}.npz", lambda: corpus_song(number))
    return described(song, _codec(checkpoint) if checkpoint else None)


@lru_cache(maxsize=1)
def _codec(checkpoint: Path) -> Codec:
    return load_codec(checkpoint)[0]


def _joined(bars: list[Bars]) -> Bars:
    return Bars(np.concatenate([each.chroma for each in bars]), np.concatenate([each.rhythm for each in bars]))
