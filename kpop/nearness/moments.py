"""A moment of a training song, to be heard again."""

import re
from dataclasses import replace

import numpy as np

from kpop.corpus.collection import song_name
from kpop.corpus.compose import compose
from kpop.corpus.render import render
from kpop.corpus.score import Score
from kpop.errors import KpopError
from kpop.grid import BAR_SAMPLES, SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR

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
