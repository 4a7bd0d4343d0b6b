"""Building the index: every training song described, and unheard songs compared with them.

A moment of a training song, to be heard again.
"""

import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kpop.checkpoint import load_codec
from kpop.codec.model import Codec
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR, STEP_SAMPLES, STEPS_PER_BAR
from kpop.corpus.collection import song_name
from kpop.corpus.compose import compose
from kpop.corpus.render import render
from kpop.corpus.score import Score
from kpop.errors import KpopError
from kpop.generation.pipeline import codec_copy
from kpop.similarity.features import Bars, Projection, bar_edges, describe
from kpop.similarity.index import ALL_KEYS, WINDOW_BARS, Reference, SimilarityIndex, packed
from kpop.training.data import CORPUS_VERSION, Song, cached_song, corpus_song, metronome_rate

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


def build(training: list[Described], unheard: list[Described], data: str) -> SimilarityIndex:
    """The index of the training songs, with the unheard ones as its reference.

    data: what the songs are, as in the checkpoint's info. KpopError when either side has no two bars in a row.
    """
    training = [song for song in training if len(song.bars) >= WINDOW_BARS]
    unheard = [song for song in unheard if len(song.bars) >= WINDOW_BARS]
    if not training or not unheard:
        raise KpopError("An index needs songs of at least two bars, heard and unheard: add songs.")
    bars = _joined([song.bars for song in training])
    projection = Projection.fit(bars)
    index = SimilarityIndex(
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


def corpus_index(plan: Plan, n_songs: int | None, n_unheard: int) -> SimilarityIndex:
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


def folder_index(plan: Plan, folder: Path) -> SimilarityIndex:
    """The index of a model of songs of the user's own; those held out of its training are its unheard songs.

    KpopError when the model was not trained on this folder's songs.
    """
    from kpop.training.data import folder_songs  # needs soundfile and librosa; our own corpus does not

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


LEAD_IN_BARS, LEAD_OUT_BARS = 4, 1  # what is played around the moment: notes that ring into it, and its own level
FADE_S = 0.01


def training_moment(name: str, start_s: float, n_bars: int = 2) -> np.ndarray:
    """Waveform float32 at 16 kHz of n_bars of a song of our corpus, from start_s on, with short fades.

    Only this part of the song is played again, from the song's number, so its level may differ a little.
    KpopError for the name of any other song, which only its owner can play.
    """
    digits = re.fullmatch(r"song-(\d{5,})", name)
    if not digits or song_name(int(digits[1])) != name:
        raise KpopError(f"{name} is no song of our own corpus: play it from where you have it.")
    score = compose(int(digits[1]))
    bar = min(round(start_s * SAMPLE_RATE_HZ / BAR_SAMPLES), max(score.n_bars - n_bars, 0))
    first = max(bar - LEAD_IN_BARS, 0)
    part = excerpt(score, first, min(bar + n_bars + LEAD_OUT_BARS, score.n_bars))
    start = (bar - first) * BAR_SAMPLES
    return faded(render(part)[start : start + n_bars * BAR_SAMPLES])


def excerpt(score: Score, first_bar: int, stop_bar: int) -> Score:
    """The bars first_bar to stop_bar of a song, with all notes that begin in them."""
    first_16th, stop_16th = first_bar * SIXTEENTHS_PER_BAR, stop_bar * SIXTEENTHS_PER_BAR
    tracks = {
        track: tuple(
            replace(note, start_16th=note.start_16th - first_16th)
            for note in notes
            if first_16th <= note.start_16th < stop_16th
        )
        for track, notes in score.tracks.items()
    }
    sections = tuple(
        replace(section, first_bar=start - first_bar, n_bars=stop - start)
        for section in score.sections
        if (start := max(section.first_bar, first_bar)) < (stop := min(section.first_bar + section.n_bars, stop_bar))
    )
    return replace(score, sections=sections, chords=score.chords[first_bar:stop_bar], tracks=tracks)


def faded(waveform: np.ndarray) -> np.ndarray:
    """A copy that begins and ends without a click."""
    n = min(round(FADE_S * SAMPLE_RATE_HZ), len(waveform) // 2)
    envelope = np.ones(len(waveform), np.float32)
    envelope[:n] = np.linspace(0, 1, n, endpoint=False)
    envelope[len(waveform) - n :] = envelope[:n][::-1]
    return waveform * envelope
