"""A session remembers its songs, newest first, each once, in bounded memory; and the page plays them again."""

from dataclasses import asdict, replace
from functools import reduce

import numpy as np
import pytest
from page_visits import words
from streamlit.testing.v1 import AppTest

from kpop.generation.clips import SeedClip
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui.session_state import MAX_ENTRIES, Entry, Request, remember

SONG = Settings(clip="first-snow")


def own(number: int, clip_number: float) -> Entry:
    """An entry of a song from a file of the listener's own, all of one name."""
    clip = SeedClip("<b>demo</b>.mp3", "demo", np.full(1000, clip_number, np.float32))
    return Entry(Settings(seed_number=number, clip=clip.name), clip)


def history(*entries: Entry) -> tuple[Entry, ...]:
    return reduce(remember, entries, ())


def numbers(entries: tuple[Entry, ...]) -> list[int]:
    return [entry.settings.seed_number for entry in entries]


def test_the_newest_song_comes_first_one_made_again_moves_up_and_the_oldest_are_forgotten():
    songs = [Entry(replace(SONG, seed_number=number)) for number in range(30)]
    assert numbers(history(songs[1], songs[2], songs[3], songs[1])) == [1, 3, 2]
    assert numbers(history(*songs)) == list(range(29, 29 - MAX_ENTRIES, -1))


@pytest.mark.parametrize("change", [{"randomness": 0.4}, {"length_s": 31.0}, {"model": "another"}, {"clip": "x"}])
def test_any_other_setting_is_another_song(change):
    assert len(history(Entry(SONG), Entry(replace(SONG, **change)))) == 2


def test_two_files_of_one_name_are_two_songs():
    assert len(history(own(7, 1), own(7, 2), own(7, 1))) == 2


def test_of_the_listeners_own_clips_the_latest_are_kept_and_shared_among_songs():
    shared = own(2, 2)
    entries = history(own(0, 0), own(1, 1), shared, replace(shared, settings=replace(shared.settings, seed_number=3)))
    entries = reduce(remember, [own(4, 4), own(5, 5), Entry(SONG)], entries)
    assert [entry.own_clip is not None for entry in entries] == [False, True, True, True, True, True, False]
    assert [entry.playable for entry in entries] == [True, True, True, True, True, True, False]


def shown(entries: tuple[Entry, ...]) -> AppTest:
    def page(entries) -> None:
        from kpop.ui.history import show_history

        show_history(entries)

    return AppTest.from_function(page, default_timeout=60, args=(entries,)).run()


def test_a_press_on_an_earlier_song_sets_the_controls_and_requests_it():
    made = Settings(0.85, 1.4, 61.0, 4711, "last-train-home")
    page = shown(history(Entry(made)))
    assert "Last Train Home · randomness 0.85 · temperature 1.40 · 61 s" in words(page)
    assert page.button[0].label == f"Play again *{song_title(made)}*"
    page.session_state.endless = True
    page.button[0].click().run()
    assert [page.session_state[key] for key in (*asdict(made), "endless")] == [*asdict(made).values(), False]
    assert page.session_state.session.requested == Request((made,))


def test_a_song_whose_clip_is_gone_says_so_without_markup_from_its_name():
    page = shown((own(2, 2), replace(own(1, 1), own_clip=None)))
    assert [button.disabled for button in page.button] == [False, True]
    assert words(page).count("your file is no longer kept here") == 1
    assert "<b>demo" not in words(page)
    page.button[0].click().run()
    assert page.session_state.session.requested.own_clip.title == "demo"
    assert "Nothing yet" in shown(()).caption[0].value
