"""A visit remembers its songs: the newest first, each once, and never more than it has room for."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from kpop.generation.clips import SeedClip, built_in_clips
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui.session_state import MOST_ENTRIES, Entry, History, entry_for

CLIP = SeedClip("first-snow", "First Snow", np.zeros(10, np.float32))


def song(number: int, clip: SeedClip = CLIP) -> Entry:
    return entry_for(Settings(seed_number=number, clip=clip.name), clip)


def own_clip(number: float, name: str = "demo.mp3") -> SeedClip:
    return SeedClip(name, name.split(".")[0], np.full(1000, number, np.float32))


def numbers(history: History) -> list[int]:
    return [entry.settings.seed_number for entry in history]


def remembering(*entries: Entry, **limits: int) -> History:
    history = History(**limits)
    for entry in entries:
        history.remember(entry)
    return history


def test_the_newest_song_comes_first():
    assert numbers(remembering(song(1), song(2), song(3))) == [3, 2, 1]
    assert len(History()) == 0


def test_the_same_song_moves_up_and_is_not_doubled():
    assert numbers(remembering(song(1), song(2), song(3), song(1))) == [1, 3, 2]


@pytest.mark.parametrize(
    "change",
    [{"randomness": 0.4}, {"temperature": 0.9}, {"length_s": 31.0}, {"model": "another"}, {"clip": "neon-rain"}],
)
def test_any_other_setting_is_another_song(change):
    settings = Settings()
    assert len(remembering(entry_for(settings, CLIP), entry_for(replace(settings, **change), CLIP))) == 2


def test_the_oldest_songs_are_forgotten():
    assert numbers(remembering(*map(song, range(30)))) == list(range(29, 29 - MOST_ENTRIES, -1))
    assert numbers(remembering(*map(song, range(5)), max_entries=2)) == [4, 3]


def test_an_entry_tells_what_the_song_is_called_what_it_began_with_and_when():
    entry = song(3)
    assert (entry.title, entry.clip_title, entry.length_s) == (song_title(entry.settings), "First Snow", 30.0)
    assert (datetime.now(UTC) - entry.when).total_seconds() < 60


def test_a_built_in_clip_is_not_kept_and_ones_own_is():
    for info in built_in_clips():
        assert song(1, replace(CLIP, name=info.name)).own_clip is None
    clip = own_clip(1)
    assert song(1, clip).own_clip is clip


def test_only_the_latest_clips_of_the_listeners_own_are_kept():
    history = remembering(*(song(n, own_clip(n)) for n in range(6)), song(6), max_own_clips=4)
    assert [entry.playable for entry in history] == [True, True, True, True, True, False, False]
    assert [entry.own_clip is not None for entry in history] == [False, True, True, True, True, False, False]
    assert [entry.clip_title for entry in history][-1] == "demo"


def test_many_songs_from_one_file_need_its_clip_once():
    clip = own_clip(1)
    history = remembering(*(song(n, clip) for n in range(8)), max_own_clips=1)
    assert all(entry.playable and entry.own_clip is clip for entry in history)


def test_a_clip_that_is_forgotten_frees_its_place():
    history = remembering(*(song(n, own_clip(n)) for n in range(4)), *map(song, range(10, 22)), max_own_clips=4)
    assert all(entry.own_clip is None and entry.playable for entry in history)


def test_two_files_of_one_name_are_two_songs():
    first, second = own_clip(1), own_clip(2)
    assert len(remembering(song(7, first), song(7, second))) == 2
    assert len(remembering(song(7, first), song(7, own_clip(1)))) == 1


def test_a_song_whose_clip_had_to_go_is_played_again_once_the_file_is_back():
    clips = [own_clip(n, f"{n}.mp3") for n in range(3)]
    history = remembering(*(song(7, clip) for clip in clips), song(7, clips[0]), max_own_clips=2)
    assert [entry.settings.clip for entry in history] == ["0.mp3", "2.mp3", "1.mp3"]
    assert [entry.playable for entry in history] == [True, True, False]


def test_entries_can_be_told_apart_and_a_reader_is_not_disturbed_by_a_new_one():
    history = remembering(song(1), song(2))
    seen = []
    for entry in history:
        seen.append(entry.serial)
        history.remember(song(100 + len(seen)))
    assert len(set(seen)) == len(seen) == 2
