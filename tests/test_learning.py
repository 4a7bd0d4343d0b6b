"""Hear it learn and How does it work: sounds, pictures and figures are those of the training and of the song."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import TINY_CODEC
from pages import player
from PIL import Image
from streamlit.testing.v1 import AppTest

from kpop.checkpoint import write_tensors
from kpop.codec.model import Codec
from kpop.constants import STEP_SAMPLES
from kpop.errors import KpopError
from kpop.model_info import checkpoint_path, header, snapshots_path
from kpop.settings import Beat, Settings
from kpop.ui import learning
from kpop.ui.how import TIMED_STAGES
from kpop.ui.learning import Training, curve_points, decode_training, moment_facts, read_snapshots
from kpop.ui.spectrogram import N_BANDS, png_uri

N_STEPS = 64
SIZES = TINY_CODEC.flat_codebook_sizes
CURVE = [{"step": 10, "minutes": 2.0, "held_out": 120.0}, {"step": 30, "minutes": 4.0, "held_out": 80.0}]


def tokens(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, SIZES, (N_STEPS, len(SIZES)))).to(torch.int16)


def write(folder: Path, snapshots: dict[int, torch.Tensor]) -> Path:
    path = folder / "s.safetensors"
    write_tensors(path, {f"codes.{step}": t for step, t in snapshots.items()}, {"steps": json.dumps(list(snapshots))})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Training:
    """Of three snapshots, the last with the tokens of the first."""
    torch.manual_seed(0)
    codec = Codec(TINY_CODEC).eval()
    for name, values in codec.named_buffers():
        if name.endswith("vectors"):  # untrained: let different tokens mean different sounds
            values.normal_()
    path = write(tmp_path_factory.mktemp("models"), {0: tokens(1), 20: tokens(2), 30: tokens(1)})
    return decode_training(SimpleNamespace(codec=codec, info={"lstm_curve": CURVE}), path, lambda *_: None)


def test_all_moments_have_one_length_so_that_one_can_be_left_for_another(made):
    first, other, again = (moment.file.pcm.read(0, 2**30) for moment in made.moments)
    assert len(first) == len(other) == 2 * N_STEPS * STEP_SAMPLES
    assert first == again != other
    assert made.moments[0].image == made.moments[2].image != made.moments[1].image


def test_minutes_count_from_the_start_and_bits_stand_where_they_were_measured(made, monkeypatch):
    assert {moment.step: moment.facts for moment in made.moments} == {
        0: "before the first lesson",
        20: "after 3 minutes of training · 100 bits of surprise",
        30: "after 4 minutes of training · 80 bits of surprise",
    }
    assert curve_points(made) == "25.0% 100%, 25.0% 6.0%, 100.0% 94.0%"  # step 10: half way to the second of three
    assert moment_facts((), 20) == moment_facts(CURVE, 31) == ""
    monkeypatch.setattr(learning, "read_snapshots", lambda *_: {})
    assert decode_training(MagicMock(info={}), Path(), MagicMock()).curve == ()  # an older checkpoint has none


def test_snapshots_that_are_damaged_or_another_models_are_refused_in_a_sentence(tmp_path):
    fewer_codebooks, too_large, too_small = tokens(1)[:, :2], tokens(1) + 32, tokens(1) - 32
    for snapshots in {0: fewer_codebooks}, {0: too_large}, {0: too_small}, {0: tokens(1), 9: tokens(2)[:5]}:
        with pytest.raises(KpopError, match="does not belong to this voice"):
            read_snapshots(write(tmp_path, snapshots), SIZES)
    path = write(tmp_path, {0: tokens(1)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(KpopError, match="damaged"):
        read_snapshots(path, SIZES)


def test_the_shipped_snapshots_belong_to_the_shipped_model():
    lstm = header(checkpoint_path("twice4life"))["lstm"]
    snapshots = read_snapshots(snapshots_path("twice4life"), tuple(lstm["codebook_sizes"][lstm["n_labels"] :]))
    assert (len(snapshots), min(snapshots)) == (10, 0)


def test_an_image_is_dark_where_it_is_silent_bright_where_it_is_loud_and_has_high_notes_on_top():
    columns = np.full((3, N_BANDS), -80, np.int8)
    columns[1], columns[2, -1] = -40, 0
    image = Image.open(io.BytesIO(base64.b64decode(png_uri(columns).partition(",")[2]))).convert("L")
    assert image.size == (3, N_BANDS)
    assert image.getpixel((0, 0)) < 40 < image.getpixel((1, 0)) < 200 < image.getpixel((2, 0))


def page(model: str) -> AppTest:
    script = f"from kpop.ui.learning import hear_it_learn; hear_it_learn({model!r})"
    return AppTest.from_string(script).run()


@pytest.fixture
def decoded(monkeypatch, made) -> MagicMock:
    learning.training.cache_clear()
    monkeypatch.setattr(learning, "base_path", lambda: "/base")
    monkeypatch.setattr(learning, "get_engine", MagicMock())
    monkeypatch.setattr(learning, "decode_training", MagicMock(return_value=made))
    return learning.decode_training


def press(visited: AppTest) -> AppTest:
    visited.button[0].click().run()
    assert learning.training("twice4life").wait(10)
    return visited.run()


def test_nothing_is_decoded_before_the_listener_asks_and_then_once_for_all(decoded, made):
    for _ in range(2):
        visited = page("twice4life")
        assert not visited.get("bidi_component")
        shown = player(press(visited))
        assert shown["play"] == made.moments[0].file.url("/base") == shown["tracks"][0]["url"]
        assert [track["title"] for track in shown["tracks"]] == ["Step 0", "Step 20", "Step 30"]
        assert not visited.button
    decoded.assert_called_once()


def test_a_failure_is_told_and_can_be_tried_again(decoded, made):
    decoded.side_effect = [KpopError("The snapshots are damaged."), made]
    visited = page("twice4life")
    visited.button[0].click().run()
    assert learning.training("twice4life").wait(10)
    assert [error.value for error in visited.run().error] == ["The snapshots are damaged."]
    assert player(press(visited))["tracks"]


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
        "2,000 frames of 481 frequencies",
        "0.40 s for codec and phase",
        "0:30 made in 0.75 s: 40 times as fast as it plays",
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
