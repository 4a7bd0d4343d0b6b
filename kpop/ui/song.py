"""A song on the page: what is known before it is made, its file and figure, its comparison with the training music."""

import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kpop.audio.io import from_pcm
from kpop.generation.clips import SeedClip, is_built_in
from kpop.generation.metadata import song_tags
from kpop.generation.seed import song_grid
from kpop.generation.titles import song_file_name, song_title
from kpop.model_info import checkpoint_path, header, index_path
from kpop.server import SongFile
from kpop.settings import Beat, GeneratedSong, Settings
from kpop.ui.assets import clock
from kpop.ui.tasks import POLL_S, BackgroundTask, Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kpop.engine import Engine, Job
    from kpop.similarity.index import SimilarityResult

BUSY_PATIENCE_S = 20.0  # endless songs may keep the engine busy for ever


@dataclass(frozen=True)
class PageSong:
    """A song on the page; while it is made, the fields with a default are still unknown."""

    settings: Settings
    length_s: float | None  # None if it is endless
    seed_end_s: float
    beat: Beat
    source: str = ""  # the clip's title, or the file's name
    figure: "go.Figure | None" = None
    own_clip: SeedClip | None = None  # the listener's, None for a built-in one
    file: SongFile | None = None
    stages_s: dict[str, float] = field(default_factory=dict)  # wall-clock seconds of each stage
    taken_s: float = 0.0  # and of the whole song

    @property
    def title(self) -> str:
        """Made up from the settings."""
        return song_title(self.settings)

    @property
    def facts(self) -> str:
        """A line for the listener."""
        source = self.source if self.settings.randomness < 1 else "pure chance"
        length = clock(self.length_s) if self.length_s else "endless, until you leave or make another song"
        return f"From {source}, {self.beat.tempo_bpm:.0f} BPM · {length}"


def song_file(job: "Job") -> SongFile:
    """The job's WAV file; when nothing refers to it any more, the job is cancelled."""
    reference = weakref.ref(job)

    def cancel() -> None:
        if job := reference():
            job.cancel()

    return SongFile(job.pcm, song_file_name(job.settings), song_tags(job.settings), cancel)


def preview(job: "Job", file: SongFile | None) -> PageSong:
    """From the settings, the clip and the checkpoint's header: equal to what the finished song says."""
    settings, info = job.settings, header(checkpoint_path(job.settings.model)).get("info", {})
    grid = song_grid(settings, job.clip, info.get("metronome_rate", 1.0), job.endless)
    length_s, source = None if job.endless else settings.length_s, job.clip.title
    source = source if is_built_in(job.clip.name) else job.clip.name
    return PageSong(settings, length_s, grid.seed_end_s, grid.beat, source, file=file)


def render(jobs: "tuple[Job, ...]", own_clip: SeedClip | None, report: Report) -> tuple[PageSong, ...]:
    """Wait for the songs and draw their figures. Raises KpopError if one of them failed.

    Their files are left out: what refers to a file keeps its song alive, even if the session has ended.
    """
    songs = [job.result() for job in jobs]
    report(1.0, "")  # ends here if nobody needs the figures any more
    from kpop.ui.spectrogram import spectrogram_figure  # imports scipy, which the page must not wait for

    return tuple(
        PageSong(
            *(song.settings, song.settings.length_s, song.seed_end_s, song.beat),
            figure=spectrogram_figure(song),
            own_clip=own_clip,
            stages_s=song.seconds_taken,
            taken_s=song.taken_s,
        )
        for song in songs
    )


def start_comparing(engine: "Engine", song: PageSong) -> "BackgroundTask[SimilarityResult | None] | None":
    """Find the most similar moment of the model's training music when the processor is idle; None without an index."""
    model = song.settings.model
    if not index_path(model).exists():
        return None

    def compare(report: Report) -> "SimilarityResult | None":
        from kpop.similarity.index import closest_moment  # imports the composer

        patient_until_s = time.monotonic() + BUSY_PATIENCE_S
        while engine.state()["running"] and time.monotonic() < patient_until_s:
            report(0.0, "Waiting for others' songs")  # low priority still takes Python's lock from them
            time.sleep(POLL_S)
        waveform, no_picture = from_pcm(song.file.pcm.read(0, song.file.pcm.n_bytes)), np.zeros(0, np.float32)
        data = header(checkpoint_path(model)).get("info", {}).get("data", "")
        return closest_moment(GeneratedSong(waveform, no_picture, song.seed_end_s, song.settings, beat=song.beat), data)

    return BackgroundTask(compare, idle=True)
