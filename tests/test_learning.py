"""Hear it learn: the snapshots of a training become sounds of one length, pictures, a curve, and tracks of a player."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_CODEC
from page_visits import player
from PIL import Image
from streamlit.testing.v1 import AppTest

from kpop.checkpoint import write_tensors
from kpop.codec.model import Codec
from kpop.constants import STEP_SAMPLES
from kpop.errors import KpopError
from kpop.model_info import checkpoint_path, header, snapshots_path
from kpop.ui import learning
from kpop.ui.growth import png_uri
from kpop.ui.learning import Training, curve_points, decode_training, read_snapshots
from kpop.ui.spectrogram import N_BANDS
from kpop.ui.tasks import BackgroundTask

N_STEPS = 64
CURVE = [{"step": 10, "minutes": 2.0, "held_out": 120.0}, {"step": 30, "minutes": 4.0, "held_out": 80.0}]


def tokens(seed: int) -> torch.Tensor:
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
        if name.endswith("vectors"):  # untrained: let different tokens mean different sounds
            values.normal_()
    return SimpleNamespace(codec=codec, info={"lstm_curve": CURVE})


@pytest.fixture(scope="module")
def made(pipeline, tmp_path_factory) -> Training:
    """Of three snapshots, the last with the tokens of the first."""
    path = write(tmp_path_factory.mktemp("models") / "s.safetensors", {0: tokens(1), 20: tokens(2), 30: tokens(1)})
    return decode_training(pipeline, path, lambda fraction, status: None)


def test_all_moments_have_one_length_so_that_one_can_be_left_for_another(made):
    first, other, again = (moment.file.pcm.read(0, 2**30) for moment in made.moments)
    assert len(first) == len(other) == 2 * N_STEPS * STEP_SAMPLES
    assert first == again != other
    assert made.moments[0].image == made.moments[2].image != made.moments[1].image


def test_minutes_count_from_the_start_and_bits_stand_where_they_were_measured(made):
    assert [(moment.step, moment.minutes, moment.bits) for moment in made.moments] == [
        (0, 0.0, None),
        (20, 3.0, 100.0),
        (30, 4.0, 80.0),
    ]
    assert [moment.facts for moment in made.moments[:2]] == [
        "before the first lesson",
        "after 3 minutes of training · 100 bits of surprise",
    ]
    assert curve_points(made) == "25.0% 100%, 25.0% 6.0%, 100.0% 94.0%"  # step 10: half way to the second of three


def test_a_model_that_does_not_remember_its_training_has_no_facts(pipeline, tmp_path):
    forgetful = SimpleNamespace(codec=pipeline.codec, info={})
    path = write(tmp_path / "s.safetensors", {0: tokens(1), 9: tokens(2)})
    training = decode_training(forgetful, path, lambda *_: None)
    assert training.curve == ()
    assert [moment.facts for moment in training.moments] == ["", ""]


@pytest.mark.parametrize(
    "snapshots",
    [{0: tokens(1)[:, :2]}, {0: tokens(1) + 32}, {0: tokens(1) - 32}, {0: tokens(1), 9: tokens(2)[:5]}],
    ids=["fewer codebooks", "too large", "too small", "of different length"],
)
def test_snapshots_of_another_model_are_refused_in_a_sentence(tmp_path, snapshots):
    with pytest.raises(KpopError, match="does not belong to this voice"):
        read_snapshots(write(tmp_path / "s.safetensors", snapshots), TINY_CODEC.flat_codebook_sizes)


def test_damaged_snapshots_are_refused_in_a_sentence(tmp_path):
    path = write(tmp_path / "s.safetensors", {0: tokens(1)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KpopError, match="damaged"):
        read_snapshots(path, TINY_CODEC.flat_codebook_sizes)


def test_the_shipped_snapshots_belong_to_the_shipped_model():
    lstm = header(checkpoint_path("twice4life"))["lstm"]
    snapshots = read_snapshots(snapshots_path("twice4life"), tuple(lstm["codebook_sizes"][lstm["n_labels"] :]))
    assert len(snapshots) == 10
    assert next(iter(snapshots)) == 0


def test_an_image_is_dark_where_it_is_silent_bright_where_it_is_loud_and_has_high_notes_on_top():
    columns = np.full((3, N_BANDS), -80, np.int8)
    columns[1], columns[2, -1] = -40, 0
    image = Image.open(io.BytesIO(base64.b64decode(png_uri(columns).partition(",")[2]))).convert("L")
    assert image.size == (3, N_BANDS)
    assert image.getpixel((0, 0)) < 40 < image.getpixel((1, 0)) < 200 < image.getpixel((2, 0))


def page(model: str) -> None:
    from kpop.ui.learning import hear_it_learn

    hear_it_learn(model, "/base")


@pytest.fixture
def outcomes(monkeypatch, made) -> list:
    """What the next decodings end in; the training if there is nothing left."""
    monkeypatch.setattr(learning, "_trainings", {})
    results: list = []

    def decode(model, report):
        result = results.pop(0) if results else made
        if isinstance(result, KpopError):
            raise result
        return result

    monkeypatch.setattr(learning, "_decode", decode)
    return results


def press(visited: AppTest) -> AppTest:
    visited.button[0].click().run()
    tasks: dict[str, BackgroundTask] = visited.session_state[learning.REQUESTED]
    assert tasks["twice4life"].wait(10)
    return visited.run()


def test_nothing_is_decoded_before_the_listener_asks_and_then_once_for_all(outcomes, made):
    for _ in range(2):
        visited = AppTest.from_function(page, args=("twice4life",)).run()
        assert not visited.get("bidi_component")
        press(visited)
        outcomes.append(KpopError("A second decoding."))
        shown = player(visited)
        assert shown["play"] == made.moments[0].file.url("/base") == shown["tracks"][0]["url"]
        assert [track["title"] for track in shown["tracks"]] == ["Step 0", "Step 20", "Step 30"]
        assert not visited.button


def test_a_failure_is_told_and_can_be_tried_again(outcomes):
    outcomes.append(KpopError("The snapshots are damaged."))
    visited = press(AppTest.from_function(page, args=("twice4life",)).run())
    assert [error.value for error in visited.error] == ["The snapshots are damaged."]
    assert player(press(visited))["tracks"]


def test_a_model_without_snapshots_shows_nothing(outcomes):
    visited = AppTest.from_function(page, args=("everything-is-free",)).run()
    assert not visited.exception
    assert len(visited.expander) == len(visited.button) == 0
