"""How does it work: the figures are those that were measured."""

from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from kpop import model_info
from kpop.settings import Beat, Settings
from kpop.ui.how import TIMED_STAGES

TIMES_S = dict(zip(TIMED_STAGES, (0.1, 0.5, 0.4, 0.1), strict=True))
MADE = {"settings": Settings(), "length_s": 30.0, "seed_end_s": 7.68, "beat": Beat(0.0, 0.48, 4)}
SONG = SimpleNamespace(**MADE, stages_s=TIMES_S, taken_s=0.75)
SLOW = SimpleNamespace(**vars(SONG) | {"seed_end_s": 15.36, "beat": Beat(0.0, 0.96, 4)})


def shown(song: SimpleNamespace | None, **settings: float) -> str:
    def page(song, settings) -> None:
        from kpop.ui.how import how_it_works

        how_it_works(song, settings)

    visited = AppTest.from_function(page, args=(song, Settings(**settings))).run()
    assert not visited.exception
    return visited.get("html")[0].proto.body


def test_the_figures_are_those_of_the_song_whatever_the_sliders_say_and_slower_songs_have_longer_steps():
    html, slow = shown(SONG, length_s=60.0), shown(SLOW)
    for figure in (
        "7.7 s at 125 BPM · 30% of the seed left to chance",
        "16 numbers every 30 ms",
        "4,096 codes for the seed",
        "1,000 steps · 744 of them its own · 2,000 a second · 2 layers of 512 cells",
        "2,000 pictures of 481 frequencies",
        "0.40 s for picture and waves",
        "30 s made in 0.75 s: 40 times as fast as it plays",
        "LSTM 0.50 s",
    ):
        assert figure in html
    assert "Press Generate" not in html
    for figure in ("15.4 s at 62 BPM", "16 numbers every 60 ms", "500 steps · 244 of them its own"):
        assert figure in slow


@pytest.mark.parametrize(("temperature", "words"), [(0, "likeliest"), (0.5, "more"), (1, "learnt to"), (1.5, "less")])
def test_before_there_is_a_song_the_figures_follow_from_the_settings(temperature, words):
    html = shown(None, randomness=1.0, length_s=60.0, temperature=temperature)
    for text in ("100% of the seed left to chance", "2,000 steps · 2 layers", words, "Press Generate"):
        assert text in html


def test_what_was_not_measured_and_what_cannot_be_read_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(model_info, "MODELS_DIR", tmp_path)
    html = shown(SimpleNamespace(**MADE, stages_s={}, taken_s=0.0))
    assert "a few numbers" in html
    for text in ("a second", "times as fast", "Where the time went", "cells"):
        assert text not in html
