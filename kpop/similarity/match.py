"""How near a song comes to what its model was trained on, for the page to tell and to play."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kpop.audio.io import wav_bytes
from kpop.constants import HOP_LENGTH, SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.model_info import index_path
from kpop.settings import GRID_BEAT, Beat, GeneratedSong

Report = Callable[[float, str], None]
LOW, USUAL, HIGH = 0.05, 0.5, 0.95  # shares of unheard songs
PIECE_FRAMES = 1024
N_ITERATIONS = 8  # of Griffin-Lim, as for the song itself


@dataclass(frozen=True)
class SimilarityResult:
    """The two bars of the training music that a song comes nearest to, and how near unheard songs come.

    similarity: 0..1, 1 for the same two bars in whatever key; low, usual, high: what 5, 50 and 95 % of unheard songs of
        this length stay under
    song, song_start_s: in which training song, and where in it; start_s: where in the song itself
    here, there: WAV files of the two bars; there is None where we do not have that song
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
    def as_new_as_songs_go(self) -> bool:
        """Whether a song that no voice has heard might come as near as this."""
        return self.similarity <= self.high

    @property
    def verdict(self) -> str:
        """A sentence for the listener."""
        if self.as_new_as_songs_go:
            return "New: no closer to its training music than a song that it never heard."
        return "Closer than most unheard songs come: listen to both."

    @property
    def words(self) -> str:
        """The figures, in a line."""
        return (
            f"Closest moment in training: {self.song} at {clock(self.song_start_s)}, {self.similarity:.0%} alike – "
            f"an unheard song of this length reaches {self.usual:.0%}"
        )


def closest_moment(song: GeneratedSong, data: str, report: Report) -> SimilarityResult | None:
    """What the song comes nearest to once its seed is over. data: the songs that its model was trained on.

    A song of another tempo is compared as it would sound at the training music's. None where no index of those songs is
    beside the model, the song is too short to tell, or its bars are of another metre.
    """
    from kpop.similarity.build import faded
    from kpop.similarity.index import WINDOW_BARS, SimilarityIndex  # brings torch: the page must not wait for it

    try:
        index = SimilarityIndex.load(index_path(song.settings.model))
    except KpopError:
        return None
    if index.data != data or song.beat.beats_per_bar != GRID_BEAT.beats_per_bar:
        return None
    hop = round(HOP_LENGTH * bar_s(song.beat) * SAMPLE_RATE_HZ / index.bar_samples)
    slower = hop / HOP_LENGTH
    match = index.nearest(at_tempo(song.waveform, hop), round(first_bar_after_seed(song) / slower))
    if match is None:
        return None
    start_s = match.start_s * slower
    start, length = (round(each_s * SAMPLE_RATE_HZ) for each_s in (start_s, WINDOW_BARS * bar_s(song.beat)))
    return SimilarityResult(
        match.similarity,
        *(index.reference.quantile(share, match.n_windows) for share in (LOW, USUAL, HIGH)),
        _called(match.song),
        match.song_start_s,
        start_s,
        wav_bytes(faded(song.waveform[start : start + length])),
        _there(match.song, match.song_start_s, data),
    )


def at_tempo(waveform: np.ndarray, hop: int) -> np.ndarray:
    """A waveform (n_samples,) float32 whose frames are hop samples apart, as it sounds with them HOP_LENGTH apart."""
    if hop == HOP_LENGTH:
        return waveform
    from kpop.audio.phase import StreamingPhase
    from kpop.audio.stft import stft_at

    centres, phases, pieces = np.arange(0, len(waveform), hop), StreamingPhase(0, N_ITERATIONS), []
    for start in range(0, len(centres), PIECE_FRAMES):
        magnitudes = np.abs(stft_at(waveform, centres[start : start + PIECE_FRAMES]))
        pieces.append(phases.push(magnitudes, last=start + PIECE_FRAMES >= len(centres)))
    return np.concatenate(pieces)


def bar_s(beat: Beat) -> float:
    """How long a bar lasts."""
    return beat.beat_s * beat.beats_per_bar


def first_bar_after_seed(song: GeneratedSong) -> int:
    """The sample at which the first bar begins that is the machine's own."""
    bars_before = np.ceil((song.seed_end_s - song.beat.first_downbeat_s) / bar_s(song.beat) - 1e-6)
    start_s = song.beat.first_downbeat_s + max(bars_before, 0) * bar_s(song.beat)
    return round(start_s * SAMPLE_RATE_HZ)


def _there(song: str, start_s: float, data: str) -> bytes | None:
    """The training song's two bars, if our composer still writes the songs that the model was trained on."""
    from kpop.similarity.build import corpus_data, training_moment

    return wav_bytes(training_moment(song, start_s)) if data == corpus_data() else None


def _called(song: str) -> str:
    """A song of our corpus by its number, another by its name."""
    number = song.removeprefix("song-")
    return f"song {int(number)}" if number != song and number.isdecimal() else song


def clock(seconds: float) -> str:
    """Minutes and seconds, as players show them."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
