"""Hear it learn: the snapshots of a training become sounds of one length, pictures, and a slider."""

import io
import json
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_CODEC
from PIL import Image
from streamlit.testing.v1 import AppTest

from kpop.audio.io import read_audio
from kpop.checkpoint import write_tensors
from kpop.codec.model import Codec
from kpop.constants import STEP_SAMPLES
from kpop.errors import KpopError
from kpop.ui import learning
from kpop.ui.how import shape_of
from kpop.ui.learning import Lesson, Stop, make_lesson, png, read_snapshots, snapshots_path
from kpop.ui.tasks import BackgroundTask

N_STEPS = 64
CURVE = [{"step": 10, "minutes": 2.0, "held_out": 120.0}, {"step": 30, "minutes": 4.0, "held_out": 80.0}]


def codes(seed: int) -> torch.Tensor:
    sizes = TINY_CODEC.flat_codebook_sizes
    return torch.from_numpy(np.random.default_rng(seed).integers(0, sizes, (N_STEPS, len(sizes)))).to(torch.int16)


def write(path: Path, snapshots: dict[int, torch.Tensor]) -> Path:
    write_tensors(path, {f"codes.{step}": t for step, t in snapshots.items()}, {"steps": json.dumps(list(snapshots))})
    return path


@pytest.fixture(scope="module")
def pipeline() -> SimpleNamespace:
    torch.manual_seed(0)
    codec = Codec(TINY_CODEC).eval()
    for name, values in codec.named_buffers():
        if name.endswith("vectors"):  # nothing has been learnt: let different codes mean different sounds
            values.normal_()
    return SimpleNamespace(codec=codec, info={"lstm_curve": CURVE})


@pytest.fixture(scope="module")
def made(pipeline, tmp_path_factory) -> Lesson:
    """Of three snapshots, the last with the codes of the first."""
    path = write(tmp_path_factory.mktemp("models") / "s.safetensors", {0: codes(1), 20: codes(2), 30: codes(1)})
    return make_lesson(pipeline, path, lambda share, words: None)


def test_all_stops_last_equally_long_so_that_one_can_be_left_for_another_in_time(made):
    sound = read_audio(io.BytesIO(made.wav))
    assert len(sound) == 3 * N_STEPS * STEP_SAMPLES == round(3 * made.seconds * 16_000)
    first, other, again = np.split(sound, 3)
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_the_picture_has_a_strip_for_every_stop(made):
    picture = np.array(Image.open(io.BytesIO(made.picture)).convert("RGB"))
    assert picture.shape == (3 * learning.N_BANDS, min(2 * N_STEPS + 1, learning.N_COLUMNS), 3)
    first, other, again = np.split(picture, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_stops_tell_minutes_from_the_start_and_bits_where_they_were_measured(made):
    assert made.stops == (Stop(0, 0.0, None), Stop(20, 3.0, 100.0), Stop(30, 4.0, 80.0))
    told = made.told()
    assert told["stops"][1] == {"name": "Step 20", "facts": "after 3 minutes of training · 100 bits of surprise"}
    assert told["curve"] == [[0.5, 120.0], [2.0, 80.0]]  # step 10 is half way to the second stop


def test_a_voice_that_does_not_remember_its_training_has_no_curve(pipeline, tmp_path):
    forgetful = SimpleNamespace(codec=pipeline.codec, info={})
    lesson = make_lesson(forgetful, write(tmp_path / "s.safetensors", {0: codes(1), 9: codes(2)}), lambda *_: None)
    assert lesson.told()["curve"] == []
    assert [stop["facts"] for stop in lesson.told()["stops"]] == ["", ""]


@pytest.mark.parametrize(
    "snapshots",
    [
        {0: codes(1)[:, :2]},
        {0: codes(1) + 32},
        {0: codes(1) - 32},
        {0: codes(1), 9: codes(2)[:5]},
        {},
    ],
    ids=["fewer codes", "codes too large", "codes too small", "of different length", "none at all"],
)
def test_snapshots_of_another_model_are_refused_in_a_sentence(tmp_path, snapshots):
    path = write(tmp_path / "s.safetensors", snapshots or {0: codes(1)})
    if not snapshots:
        write_tensors(path, {"other": torch.zeros(1)}, {"steps": "[]"})
    with pytest.raises(KpopError, match="does not belong to this voice"):
        read_snapshots(path, TINY_CODEC.flat_codebook_sizes)


def test_damaged_snapshots_are_refused_in_a_sentence(tmp_path):
    path = write(tmp_path / "s.safetensors", {0: codes(1)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KpopError, match="damaged"):
        read_snapshots(path, TINY_CODEC.flat_codebook_sizes)


def test_the_shipped_snapshots_belong_to_the_shipped_voice():
    shape = shape_of("twice4life")
    snapshots = read_snapshots(snapshots_path("twice4life"), shape.codebook_sizes[shape.n_labels :])
    assert len(snapshots) == 10
    assert next(iter(snapshots)) == 0


def test_a_picture_is_dark_where_it_is_silent_and_bright_where_it_is_loud():
    image = Image.open(io.BytesIO(png(np.array([[-80, -40, 0]], np.int8)))).convert("L")
    silent, middle, loud = (image.getpixel((x, 0)) for x in range(3))
    assert silent < 40 < middle < 200 < loud


def test_a_picture_says_its_size_in_its_header():
    assert struct.unpack(">II", png(np.zeros((2, 5), np.int8))[16:24]) == (5, 2)


def test_a_lesson_is_made_once_for_all_and_again_after_a_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(learning, "_lessons", {})
    outcomes = iter([KpopError("No."), "lesson", "another"])

    def learn(model, report):
        outcome = next(outcomes)
        if isinstance(outcome, KpopError):
            raise outcome
        return outcome

    monkeypatch.setattr(learning, "_learn", learn)
    name = str(tmp_path / "m.safetensors")
    assert learning.lesson(name).wait(5)
    assert learning.lesson(name)
    asked = [learning.lesson(name) for _ in range(3)]
    assert {task.result() for task in asked} == {"lesson"}


def page(model: str) -> None:
    from kpop.ui.learning import hear_it_learn

    hear_it_learn(model)


@pytest.fixture
def lessons(monkeypatch, made) -> list[str]:
    """The models whose lessons were asked for on the page."""
    asked: list[str] = []

    def lesson(model: str) -> BackgroundTask:
        asked.append(model)
        task = BackgroundTask(lambda report: made)
        task.wait(5)
        return task

    monkeypatch.setattr("kpop.ui.learning.lesson", lesson)
    return asked


def test_nothing_is_decoded_before_the_listener_asks(lessons):
    visited = AppTest.from_function(page, args=("twice4life",)).run()
    assert lessons == []
    assert len(visited.get("audio")) == 0
    visited.button[0].click().run()
    assert lessons == ["twice4life"]
    assert not visited.exception
    assert len(visited.get("audio")) == 1
    assert len(visited.button) == 0
    visited.run()
    assert lessons == ["twice4life"]


def test_a_voice_without_snapshots_says_nothing(lessons):
    visited = AppTest.from_function(page, args=("everything-is-free",)).run()
    assert not visited.exception
    assert len(visited.expander) == len(visited.button) == 0


def test_a_failure_is_told_and_can_be_tried_again(monkeypatch):
    def fail(report):
        raise KpopError("The snapshots are damaged.")

    def lesson(model):
        task = BackgroundTask(fail)
        task.wait(5)
        return task

    monkeypatch.setattr("kpop.ui.learning.lesson", lesson)
    visited = AppTest.from_function(page, args=("twice4life",)).run()
    visited.button[0].click().run()
    assert [error.value for error in visited.error] == ["The snapshots are damaged."]
    assert len(visited.button) == 1


@pytest.mark.browser
def test_the_slider_changes_the_moment_and_not_the_place_in_the_music(warm):
    tab = warm.tab
    tab.get_by_text("Hear it learn").click()
    tab.get_by_role("button", name="Play it from the beginning").click()
    warm.wait_for_js("document.querySelector('.learn')?.dataset.playing === 'true'")
    warm.wait_for_js("parseFloat(document.querySelector('.learn-now').style.left) > 5")
    place = "parseFloat(document.querySelector('.learn-now').style.left) * 0.1152"
    before_s, before_ms = tab.evaluate(f"[{place}, performance.now()]")
    slider = tab.get_by_role("slider", name="Moment of the training")
    slider.press("End")
    warm.wait_for_js("document.querySelector('.learn-name').textContent === 'Step 1,912'")
    after_s, after_ms = tab.evaluate(f"[{place}, performance.now()]")
    assert after_s - before_s == pytest.approx((after_ms - before_ms) / 1000, abs=0.3)
    assert slider.get_attribute("aria-valuetext").startswith("Step 1,912, after 60 minutes")
    tab.get_by_role("button", name="Pause", exact=True).click()
    assert tab.locator(".learn").get_attribute("data-playing") == "false"
