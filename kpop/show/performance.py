"""From the listener's wishes to all that the page shows of a song, in one piece of background work."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kpop.audio.files import wav_bytes
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.naming import song_file_name
from kpop.generation.settings import GeneratedSong, Settings
from kpop.grid import SAMPLE_RATE_HZ
from kpop.show.background import BackgroundTask, Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kpop.generation.instrument import Instrument


@dataclass(frozen=True)
class Performance:
    """A song ready to be shown: what it is called, picture, WAV file, the file's name, and a line of facts."""

    title: str
    figure: "go.Figure"
    wav: bytes
    file_name: str
    facts: str


def perform(
    loading: "BackgroundTask[Instrument]", settings: Settings, own_clip: SeedClip | None, report: Report
) -> Performance:
    """Waits for the weights if need be, then makes the song. Raises KpopError."""
    while not loading.wait(0.1):
        report(0.0, "Warming up")
    clip = own_clip or built_in_clip(settings.clip)
    song = loading.result().generate(settings, clip, report)
    return present(song, clip.title)


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
