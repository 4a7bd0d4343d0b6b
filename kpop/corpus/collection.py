"""The corpus on disk: song number -> WAV and labels."""

import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from kpop.constants import SAMPLE_RATE_HZ
from kpop.corpus.compose import compose
from kpop.corpus.labels import labels
from kpop.corpus.render import render


def song_name(number: int) -> str:
    """File name, without suffix, of a song of the corpus."""
    return f"song-{number:05d}"


def render_song(number: int) -> tuple[np.ndarray, dict]:
    """Song `number`: waveform (n_samples,) float32 at 16 kHz, and its labels. Same number, same song, anywhere."""
    score = compose(number)
    return render(score), labels(score)


def _write_song(out_dir: Path, number: int) -> int:
    """Writes one song, complete or not at all; returns its number."""
    waveform, facts = render_song(number)
    target = out_dir / song_name(number)
    partial_wav, partial_json = target.with_suffix(".wav.part"), target.with_suffix(".json.part")
    wavfile.write(partial_wav, SAMPLE_RATE_HZ, np.round(waveform * 32_767).astype(np.int16))
    partial_json.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(partial_json, target.with_suffix(".json"))
    os.replace(partial_wav, target.with_suffix(".wav"))
    return number


def _written(write: Callable[[int], int], numbers: range, n_jobs: int) -> Iterable[int]:
    """Numbers of the songs as they get ready."""
    if n_jobs == 1:
        yield from map(write, numbers)
        return
    with get_context("spawn").Pool(n_jobs) as pool:
        yield from pool.imap_unordered(write, numbers)


def write_corpus(
    out_dir: Path, n_songs: int, first: int = 0, n_jobs: int = 1, on_song: Callable[[int], None] | None = None
) -> None:
    """Writes songs first..first + n_songs - 1 as 16-bit mono WAV with labels in JSON beside each.

    The bytes of a song depend on its number alone. on_song is called here with each number once its files are there.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for number in _written(partial(_write_song, out_dir), range(first, first + n_songs), n_jobs):
        if on_song:
            on_song(number)
