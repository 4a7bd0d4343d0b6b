"""A session remembers its songs, newest first, each once, in bounded memory; and the page plays them again."""

from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from kpop.generation.clips import SeedClip, built_in_clips
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui.session_state import MAX_ENTRIES, Entry, History, entry_for

CLIP = SeedClip("first-snow", "First Snow", np.zeros(10, np.float32))


def song(number: int, clip: SeedClip = CLIP) -> Entry:
    return entry_for(Settings(seed_number=number, clip=clip.name), clip)


def own_clip(number: float, name: str = "<b>demo</b>.mp3") -> SeedClip:
    return SeedClip(name, name.split(".")[0], np.full(1000, number, np.float32))


def remembering(*entries: Entry, **limits: int) -> History:
    history = History(**limits)
    for entry in entries:
        history.add(entry)
    return history


def numbers(history: History) -> list[int]:
    return [entry.settings.seed_number for entry in history]


def test_the_newest_song_comes_first_one_made_again_moves_up_and_the_oldest_are_forgotten():
    assert numbers(remembering(song(1), song(2), song(3), song(1))) == [1, 3, 2]
    assert numbers(remembering(*map(song, range(30)))) == list(range(29, 29 - MAX_ENTRIES, -1))


@pytest.mark.parametrize("change", [{"randomness": 0.4}, {"length_s": 31.0}, {"model": "another"}, {"clip": "x"}])
def test_any_other_setting_is_another_song(change):
    settings = Settings()
    assert len(remembering(entry_for(settings, CLIP), entry_for(replace(settings, **change), CLIP))) == 2


def test_two_files_of_one_name_are_two_songs():
    assert len(remembering(song(7, own_clip(1)), song(7, own_clip(2)), song(7, own_clip(1)))) == 2


def test_of_the_listeners_own_clips_the_latest_are_kept_and_shared_among_songs():
    assert all(song(1, replace(CLIP, name=info.name)).own_clip is None for info in built_in_clips())
    clips = [own_clip(n) for n in (0, 1, 2, 2, 3)]
    history = remembering(*(song(n, clip) for n, clip in enumerate(clips)), song(5), max_own_clips=4)
    assert [entry.playable for entry in history] == [True, True, True, True, True, False]
    assert [entry.own_clip is not None for entry in history] == [False, True, True, True, True, False]


def shown(history: History) -> AppTest:
    def page(history) -> None:
        from kpop.ui.history import show_history

        show_history(history)

    return AppTest.from_function(page, args=(history,)).run()


def html_of(page: AppTest) -> str:
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html"))


def test_a_press_on_an_earlier_song_sets_the_controls_and_requests_it():
    made = Settings(0.85, 1.4, 61.0, 4711, "last-train-home")
    page = shown(remembering(entry_for(made, SeedClip(made.clip, "Last Train Home", CLIP.waveform))))
    assert "Last Train Home · randomness 0.85 · temperature 1.40 · 61 s" in html_of(page)
    assert page.button[0].label == f"Play again *{song_title(made)}*"
    page.session_state.endless = True
    page.button[0].click().run()
    assert [page.session_state[key] for key in ("randomness", "seed_number", "endless")] == [0.85, 4711, False]
    assert page.session_state.session.requested


def test_a_song_whose_clip_is_gone_says_so_without_markup_from_its_name():
    page = shown(remembering(song(1, own_clip(1)), song(2, own_clip(2)), max_own_clips=1))
    assert [button.disabled for button in page.button] == [False, True]
    assert html_of(page).count("your file is no longer kept here") == 1
    assert "<b>demo" not in html_of(page)
    assert "Nothing yet" in shown(History()).caption[0].value
