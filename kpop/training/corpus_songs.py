"""Songs of our own corpus, rendered in all processes and cached."""

import hashlib
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kpop.corpus
from kpop.corpus.collection import song_name
from kpop.corpus.compose import compose
from kpop.corpus.labels import step_labels
from kpop.corpus.render import render
from kpop.lstm.config import N_METRONOME_SLOTS
from kpop.training.songs import Song, cached_song, to_int16

NOT_CODE = re.compile(r"#.*|\s+")


def corpus_songs(n_songs: int, cache: Path, n_jobs: int, report: Callable[[str], None]) -> list[Song]:
    """Songs number 0 to n_songs - 1, each from its number alone."""
    tasks = [(number, cache) for number in range(n_songs)]
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch's threads may hang
    with context.Pool(n_jobs) as pool:
        for done, _ in enumerate(pool.imap(_prepare, tasks, chunksize=2), 1):
            if done % 50 == 0 or done == n_songs:
                report(f"corpus: {done} of {n_songs} songs rendered")
    return [cached_song(_cache_file(number, cache), lambda n=number: corpus_song(n)) for number in range(n_songs)]


def corpus_version() -> str:
    """Changes with the code that our songs come from, but not with its comments or layout.

    A stale cache is never used, and nobody is played a song as what a model has learnt that it has not.
    """
    room = Path(kpop.corpus.__file__).parent
    sources = [*sorted(room.glob("*.py")), room.parent / "grid.py", room.parent / "audio" / "loudness.py"]
    code = "".join(NOT_CODE.sub("", path.read_text(encoding="utf-8")) for path in sources)
    return hashlib.sha256(code.encode()).hexdigest()[:8]


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
