"""From a song in the making to all that the page shows of it, in one piece of background work."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kpop.audio.files import wav_bytes
from kpop.generation.checkpoints import index_path
from kpop.generation.clips import SeedClip
from kpop.generation.naming import song_file_name
from kpop.generation.settings import GeneratedSong
from kpop.grid import SAMPLE_RATE_HZ
from kpop.show.background import BackgroundTask, Report, quiet_line
from kpop.show.closeness import Closeness, closest_moment

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kpop.engine.engine import Engine
    from kpop.engine.job import Job


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


def perform(engine: "Engine", job: "Job", report: Report) -> Performance:
    """Waits for the song. Raises KpopError."""
    song = job.result()
    report(1.0, "Painting the picture")
    data = engine.voices.get(song.settings.model).result().info.get("data", "")
    return replace(present(song, job.clip.title), closeness=start_comparing(song, job.clip, data))


def start_comparing(song: GeneratedSong, clip: SeedClip, data: str) -> "BackgroundTask[Closeness | None] | None":
    """Compares when there is time, so that no song need wait for it. None without an index beside the model."""
    if not index_path(song.settings.model).exists():
        return None
    return BackgroundTask(partial(closest_moment, song, clip, data), quiet_line())


def present(song: GeneratedSong, clip_title: str) -> Performance:
    from kpop.show.spectrogram import spectrogram_figure  # plotly takes a while: the page must not wait for it

    return Performance(
        title=song_title(clip_title),
        figure=spectrogram_figure(song),
        wav=wav_bytes(song.waveform),
        file_name=song_file_name(song.settings),
        facts=song_facts(song),
    )


def song_title(clip_title: str) -> str:
    return f"{clip_title}, dreamt on"


def song_facts(song: GeneratedSong) -> str:
    """One line for the curious."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    taken_s = sum(song.seconds_taken.values())
    return (
        f"{length_s:.0f} s of music in {taken_s:.1f} s · seed {song.seed_end_s:.1f} s"
        f" · seed number {song.settings.seed_number}"
    )
