"""Songs of our own corpus, rendered in all processes and cached."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kpop.corpus.collection import song_name
from kpop.corpus.compose import compose
from kpop.corpus.labels import step_labels
from kpop.corpus.render import render
from kpop.lstm.config import N_METRONOME_SLOTS
from kpop.training.songs import Song, cached_song, to_int16

CORPUS_VERSION = "3d8a4885"
"""Names the songs that the composer writes: caches, checkpoints and the similarity index carry it.

To be changed whenever the same number gives another song; tests/test_golden.py says when that is.
"""


def corpus_songs(n_songs: int, cache: Path, n_jobs: int, report: Callable[[str], None]) -> list[Song]:
    """Songs number 0 to n_songs - 1, each from its number alone."""
    tasks = [(number, cache) for number in range(n_songs)]
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch's threads may hang
    with context.Pool(n_jobs) as pool:
        for done, _ in enumerate(pool.imap(_prepare, tasks, chunksize=2), 1):
            if done % 50 == 0 or done == n_songs:
                report(f"corpus: {done} of {n_songs} songs rendered")
    return [cached_song(_cache_file(number, cache), lambda n=number: corpus_song(n)) for number in range(n_songs)]


def corpus_song(number: int) -> Song:
    """One song of our corpus, with its labels."""
    score = compose(number)
    waveform = to_int16(render(score))
    labels = step_labels(score)
    slots = (np.arange(len(labels)) % N_METRONOME_SLOTS).astype(np.int16)
    return Song(song_name(number), waveform, slots, labels)


def _prepare(task: tuple[int, Path]) -> None:
    number, cache = task
    cached_song(_cache_file(number, cache), lambda: corpus_song(number))


def _cache_file(number: int, cache: Path) -> Path:
    return cache / f"{song_name(number)}.npz"
