"""From the listener's wishes to all that the page shows of a song, in one piece of background work."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kpop.audio.files import wav_bytes
from kpop.generation.checkpoints import index_path
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.naming import song_file_name
from kpop.generation.settings import GeneratedSong, Settings
from kpop.grid import SAMPLE_RATE_HZ
from kpop.show.background import BackgroundTask, Report
from kpop.show.closeness import Closeness, closest_moment

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kpop.generation.instrument import Instrument


@dataclass(frozen=True)
class Performance:
    """A song ready to be shown: what it is called, picture, WAV file, the file's name, and a line of facts.

    closeness: how near it comes to the training music, which is found out while the song is heard; None if it cannot be
    """

    title: str
    figure: "go.Figure"
    wav: bytes
    file_name: str
    facts: str
    closeness: "BackgroundTask[Closeness | None] | None" = None


def perform(
    loading: "BackgroundTask[Instrument]", settings: Settings, own_clip: SeedClip | None, report: Report
) -> Performance:
    """Waits for the weights if need be, then makes the song. Raises KpopError."""
    while not loading.wait(0.1):
        report(0.0, "Warming up")
    clip = own_clip or built_in_clip(settings.clip)
    instrument = loading.result()
    song = instrument.generate(settings, clip, report)
    return replace(present(song, clip.title), closeness=start_comparing(song, clip, instrument.info.get("data", "")))


def start_comparing(song: GeneratedSong, clip: SeedClip, data: str) -> "BackgroundTask[Closeness | None] | None":
    """Compares in the background, so that the song need not wait. None without an index beside the model."""
    if not index_path(song.settings.model).exists():
        return None
    return BackgroundTask(partial(closest_moment, song, clip, data))


def present(song: GeneratedSong, clip_title: str) -> Performance:
    from kpop.show.spectrogram import spectrogram_figure  # plotly takes a while: the page must not wait for it

    return Performance(
        title=f"{clip_title}, dreamt on",
        figure=spectrogram_figure(song),
        wav=wav_bytes(song.waveform),
        file_name=song_file_name(song.settings),
        facts=song_facts(song),
    )


def song_facts(song: GeneratedSong) -> str:
    """One line for the curious."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    taken_s = sum(song.seconds_taken.values())
    return (
        f"{length_s:.0f} s of music in {taken_s:.1f} s · seed {song.seed_end_s:.1f} s"
        f" · seed number {song.settings.seed_number}"
    )
