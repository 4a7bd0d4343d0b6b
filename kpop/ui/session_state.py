"""The state of one browser session: its request, the songs in the making, the songs on the page, and its history."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip, built_in_clips
from kpop.generation.seed import SongGrid
from kpop.generation.titles import song_title
from kpop.runtime import PipelineLoader
from kpop.server import SongFile
from kpop.settings import Settings
from kpop.ui.song import RenderedSong, preview, render, song_file, start_comparing
from kpop.ui.tasks import BackgroundTask

if TYPE_CHECKING:
    from kpop.engine import Engine, Job
    from kpop.similarity.match import SimilarityResult
    from kpop.ui.growth import GrowingSpectrogram

MAX_ENTRIES = 12
MAX_OWN_CLIPS = 4  # up to 600 kB each
N_VARIATIONS = 4
N_SEED_NUMBERS = 2**32
PAINTING = "Painting the picture…"

_serials = itertools.count()


@dataclass(frozen=True, eq=False)
class Entry:
    """A song in the history.

    own_clip: the listener's clip that it started from, if there was one and it is still kept; playable: whether the
    song can be made again; serial: tells entries apart
    """

    settings: Settings
    clip_title: str
    own_clip: SeedClip | None = None
    playable: bool = True
    when: datetime = field(default_factory=lambda: datetime.now(UTC))
    serial: int = field(default_factory=lambda: next(_serials))

    @property
    def title(self) -> str:
        """The song's."""
        return song_title(self.settings)

    def same_song(self, other: "Entry") -> bool:
        """Whether both sound the same; of clips that are no longer kept only the names are compared."""
        if self.settings != other.settings:
            return False
        clips = self.own_clip, other.own_clip
        return None in clips or np.array_equal(*(clip.waveform for clip in clips))


def entry_for(settings: Settings, clip: SeedClip) -> Entry:
    """The history's entry for a song that started from this clip."""
    built_in = clip.name in {each.name for each in built_in_clips()}
    return Entry(settings, clip.title, None if built_in else clip)


class History:
    """The latest songs, newest first: settings and a few clips, no sound, so that memory is bounded."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_own_clips: int = MAX_OWN_CLIPS) -> None:
        self._entries: list[Entry] = []
        self._max_entries, self._max_own_clips = max_entries, max_own_clips

    def add(self, entry: Entry) -> None:
        """Put the entry first, instead of an earlier one of the same song."""
        others = [other for other in self._entries if not entry.same_song(other)]
        entries = [entry, *others][: self._max_entries]
        clips = list(dict.fromkeys(id(each.own_clip) for each in entries if each.own_clip))  # songs may share one
        dropped = clips[self._max_own_clips :]
        self._entries = [
            replace(each, own_clip=None, playable=False) if id(each.own_clip) in dropped else each for each in entries
        ]

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True)
class Request:
    """Songs to be made together. own_clip: instead of the built-in one; beside: show them next to the first song."""

    songs: tuple[Settings, ...]
    own_clip: SeedClip | None = None
    endless: bool = False
    beside: bool = False


class SessionState:
    """One browser session.

    jobs, files: of the songs in the making, none while nothing is; rendering: what makes RenderedSongs of them
    live: whether the only one of them plays while it is made; growing, preview: its picture, and what is known of it
    play: URL of the song that is to start by itself
    songs: the finished songs on the page; similarity: of the only one of them
    loader: of the chosen model
    sent: title of a song whose link brought the listener here
    """

    def __init__(self) -> None:
        self.jobs: tuple[Job, ...] = ()
        self.files: tuple[SongFile, ...] = ()
        self.rendering: BackgroundTask[tuple[RenderedSong, ...]] | None = None
        self.live = False
        self.growing: GrowingSpectrogram | None = None
        self.preview: SongGrid | None = None
        self.play: str | None = None
        self.songs: tuple[RenderedSong, ...] = ()
        self.similarity: BackgroundTask[SimilarityResult | None] | None = None
        self.history = History()
        self.loader: PipelineLoader | None = None
        self._model: str | None = None
        self.sent: str | None = None
        self._error = ""
        self.requested: Request | None = None
        self._submitted: Request | None = None

    @property
    def job(self) -> "Job | None":
        """The song that plays while it is made."""
        return self.jobs[0] if self.live else None

    @property
    def busy(self) -> bool:
        """Whether songs or the model are on their way, so that the status will change."""
        return any(not job.finished for job in self.jobs) or bool(self.rendering) or self._is_loading

    @property
    def status(self) -> str:
        """What is going on, in a line; empty while nothing is."""
        waiting = [job for job in self.jobs if not job.finished]
        if not waiting and self.rendering:
            return PAINTING
        if not waiting:
            return f"{self.loader.status}…" if self._is_loading else ""
        if waiting[0].endless and waiting[0].pcm.n_bytes:
            return ""
        fraction = sum(job.fraction for job in self.jobs) / len(self.jobs)
        return f"{waiting[0].status}…" + (f" {fraction:.0%}" if fraction else "")

    @property
    def error(self) -> str:
        """What went wrong since the last request, in a sentence; empty if nothing did."""
        errors = self._error, self.job and self.job.error, self.loader and self.loader.error
        return next((f"{error}" for error in errors if error), "")

    def request(self, settings: Settings, own_clip: SeedClip | None = None, endless: bool = False) -> None:
        """Request a song instead of what was requested before. For callbacks: the next run submits it."""
        self._replace(Request((settings,), own_clip, endless))

    def request_variations(self, settings: Settings, own_clip: SeedClip | None = None) -> None:
        """Request several songs that differ in their seed numbers only."""
        numbers = [(settings.seed_number + i) % N_SEED_NUMBERS for i in range(N_VARIATIONS)]
        self._replace(Request(tuple(replace(settings, seed_number=number) for number in numbers), own_clip))

    def request_beside(self, settings: Settings) -> None:
        """Request another version of the first song on the page, to be compared with it."""
        self._replace(Request((settings,), self.songs[0].own_clip, beside=True))

    def submit(self, engine: "Engine", base_path: str) -> bool:
        """Hand a request to the engine; False if there is none, or if it was refused (see `error`)."""
        request, self.requested = self.requested, None
        if not request:
            return False
        jobs = []
        try:
            for settings in request.songs:
                jobs.append(engine.submit(settings, request.own_clip or built_in_clip(settings.clip), request.endless))
        except KpopError as error:
            for job in jobs:
                job.cancel()
            self._error = f"{error}"
            return False
        self.jobs, self.files, self._submitted = tuple(jobs), tuple(map(song_file, jobs)), request
        if len(jobs) == 1 and not request.beside:
            self.live, self.play, self.growing = True, self.files[0].url(base_path), None
            self.preview = preview(jobs[0])
        if not request.endless:
            self.rendering = BackgroundTask(partial(render, self.jobs, request.own_clip))
        return True

    def load(self, engine: "Engine", model: str) -> None:
        """Start loading the chosen model; if that fails, the next request tries again."""
        if model != self._model:
            self.loader, self._model = engine.pipelines.get(model), model

    def update(self, engine: "Engine") -> None:
        """Put rendered songs on the page, or set `error` if they failed."""
        rendering = self.rendering
        if not (rendering and rendering.finished):
            return
        jobs, files = self.jobs, self.files
        self.jobs, self.files, self.rendering, self.live = (), (), None, False
        if rendering.error:
            self._error = f"{rendering.error}"
            return
        made = tuple(replace(song, file=file) for song, file in zip(rendering.result(), files, strict=True))
        for job in jobs:
            self.history.add(entry_for(job.settings, job.clip))
        self._show(self.songs[:1] + made if self._submitted.beside else made, engine)

    def keep(self, index: int, engine: "Engine") -> None:
        """Remove all songs but this one from the page."""
        self._show((self.songs[index],), engine)

    @property
    def _is_loading(self) -> bool:
        return bool(self.loader) and not self.loader.finished

    def _replace(self, request: Request) -> None:
        for job in self.jobs:
            job.cancel()
        self.jobs, self.files, self.rendering, self.live = (), (), None, False
        self.requested, self._error, self._model = request, "", None

    def _show(self, songs: tuple[RenderedSong, ...], engine: "Engine") -> None:
        self.songs = songs
        if self.similarity:
            self.similarity.cancel()
        self.similarity = start_comparing(engine, songs[0]) if len(songs) == 1 else None
