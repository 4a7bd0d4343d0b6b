"""What one listener wishes for, waits for and hears: of each no more than a few, so that memory stays flat.

Wishes that the page sets by itself: for callbacks, before the widgets of a run are made.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.settings import Settings
from kpop.similarity.match import SimilarityResult
from kpop.ui.song import RenderedSong, SongPreview, live_data, outline, perform, start_comparing
from kpop.ui.tasks import BackgroundTask

if TYPE_CHECKING:
    from kpop.engine import Engine, Job


import itertools
from collections.abc import Iterator
from dataclasses import field
from datetime import UTC, datetime

import numpy as np

from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_title

MOST_ENTRIES = 12
MOST_OWN_CLIPS = 4  # up to 600 kB each

_serials = itertools.count()


@dataclass(frozen=True, eq=False)
class Entry:
    """A song as a visit remembers it.

    clip_title: what it began with; own_clip: that clip, if the listener brought it and it is still kept
    playable: False once a clip of the listener's own had to go; serial: tells entries apart
    """

    settings: Settings
    clip_title: str
    own_clip: SeedClip | None = None
    playable: bool = True
    when: datetime = field(default_factory=lambda: datetime.now(UTC))
    serial: int = field(default_factory=lambda: next(_serials))

    @property
    def title(self) -> str:
        return song_title(self.settings)

    @property
    def length_s(self) -> float:
        return self.settings.length_s

    def same_song(self, other: "Entry") -> bool:
        """Whether both would sound the same; clips that went cannot be told apart by more than their names."""
        if self.settings != other.settings:
            return False
        mine, theirs = self.own_clip, other.own_clip
        return mine is None or theirs is None or np.array_equal(mine.waveform, theirs.waveform)


def entry_for(settings: Settings, clip: SeedClip) -> Entry:
    """What to remember of a song that began with this clip."""
    built_in = clip.name in {each.name for each in built_in_clips()}
    return Entry(settings, clip.title, None if built_in else clip)


class History:
    """The latest songs, newest first. Memory is bounded: settings are kept and a few clips, never a song's sound."""

    def __init__(self, max_entries: int = MOST_ENTRIES, max_own_clips: int = MOST_OWN_CLIPS) -> None:
        self._entries: list[Entry] = []
        self._max_entries, self._max_own_clips = max_entries, max_own_clips

    def remember(self, entry: Entry) -> None:
        """Puts the entry first; a song that is there already moves up."""
        others = [other for other in self._entries if not entry.same_song(other)]
        self._entries = self._without_old_clips([entry, *others][: self._max_entries])

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def _without_old_clips(self, entries: list[Entry]) -> list[Entry]:
        """Keeps the clips of the newest entries; songs from the same upload share one."""
        clips = dict.fromkeys(id(entry.own_clip) for entry in entries if entry.own_clip)
        kept = set(list(clips)[: self._max_own_clips])
        return [
            entry
            if entry.own_clip is None or id(entry.own_clip) in kept
            else replace(entry, own_clip=None, playable=False)
            for entry in entries
        ]


N_TAKES = 4
N_SEED_NUMBERS = 2**32


@dataclass(frozen=True)
class Wish:
    """Songs to be made together. own_clip: instead of the settings' built-in one; beside: the song that is shown."""

    songs: tuple[Settings, ...]
    own_clip: SeedClip | None = None
    endless: bool = False
    beside: bool = False


class SessionState:
    """One listener's state, from run to run of the page.

    jobs: the songs in the making, and performing: what makes performances of them; none while nothing is going on
    live: what the live player is told, None for silence; outline: of the song that it plays
    performances: the finished songs on the page
    closeness: of the one song on the page; history: what was heard before; sentence: what went wrong, to be told once
    sent: title of a song that somebody has passed on to this listener
    """

    def __init__(self) -> None:
        self.jobs: tuple[Job, ...] = ()
        self.performing: BackgroundTask[tuple[RenderedSong, ...]] | None = None
        self.live: dict | None = None
        self.outline: SongPreview | None = None
        self.performances: tuple[RenderedSong, ...] = ()
        self.closeness: BackgroundTask[SimilarityResult | None] | None = None
        self.history = History()
        self.sentence: str | None = None
        self.sent: str | None = None
        self._wish: Wish | None = None
        self._asked: Wish | None = None

    @property
    def wishes(self) -> bool:
        """Whether a wish still waits for the engine to come up."""
        return self._wish is not None

    @property
    def job(self) -> "Job | None":
        """The song that is heard while it is made."""
        return self.jobs[0] if self.live and self.jobs else None

    def wish(self, settings: Settings, own_clip: SeedClip | None = None, endless: bool = False) -> None:
        """Asks for a song, and no longer for what was asked for before."""
        self._turn_to(Wish((settings,), own_clip, endless))

    def wish_takes(self, settings: Settings, own_clip: SeedClip | None = None) -> None:
        """Asks for several songs at once, alike but for their seed numbers."""
        numbers = [(settings.seed_number + i) % N_SEED_NUMBERS for i in range(N_TAKES)]
        self._turn_to(Wish(tuple(replace(settings, seed_number=number) for number in numbers), own_clip))

    def wish_beside(self, settings: Settings) -> None:
        """Asks for another version of the first song on the page, to be heard beside it."""
        self._turn_to(Wish((settings,), self.performances[0].own_clip, beside=True))

    def ask(self, engine: "Engine", base_path: str) -> bool:
        """Hands the wish to the engine; False if there is none, or if it was refused."""
        if not self._wish:
            return False
        wish, self._wish = self._wish, None
        jobs = []
        try:
            for settings in wish.songs:
                jobs.append(engine.submit(settings, wish.own_clip or built_in_clip(settings.clip), wish.endless))
        except KpopError as error:
            for job in jobs:
                job.cancel()
            self.sentence = f"{error}"
            return False
        self.jobs, self._asked = tuple(jobs), wish
        if len(jobs) == 1 and not wish.beside:
            self.live = live_data(jobs[0], base_path)
            self.outline = outline(jobs[0], metronome_rate(engine, jobs[0].settings.model))
        if not wish.endless:
            self.performing = BackgroundTask(partial(perform, self.jobs, wish.own_clip))
        return True

    def end_waiting(self, engine: "Engine", performing: "BackgroundTask[tuple[RenderedSong, ...]]") -> None:
        """These performances are there, or there will be none: shows them, or says why; nothing if given up."""
        if performing is not self.performing:
            return  # a newer run of the page has asked for others
        jobs, self.jobs, self.performing = self.jobs, (), None
        if performing.error:
            self.live, self.sentence = None, f"{performing.error}"
            return
        made = performing.result()
        for job in jobs:
            self.history.remember(entry_for(job.settings, job.clip))
        self.live = self.live and self.live | {"shown": True}
        self._show(self.performances[:1] + made if self._asked.beside else made)
        if len(self.performances) == 1:
            self.closeness = start_comparing(engine, made[0])

    def keep(self, index: int, engine: "Engine") -> None:
        """Of the songs on the page only this one stays."""
        kept = self.performances[index]
        self._show((kept,))
        self.closeness = start_comparing(engine, kept)

    def _turn_to(self, wish: Wish) -> None:
        for job in self.jobs:
            job.cancel()
        self.jobs, self.performing, self.live, self._wish = (), None, None, wish

    def _show(self, performances: tuple[RenderedSong, ...]) -> None:
        self.performances = performances
        if self.closeness:
            self.closeness.cancel()
        self.closeness = None


def metronome_rate(engine: "Engine", model: str) -> float:
    """Of a voice, in slots a step; as most have it while it is still being loaded."""
    voice = engine.voices.get(model)
    known = voice.finished and not voice.error
    return voice.result().info.get("metronome_rate", 1.0) if known else 1.0
