"""The state of one browser session: its request, the songs in the making, the songs on the page, and its history."""

import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from kpop.engine import Engine, Job
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.runtime import PipelineLoader
from kpop.settings import LENGTH_RANGE_S, Settings
from kpop.ui.assets import base_path
from kpop.ui.song import PageSong, preview, render, song_file, start_comparing
from kpop.ui.tasks import BackgroundTask

if TYPE_CHECKING:
    from kpop.similarity.index import SimilarityResult
    from kpop.ui.spectrogram import GrowingSpectrogram

MAX_ENTRIES = 12  # of the history: no sound but the listener's clips, up to 600 kB each
LONGER_S = 30.0
PLAYING = "Playing while it’s generated…"


@dataclass(frozen=True, eq=False)
class OwnClip:
    """The listener's own clip. pcm: the sound that it was cut from; empty if that is not there any more."""

    clip: SeedClip
    pcm: bytes = b""


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
    """Songs to be made together.

    own_clip: instead of the built-in one; beside: show them beside the first song; continues: where that has come to,
    the new one plays on; silent: does not start by itself
    """

    songs: tuple[Settings, ...]
    own_clip: SeedClip | None = None
    endless: bool = False
    beside: bool = False
    continues: bool = False
    silent: bool = False


@dataclass(eq=False)
class SessionState:
    """One browser session."""

    requested: Request | None = None  # by a callback, until it is submitted
    jobs: tuple[Job, ...] = ()  # the songs in the making
    previews: tuple[PageSong, ...] = ()  # what is known of them
    growing: "tuple[GrowingSpectrogram, ...]" = ()  # their pictures
    rendering: BackgroundTask[tuple[PageSong, ...]] | None = None  # makes PageSongs of them
    play: str | None = None  # URL of the song that is to start by itself
    songs: tuple[PageSong, ...] = ()  # the finished songs on the page
    similarity: "BackgroundTask[SimilarityResult | None] | None" = None  # of the only one of them
    history: tuple[Entry, ...] = ()
    loader: PipelineLoader | None = None  # of the chosen model
    own: OwnClip | None = None
    is_new: bool = True  # until the page has been drawn once
    notice: str = ""  # a line for the listener, until the next request
    id: str = field(default_factory=lambda: secrets.token_urlsafe(6))
    submitted: Request | None = None  # the last one
    _model: str | None = None
    _error: str = ""

    @property
    def shown(self) -> tuple[PageSong, ...]:
        """The songs on the page, in the making or finished."""
        if not self.jobs:
            return self.songs
        return (self.songs[:1] if self.submitted.beside else ()) + self.previews

    @property
    def busy(self) -> bool:
        """Whether songs or the model are on their way, so that the status will change."""
        loading = self.loader and not self.loader.finished
        return bool(self.rendering or loading) or not all(job.finished for job in self.jobs)

    @property
    def status(self) -> str:
        """What is going on, in a line; empty while nothing is."""
        if job := next((job for job in self.jobs if not job.finished), None):
            fraction, plays = sum(job.fraction for job in self.jobs) / len(self.jobs), self.jobs[0].pcm.n_bytes
            if plays and job.endless:
                return ""
            return (PLAYING if plays else f"{job.status}…") + (f" {fraction:.0%}" if fraction else "")
        if self.rendering:
            return "Drawing the picture…"
        return f"{self.loader.status}…" if self.busy else ""

    @property
    def error(self) -> str:
        """What went wrong since the last request, in a sentence; empty if nothing did."""
        errors = self._error, *(job.error for job in self.jobs), self.loader and self.loader.error
        return next((f"{error}" for error in errors if error), "")

    def request(self, *songs: Settings, **options) -> None:
        """Request songs instead of what was requested before. For callbacks: the next run submits them.

        options: fields of `Request`.
        """
        self._clear_jobs()
        self.requested, self._error, self._model, self.notice = Request(songs, **options), "", None, ""

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
        self.submitted, self.previews = request, tuple(preview(job, song_file(job)) for job in self.jobs)
        if not (request.beside or request.silent):
            self.play = self.previews[0].file.url(base_path())
        if not request.endless:
            self.rendering = BackgroundTask(partial(render, self.jobs, request.own_clip))
        return True

    def load(self, engine: Engine, model: str) -> None:
        """Start loading the chosen model; if that fails, the next request tries again."""
        if model != self._model:
            self.loader, self._model = engine.pipelines.get(model), model

    def update(self, engine: Engine) -> None:
        """Put rendered songs on the page, or set `error` if they failed."""
        rendering, previews = self.rendering, self.previews
        if not (rendering and rendering.finished):
            return
        self._clear_jobs()
        if rendering.error:
            self._error = f"{rendering.error}"
            return
        made = zip(rendering.result(), previews, strict=True)
        made = tuple(replace(song, source=known.source, file=known.file) for song, known in made)
        for song in made:
            self.history = remember(self.history, Entry(song.settings, song.own_clip))
        self.show(self.songs[:1] + made if self.submitted.beside else made, engine)

    def show(self, songs: tuple[PageSong, ...], engine: Engine) -> None:
        """Put these songs on the page, and compare the only one of them with the training music."""
        self.songs = songs
        if self.similarity:
            self.similarity.cancel()
        self.similarity = start_comparing(engine, songs[0]) if len(songs) == 1 else None

    def _clear_jobs(self) -> None:
        for job in self.jobs:
            job.cancel()  # unless it is finished
        self.jobs, self.previews, self.growing, self.rendering = (), (), (), None


def get_session() -> SessionState:
    """The state of this browser session, created on its first run."""
    return st.session_state.setdefault("session", SessionState())


def set_controls(settings: Settings) -> None:
    """Set every control to these settings, and "Endless" off. For callbacks."""
    st.session_state.update(asdict(settings), endless=False)


def play_again(settings: Settings, own_clip: SeedClip | None = None) -> None:
    """Set the controls and request this song. own_clip: replaces the built-in clip. For callbacks."""
    session = get_session()
    set_controls(settings)
    if own_clip and not (session.own and session.own.clip is own_clip):
        session.own = OwnClip(own_clip)
    session.request(settings, own_clip=own_clip)


def make_longer() -> None:
    """Request the song on the page LONGER_S longer; it plays on where it is. For callbacks."""
    session, song = get_session(), get_session().songs[0]
    settings = replace(song.settings, length_s=min(song.settings.length_s + LONGER_S, LENGTH_RANGE_S[1]))
    set_controls(settings)
    session.request(settings, own_clip=song.own_clip, continues=True)
