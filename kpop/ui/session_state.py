"""The state of one browser session: its request, the songs in the making, the songs on the page, and its history."""

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from kpop.engine import Engine, Job
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.runtime import PipelineLoader
from kpop.server import SongFile
from kpop.settings import Settings
from kpop.ui.assets import base_path
from kpop.ui.song import PageSong, preview, render, song_file, start_comparing
from kpop.ui.tasks import BackgroundTask

if TYPE_CHECKING:
    from kpop.similarity.index import SimilarityResult
    from kpop.ui.spectrogram import GrowingSpectrogram

MAX_ENTRIES = 12  # of the history: no sound but the listener's clips, up to 600 kB each


@dataclass(frozen=True, eq=False)
class Entry:
    """A song in the history. own_clip: the listener's clip that it started from."""

    settings: Settings
    own_clip: SeedClip | None = None
    when: datetime = field(default_factory=lambda: datetime.now(UTC))


def remember(history: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    """The history with this entry first, instead of an earlier one of the same settings and sound of an own clip."""

    def song(each: Entry) -> tuple[Settings, bytes | None]:
        return each.settings, each.own_clip and each.own_clip.waveform.tobytes()

    return (entry, *(each for each in history if song(each) != song(entry)))[:MAX_ENTRIES]


@dataclass(frozen=True)
class Request:
    """Songs to be made together. own_clip: instead of the built-in one; beside: show them beside the first song."""

    songs: tuple[Settings, ...]
    own_clip: SeedClip | None = None
    endless: bool = False
    beside: bool = False


@dataclass(eq=False)
class SessionState:
    """One browser session."""

    requested: Request | None = None  # by a callback, until it is submitted
    jobs: tuple[Job, ...] = ()  # the songs in the making
    files: tuple[SongFile, ...] = ()  # theirs
    rendering: BackgroundTask[tuple[PageSong, ...]] | None = None  # makes PageSongs of them
    preview: PageSong | None = None  # what is known of the only one of them, which plays while it is made
    growing: "GrowingSpectrogram | None" = None  # its picture
    play: str | None = None  # URL of the song that is to start by itself
    songs: tuple[PageSong, ...] = ()  # the finished songs on the page
    similarity: "BackgroundTask[SimilarityResult | None] | None" = None  # of the only one of them
    history: tuple[Entry, ...] = ()
    loader: PipelineLoader | None = None  # of the chosen model
    sent: str | None = None  # title of a song whose link brought the listener here
    _submitted: Request | None = None
    _model: str | None = None
    _error: str = ""

    @property
    def job(self) -> Job | None:
        """The song that plays while it is made."""
        return self.jobs[0] if self.preview else None

    @property
    def busy(self) -> bool:
        """Whether songs or the model are on their way, so that the status will change."""
        loading = self.loader and not self.loader.finished
        return bool(self.rendering or loading) or not all(job.finished for job in self.jobs)

    @property
    def status(self) -> str:
        """What is going on, in a line; empty while nothing is."""
        if job := next((job for job in self.jobs if not job.finished), None):
            fraction = sum(job.fraction for job in self.jobs) / len(self.jobs)
            playing = job.endless and job.pcm.n_bytes
            return "" if playing else f"{job.status}…" + (f" {fraction:.0%}" if fraction else "")
        if self.rendering:
            return "Painting the picture…"
        return f"{self.loader.status}…" if self.busy else ""

    @property
    def error(self) -> str:
        """What went wrong since the last request, in a sentence; empty if nothing did."""
        errors = self._error, self.job and self.job.error, self.loader and self.loader.error
        return next((f"{error}" for error in errors if error), "")

    def request(self, *songs: Settings, **options) -> None:
        """Request songs instead of what was requested before. For callbacks: the next run submits them.

        options: fields of `Request`.
        """
        self._clear_jobs()
        self.requested, self._error, self._model = Request(songs, **options), "", None

    def submit(self, engine: Engine) -> bool:
        """Hand a request to the engine; False if there is none, or if it was refused (see `error`)."""
        request, self.requested = self.requested, None
        if not request:
            return False
        try:
            for settings in request.songs:
                clip = request.own_clip or built_in_clip(settings.clip)
                self.jobs += (engine.submit(settings, clip, request.endless),)
        except KpopError as error:
            self._clear_jobs()
            self._error = f"{error}"
            return False
        self.files, self._submitted = tuple(map(song_file, self.jobs)), request
        if len(self.jobs) == 1 and not request.beside:
            self.preview, self.play, self.growing = preview(self.jobs[0]), self.files[0].url(base_path()), None
        if not request.endless:
            self.rendering = BackgroundTask(partial(render, self.jobs, request.own_clip))
        return True

    def load(self, engine: Engine, model: str) -> None:
        """Start loading the chosen model; if that fails, the next request tries again."""
        if model != self._model:
            self.loader, self._model = engine.pipelines.get(model), model

    def update(self, engine: Engine) -> None:
        """Put rendered songs on the page, or set `error` if they failed."""
        rendering, files = self.rendering, self.files
        if not (rendering and rendering.finished):
            return
        self._clear_jobs()
        if rendering.error:
            self._error = f"{rendering.error}"
            return
        made = tuple(replace(song, file=file) for song, file in zip(rendering.result(), files, strict=True))
        for song in made:
            self.history = remember(self.history, Entry(song.settings, song.own_clip))
        self.show(self.songs[:1] + made if self._submitted.beside else made, engine)

    def show(self, songs: tuple[PageSong, ...], engine: Engine) -> None:
        """Put these songs on the page, and compare the only one of them with the training music."""
        self.songs = songs
        if self.similarity:
            self.similarity.cancel()
        self.similarity = start_comparing(engine, songs[0]) if len(songs) == 1 else None

    def _clear_jobs(self) -> None:
        for job in self.jobs:
            job.cancel()  # unless it is finished
        self.jobs, self.files, self.rendering, self.preview = (), (), None, None


def get_session() -> SessionState:
    """The state of this browser session, created on its first run."""
    return st.session_state.setdefault("session", SessionState())


def set_controls(settings: Settings) -> None:
    """Set every control to these settings, and "Endless" off. For callbacks."""
    st.session_state.update(asdict(settings), endless=False)


def play_again(settings: Settings, own_clip: SeedClip | None = None) -> None:
    """Set the controls and request this song. own_clip: replaces the built-in clip. For callbacks."""
    set_controls(settings)
    get_session().request(settings, own_clip=own_clip)
