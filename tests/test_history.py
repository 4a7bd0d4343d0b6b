"""A session remembers its latest songs, each once, and plays them again."""

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


def own(clip_number: float) -> Entry:
    """An entry of a song from a file of the listener's own, all of one name."""
    clip = SeedClip("<b>demo.mp3", "demo", np.full(1000, clip_number, np.float32))
    return Entry(Settings(clip=clip.name), clip)


def history(*entries: Entry) -> tuple[Entry, ...]:
    return reduce(remember, entries, ())


def shown(entries: tuple[Entry, ...]) -> AppTest:
    def page(entries) -> None:
        from kpop.ui.history import show_history

        show_history(entries)

    return AppTest.from_function(page, default_timeout=60, args=(entries,)).run()


def test_the_newest_song_comes_first_one_made_again_moves_up_and_the_oldest_are_forgotten():
    songs = [Entry(Settings(seed_number=number)) for number in range(30)]
    assert history(songs[1], songs[2], songs[3], Entry(songs[1].settings))[1:] == (songs[3], songs[2])
    assert history(*songs) == tuple(songs[: -MAX_ENTRIES - 1 : -1])


@pytest.mark.parametrize("change", [{"randomness": 0.4}, {"length_s": 31.0}, {"model": "another"}, {"clip": "x"}])
def test_any_other_setting_is_another_song(change):
    assert len(history(Entry(Settings()), Entry(Settings(**change)))) == 2


def test_two_files_of_one_name_are_two_songs():
    assert len(history(own(1), own(2), own(1), replace(own(1), own_clip=None))) == 3


def test_a_press_on_an_earlier_song_sets_the_controls_and_requests_it():
    made = Settings(0.85, 1.4, 61.0, 4711, "last-train-home")
    page = shown((Entry(made),))
    assert "Last Train Home · randomness 0.85 · temperature 1.40 · 61 s" in words(page)
    assert page.button[0].label == f"Play again *{song_title(made)}*"
    page.session_state.endless = True
    page.button[0].click().run()
    assert [page.session_state[key] for key in (*asdict(made), "endless")] == [*asdict(made).values(), False]
    assert page.session_state.session.requested == Request((made,))
    assert "Nothing yet" in shown(()).caption[0].value


def test_a_song_from_an_own_file_starts_from_it_again_and_its_name_brings_no_markup():
    page = shown((own(2),))
    assert "&lt;b&gt;demo" in words(page)
    page.button[0].click().run()
    assert page.session_state.session.requested.own_clip.title == "demo"
