"""How near a song comes to what its model was trained on, for the page to tell and to play."""

from dataclasses import dataclass

import numpy as np

from kpop.audio.files import wav_bytes
from kpop.errors import KpopError
from kpop.generation.checkpoints import index_path
from kpop.generation.clips import SeedClip
from kpop.generation.settings import GeneratedSong
from kpop.grid import SAMPLE_RATE_HZ, STEPS_PER_BAR
from kpop.show.background import Report


@dataclass(frozen=True)
class Closeness:
    """One line, and WAV files of the two bars here and there; there is None where we do not have that song."""

    words: str
    here: bytes
    there: bytes | None


def closest_moment(song: GeneratedSong, clip: SeedClip, data: str, report: Report) -> Closeness | None:
    """What the song comes nearest to once its seed is over. data: the songs that its model was trained on.

    None where no index of those songs is beside the model, or the song is too short to tell.
    """
    from kpop.nearness.index import WINDOW_BARS, NearnessIndex  # brings torch: the page must not wait for it
    from kpop.nearness.moments import faded

    try:
        index = NearnessIndex.load(index_path(song.settings.model))
    except KpopError:
        return None
    if index.data != data:
        return None
    match = index.nearest(song.waveform, first_bar_after_seed(song, clip, index.bar_samples))
    if match is None:
        return None
    start, length = round(match.start_s * SAMPLE_RATE_HZ), round(WINDOW_BARS * index.bar_samples)
    here = faded(song.waveform[start : start + length])
    usual = index.reference.quantile(0.5, match.n_windows)
    words = (
        f"Closest moment in training: {_called(match.song)} at {_clock(match.song_start_s)}, {match.similarity:.0%}"
        f" alike – an unheard song of this length reaches {usual:.0%}"
    )
    return Closeness(words, wav_bytes(here), _there(match.song, match.song_start_s, data))


def first_bar_after_seed(song: GeneratedSong, clip: SeedClip, bar_samples: float) -> int:
    """The sample at which the first bar begins that is the machine's own."""
    first_slot = clip.first_slot if song.settings.randomness < 1 else 0  # as the instrument counts
    before_song = first_slot % STEPS_PER_BAR / STEPS_PER_BAR * bar_samples
    n_bars = np.ceil((song.seed_end_s * SAMPLE_RATE_HZ + before_song) / bar_samples - 1e-6)
    return round(n_bars * bar_samples - before_song)


def _there(song: str, start_s: float, data: str) -> bytes | None:
    """The training song's two bars, if our composer still writes the songs that the model was trained on."""
    from kpop.nearness.build import corpus_data
    from kpop.nearness.moments import training_moment

    return wav_bytes(training_moment(song, start_s)) if data == corpus_data() else None


def _called(song: str) -> str:
    """A song of our corpus by its number, another by its name."""
    number = song.removeprefix("song-")
    return f"song {int(number)}" if number != song and number.isdecimal() else song


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
