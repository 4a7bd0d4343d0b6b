"""Several songs on the page, without a browser: takes, one beside the other, and what there is for more."""

from dataclasses import replace

import pytest
from page_visits import button, press, press_generate, sentences, slider, told, visit, words

from kpop.errors import KpopError
from kpop.settings import Settings
from kpop.ui.player import difference

pytest.importorskip("streamlit")


def pictures(page) -> int:
    assert len(page.get("plotly_chart")) == len(page.get("audio"))
    return len(page.get("audio"))


def test_four_takes_are_shown_together_and_one_of_them_kept(engine):
    page = press(visit(), "Four takes")
    assert sentences(page) == []
    assert pictures(page) == 4
    assert [settings.seed_number for settings in engine.asked] == [7, 8, 9, 10]
    page.button(key="keep-2").click().run()
    assert sentences(page) == []
    assert pictures(page) == 1
    assert page.number_input[0].value == 9  # the choices are now those of the song that stayed
    assert len(engine.asked) == 4  # nothing had to be made again


def test_takes_that_fail_are_one_sentence(engine):
    engine.error = KpopError("The strings broke: put on new ones.")
    page = press(visit(), "Four takes")
    assert sentences(page) == ["The strings broke: put on new ones."]
    assert not page.get("audio")


def test_one_slider_is_changed_and_both_songs_are_there(engine):
    page = press_generate(visit({"temperature": "0.8", "seed_number": "42"}))
    assert slider(page, "Temperature of the other song").value == pytest.approx(1.3)
    press(page, "Make the other one")
    assert pictures(page) == 2
    assert engine.asked[1] == replace(engine.asked[0], temperature=1.3)
    assert "temperature 0.80 → 1.30" in words(page)
    press_generate(page)
    assert pictures(page) == 1


def test_seed_randomness_can_be_compared_too_and_the_same_song_not_with_itself(engine):
    page = press_generate(visit({"randomness": "0.8"}))
    page.radio(key="compare-what").set_value("Seed randomness").run()
    other = slider(page, "Seed randomness of the other song")
    assert other.value == pytest.approx(0.3)
    other.set_value(0.8).run()
    assert button(page, "Make the other one").disabled
    slider(page, "Seed randomness of the other song").set_value(0.0).run()
    press(page, "Make the other one")
    assert engine.asked[1] == replace(engine.asked[0], randomness=0.0)


def test_the_song_before_sounds_on_while_the_next_is_made_and_its_picture_makes_room(engine, served, monkeypatch):
    page = press_generate(visit())
    engine.error = KpopError("The strings broke: put on new ones.")
    press_generate(page)
    assert pictures(page) == 1
    assert [song["title"] for song in told(page)["songs"]] == [page.session_state.visit.performances[0].title]


def test_an_earlier_song_is_played_again_with_all_its_settings(engine):
    page = visit()
    slider(page, "Temperature").set_value(1.5)
    press_generate(page)
    slider(page, "Temperature").set_value(0.5)
    page.number_input[0].set_value(99)
    press_generate(page)
    again = [each for each in page.button if each.label.startswith("Play again")]
    assert len(again) == 2
    again[1].click().run()
    assert sentences(page) == []
    assert engine.asked[2] == engine.asked[0]
    assert (slider(page, "Temperature").value, page.number_input[0].value) == (1.5, 7)


def test_generate_again_makes_another_song_and_never_the_very_one_that_is_there(engine):
    page = press_generate(press_generate(visit()))
    first, second = engine.asked
    assert second == replace(first, seed_number=second.seed_number)
    assert second.seed_number != first.seed_number  # 1 in 10,000 to the contrary
    assert page.number_input[0].value == second.seed_number
    page.number_input[0].set_value(first.seed_number)
    press_generate(page)
    assert engine.asked[2] == first  # who asks for that number gets that song


def test_surprise_asks_for_a_song_at_once_and_shows_its_settings(engine):
    page = press(visit(), "Surprise me")
    assert sentences(page) == []
    (settings,) = engine.asked
    assert pictures(page) == 1
    assert slider(page, "Temperature").value == pytest.approx(settings.temperature)
    assert page.radio[0].value == settings.clip


def test_what_differs_is_told_in_words():
    one = Settings()
    assert difference(one, replace(one, temperature=1.6)) == "temperature 1.00 → 1.60"
    assert difference(one, replace(one, seed_number=8)) == "seed number 7 → 8"
