"""The moment of the training music most similar to a generated song, for the page to show and to play."""

from dataclasses import dataclass

import numpy as np

from kpop.audio.io import wav_bytes
from kpop.constants import BAR_SAMPLES, HOP_LENGTH, SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.model_info import index_path
from kpop.settings import GRID_BEAT, GeneratedSong

LOW, USUAL, HIGH = 0.05, 0.5, 0.95  # quantiles of unseen songs
N_ITERATIONS = 8  # of Griffin-Lim, as for the song itself
FADE_S = 0.01


@dataclass(frozen=True)
class SimilarityResult:
    """The two bars of the training music most similar to any two of a song, and the similarities of unseen songs.

    similarity: 0..1, 1 for the same two bars in whatever key; low, usual, high: 5, 50, 95 % quantiles of unseen songs
    song, song_start_s: which training song, and where in it; start_s: where in the song itself
    here, there: WAV files of the two bars; there is None for songs that are not of the composed corpus
    """

    similarity: float
    low: float
    usual: float
    high: float
    song: str
    song_start_s: float
    start_s: float
    here: bytes
    there: bytes | None

    @property
    def is_new(self) -> bool:
        """Whether a song that the model was not trained on might be as similar."""
        return self.similarity <= self.high


def closest_moment(song: GeneratedSong, data: str) -> SimilarityResult | None:
    """The most similar moment to what follows the song's seed. data: the songs that its model was trained on.

    A song at another tempo is compared at the training music's. None if there is no index of those songs beside the
    model, the song is too short, or it has another number of beats per bar.
    """
    from kpop.corpus.compose import CORPUS_DATA  # here, as the page must not wait for scipy and torch
    from kpop.similarity.index import WINDOW_BARS, SimilarityIndex

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
    start_s = match.start_s * stretch
    start, length = (round(each_s * SAMPLE_RATE_HZ) for each_s in (start_s, WINDOW_BARS * bar_s))
    number = match.song.removeprefix("song-")
    return SimilarityResult(
        match.similarity,
        *(index.reference.quantile(share, match.n_windows) for share in (LOW, USUAL, HIGH)),
        song=f"song {int(number)}" if number != match.song and number.isdecimal() else match.song,
        song_start_s=match.song_start_s,
        start_s=start_s,
        here=wav_bytes(faded(song.waveform[start : start + length])),
        there=wav_bytes(training_excerpt(int(number), match.song_start_s)) if data == CORPUS_DATA else None,
    )


def at_tempo(waveform: np.ndarray, hop: int) -> np.ndarray:
    """A waveform (n_samples,) float32 time-stretched from hop samples per frame to HOP_LENGTH, at the same pitch."""
    if hop == HOP_LENGTH:
        return waveform
    from kpop.audio.phase import reconstruct
    from kpop.audio.stft import stft_at

    magnitude = np.abs(stft_at(waveform, np.arange(0, len(waveform), hop)))
    return reconstruct(magnitude, (len(magnitude) - 1) * HOP_LENGTH, n_iterations=N_ITERATIONS)


def first_bar_after_seed(song: GeneratedSong) -> int:
    """The sample at which the first wholly generated bar begins."""
    bar_s = song.beat.beat_s * song.beat.beats_per_bar
    bars_before = np.ceil((song.seed_end_s - song.beat.first_downbeat_s) / bar_s - 1e-6)
    return round((song.beat.first_downbeat_s + max(bars_before, 0) * bar_s) * SAMPLE_RATE_HZ)


def training_excerpt(number: int, start_s: float) -> np.ndarray:
    """Waveform float32 of two bars of a song of the composed corpus from start_s on, with short fades."""
    from kpop.corpus.compose import compose
    from kpop.corpus.mix import render

    waveform = render(compose(number))
    start = min(round(start_s * SAMPLE_RATE_HZ), len(waveform) - 2 * BAR_SAMPLES)
    return faded(waveform[start : start + 2 * BAR_SAMPLES])


def faded(waveform: np.ndarray) -> np.ndarray:
    """A copy with short linear fades."""
    n = min(round(FADE_S * SAMPLE_RATE_HZ), len(waveform) // 2)
    from_end = np.minimum(np.arange(len(waveform)), np.arange(len(waveform))[::-1])
    return waveform * np.minimum(from_end / max(n, 1), 1).astype(np.float32)
