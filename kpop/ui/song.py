"""A song on the page: what is known before it is made, its file and figure, its comparison with the training music."""

import time
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kpop.audio.io import from_pcm
from kpop.constants import SAMPLE_RATE_HZ
from kpop.generation.clips import SeedClip
from kpop.generation.metadata import song_tags
from kpop.generation.seed import SongGrid, song_grid
from kpop.generation.titles import song_file_name, song_title
from kpop.model_info import checkpoint_path, header, index_path
from kpop.server import SongFile
from kpop.settings import Beat, GeneratedSong, Settings
from kpop.ui.tasks import POLL_S, BackgroundTask, Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kpop.engine import Engine, Job
    from kpop.similarity.match import SimilarityResult

BUSY_PATIENCE_S = 20.0  # endless songs may keep the engine busy for ever


@dataclass(frozen=True)
class RenderedSong:
    """A finished song as the page shows it.

    own_clip: the listener's own clip that it started from, None for a built-in one; stages_s, taken_s: see
    GeneratedSong
    """

    settings: Settings
    own_clip: SeedClip | None
    file: SongFile | None
    figure: "go.Figure"
    seed_end_s: float
    beat: Beat
    stages_s: dict[str, float]
    taken_s: float

    @property
    def title(self) -> str:
        """Made up from the settings."""
        return song_title(self.settings)

    @property
    def length_s(self) -> float:
        """Duration in seconds."""
        return self.file.pcm.n_samples / SAMPLE_RATE_HZ

    @property
    def facts(self) -> str:
        """A line for the listener."""
        return (
            f"{self.length_s:.0f} s of music in {self.taken_s:.1f} s · seed {self.seed_end_s:.1f} s"
            f" · seed number {self.settings.seed_number}"
        )


def song_file(job: "Job") -> SongFile:
    """The job's WAV file; when nothing refers to it any more, the job is cancelled."""
    reference = weakref.ref(job)

    def cancel() -> None:
        if job := reference():
            job.cancel()

    return SongFile(job.pcm, song_file_name(job.settings), song_tags(job.settings), cancel)


def preview(job: "Job") -> SongGrid:
    """What is known of a song before it is made, from the settings, the clip and the checkpoint's header."""
    info = header(checkpoint_path(job.settings.model)).get("info", {})
    return song_grid(job.settings, job.clip, info.get("metronome_rate", 1.0), job.endless)


def render(jobs: "tuple[Job, ...]", own_clip: SeedClip | None, report: Report) -> tuple[RenderedSong, ...]:
    """Wait for the songs and draw their figures. Raises KpopError if one of them failed.

    Their files are left out: what refers to a file keeps its song alive, even if the session has ended.
    """
    songs = [job.result() for job in jobs]
    report(1.0, "")  # ends here if nobody needs the figures any more
    return tuple(_render(song, own_clip) for song in songs)


def _render(song: GeneratedSong, own_clip: SeedClip | None) -> RenderedSong:
    from kpop.ui.spectrogram import spectrogram_figure  # imports scipy, which the page must not wait for

    times = song.seconds_taken, song.taken_s
    return RenderedSong(song.settings, own_clip, None, spectrogram_figure(song), song.seed_end_s, song.beat, *times)


def start_comparing(engine: "Engine", song: RenderedSong) -> "BackgroundTask[SimilarityResult | None] | None":
    """Find the most similar moment of the model's training music when the processor is idle; None without an index."""
    model = song.settings.model
    if not index_path(model).exists():
        return None
    data = header(checkpoint_path(model)).get("info", {}).get("data", "")
    return BackgroundTask(partial(_compare, engine, song, data), idle=True)


def _compare(engine: "Engine", song: RenderedSong, data: str, report: Report) -> "SimilarityResult | None":
    from kpop.similarity.match import closest_moment  # imports the composer

    patient_until_s = time.monotonic() + BUSY_PATIENCE_S
    while engine.state()["running"] and time.monotonic() < patient_until_s:
        report(0.0, "Waiting for others' songs")  # low priority does not keep this from taking Python's lock from them
        time.sleep(POLL_S)
    pcm, empty = song.file.pcm, np.zeros(0, np.float32)
    waveform = from_pcm(pcm.read(0, pcm.n_bytes))
    compared = GeneratedSong(waveform, empty, empty, song.seed_end_s, song.settings, beat=song.beat)
    return closest_moment(compared, data)
