"""How does it work: what is told of a song is what was measured, and the page can tell it before torch is there."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from kpop import model_info
from kpop.checkpoint import write_tensors
from kpop.constants import SAMPLE_RATE_HZ
from kpop.settings import Beat, GeneratedSong, Settings
from kpop.ui.how import SongFigures, figures_of, knobs, shape_of, stages

ROOT = Path(__file__).parents[1]
SECONDS = {"seed": 0.1, "dream": 0.5, "sound": 0.4, "master": 0.1}


def figures(
    length_s: float = 30.0, taken_s: float = 0.75, seconds: dict[str, float] = SECONDS, seed_end_s: float = 7.68, **more
) -> SongFigures:
    nothing = np.zeros(0, np.float32)
    waveform = np.zeros(round(length_s * SAMPLE_RATE_HZ), np.float32)
    song = GeneratedSong(waveform, nothing, nothing, seed_end_s, Settings(), dict(seconds), taken_s, **more)
    return figures_of(song)


def test_the_figures_of_a_song_are_those_that_were_measured():
    told = figures()
    assert (told.n_steps, told.n_seed_steps, told.n_own_steps, told.n_frames) == (1000, 256, 744, 2000)
    assert told.steps_per_s == pytest.approx(2000)
    assert told.times_real_time == pytest.approx(40)


def test_a_slower_song_has_longer_steps():
    told = figures(seed_end_s=15.36, beat=Beat(0.0, 0.96, 4))
    assert (told.n_steps, told.n_seed_steps) == (500, 256)
    by_name = {stage.name: stage for stage in stages(told, Settings(), None)}
    assert "every 60 ms" in by_name["Codec listens"].what
    assert "at 62 BPM" in by_name["Seed clip"].figure


def test_a_song_that_is_hardly_longer_than_its_seed_has_no_more_steps_than_it_lasts():
    told = figures(length_s=4.0, seed_end_s=4.0)
    assert told.n_own_steps == 0
    assert told.n_seed_steps == told.n_steps == 134  # a step that was begun counts


def test_what_was_not_timed_is_not_told():
    told = figures(taken_s=0.0, seconds={})
    assert told.steps_per_s is None
    assert told.times_real_time is None
    words = " ".join(stage.figure for stage in stages(told, told.settings, None))
    assert "a second" not in words
    assert "times" not in words


def test_the_path_has_this_song_s_figures():
    shape = shape_of("twice4life")
    by_name = {stage.name: stage for stage in stages(figures(), Settings(), shape)}
    assert by_name["Seed clip"].figure == "7.7 s at 125 BPM · 30% of the seed left to chance"
    assert "16 numbers every 30 ms" in by_name["Codec listens"].what
    assert by_name["Codec listens"].figure == "4,096 codes for the seed"
    assert by_name["LSTM dreams"].figure == "1,000 steps · 744 of them its own · 2,000 a second · 2 layers of 512 cells"
    assert by_name["Sound"].figure == "30 s made in 0.75 s: 40 times as fast as it plays"


def test_without_a_song_the_path_tells_what_the_settings_will_do():
    settings = Settings(randomness=1.0, length_s=60)
    by_name = {stage.name: stage for stage in stages(None, settings, None)}
    assert by_name["Seed clip"].figure == "100% of the seed left to chance"
    assert by_name["LSTM dreams"].figure == "2,000 steps"


@pytest.mark.parametrize(("temperature", "told"), [(0, "likeliest"), (0.5, "more"), (1, "learnt to"), (1.5, "less")])
def test_temperature_is_told_in_words(temperature, told):
    assert told in knobs(replace(Settings(), temperature=temperature))


def test_a_voice_that_cannot_be_read_has_no_shape(monkeypatch, tmp_path):
    monkeypatch.setattr(model_info, "MODELS_DIR", tmp_path)
    assert shape_of("absent") is None
    (tmp_path / "damaged.safetensors").write_bytes(b"no")
    assert shape_of("damaged") is None
    write_tensors(tmp_path / "other.safetensors", {}, {"lstm": "{}"})
    assert shape_of("other") is None


def shown(song_figures: SongFigures | None) -> str:
    def page(performance) -> None:
        from kpop.settings import Settings
        from kpop.ui.how import how_it_works

        how_it_works(performance, Settings(length_s=60.0))

    performance = song_figures and SimpleNamespace(song_figures=song_figures)
    visited = AppTest.from_function(page, args=(performance,)).run()
    assert not visited.exception
    return " ".join(each.proto.body for each in visited.get("html"))


def test_the_page_tells_the_song_s_own_settings_and_not_those_on_the_sliders():
    assert "1,000 steps" in shown(figures())
    assert "LSTM 0.50 s" in shown(figures())
    assert "Press Generate" not in shown(figures())


def test_without_a_song_the_page_invites():
    assert "Press Generate" in shown(None)
    assert "2,000 steps" in shown(None)


def test_these_sections_do_not_make_the_page_wait_for_heavy_libraries():
    code = (
        "import sys, kpop.page.closeness, kpop.page.learning, kpop.page.how as how;"
        "how.shape_of('twice4life');"
        "print([name for name in ('torch', 'scipy', 'librosa', 'soundfile') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
