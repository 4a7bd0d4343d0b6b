"""The songs of a visit: what each was made with, from which it is made again bit for bit."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from kpop.generation.clips import SeedClip, built_in_clips
from kpop.generation.settings import Settings
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
