"""The page's voices, and how new their songs are, without a browser."""

import json
from pathlib import Path

import fake_engine
import numpy as np
import pytest
from fake_engine import sine
from page_visits import box, press_generate, sentences, slider, visit

from kpop import model_info
from kpop.constants import SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.similarity import build as build_room
from kpop.similarity.build import build, described
from kpop.similarity.index import SimilarityIndex
from kpop.training.data import Song, no_labels, to_int16

pytest.importorskip("streamlit")
pytestmark = pytest.mark.usefixtures("fresh_page")


def test_one_model_needs_no_choice_and_several_are_offered(engine, tmp_path):
    (tmp_path / "twice4life.safetensors").touch()
    assert not visit().selectbox
    (tmp_path / "my-band.safetensors").touch()
    page = visit()
    assert box(page, "ModelInfo").options == ["twice4life", "my-band"]
    box(page, "ModelInfo").set_value("my-band")
    press_generate(page)
    assert engine.asked[0].model == "my-band"


def write_header(path: Path, info: dict) -> None:
    """As much of a checkpoint as can be read without loading it."""
    header = json.dumps({"__metadata__": {"info": json.dumps(info)}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def test_a_voice_goes_by_its_title_and_says_what_it_is(engine, tmp_path):
    write_header(tmp_path / "twice4life.safetensors", {"title": "The group", "about": "Sings of everything."})
    write_header(tmp_path / "mine.safetensors", {"n_songs": 12, "data": "demos"})
    page = visit()
    assert box(page, "ModelInfo").options == ["The group", "mine"]
    assert "Sings of everything." in [caption.value for caption in page.caption]
    box(page, "ModelInfo").set_value("mine").run()
    assert "Has learnt from 12 songs: demos." in [caption.value for caption in page.caption]


def test_what_lies_beside_a_model_is_no_voice(engine, tmp_path):
    for name in ("twice4life", "twice4life.index", "twice4life.snapshots", "v1.5"):
        (tmp_path / f"{name}.safetensors").touch()
    assert model_info.available_models() == ("twice4life", "v1.5")


def index_of(waveforms: dict[str, np.ndarray], data: str) -> SimilarityIndex:
    songs = []
    for name, waveform in waveforms.items():
        samples = to_int16(waveform)
        n_steps = len(samples) // STEP_SAMPLES
        songs.append(described(Song(name, samples, (np.arange(n_steps) % 256).astype(np.int16), no_labels(n_steps))))
    return build(songs, songs[:1], data)


def melody(seed: int, length_s: float = 20.0) -> np.ndarray:
    midi = np.random.default_rng(seed).integers(60, 80, 400)
    hz = np.repeat(440 * 2 ** ((midi - 69) / 12), SAMPLE_RATE_HZ // 4)[: round(length_s * SAMPLE_RATE_HZ)]
    return (0.5 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize(("data", "told"), [("my songs", True), ("other songs", False)])
def test_a_song_tells_its_closest_moment_if_the_index_is_of_its_model(engine, tmp_path, monkeypatch, data, told):
    index_of({"a.mp3": melody(1), "b.mp3": melody(2), "c.mp3": melody(3)}, data).save(
        tmp_path / "twice4life.index.safetensors"
    )
    monkeypatch.setattr(fake_engine, "sine", lambda length_s: melody(2, length_s))
    page = visit()
    slider(page, "Length").set_value(12.0)
    press_generate(page)
    assert sentences(page) == []
    said = " ".join(caption.value for caption in page.caption)
    assert ("Closest moment in training: b.mp3 at 0:03, 100% alike – an unheard" in said) is told
    assert len(page.get("audio")) == (2 if told else 1)  # we don't have the songs of others


def test_our_own_training_songs_can_be_heard_beside_the_new_one(engine, tmp_path, monkeypatch):
    engine.info["data"] = build_room.corpus_data()
    monkeypatch.setattr(build_room, "training_moment", lambda name, start_s: sine(3.84))
    index_of({"song-00214": melody(1), "song-00215": melody(2)}, build_room.corpus_data()).save(
        tmp_path / "twice4life.index.safetensors"
    )
    page = press_generate(visit())
    assert "Closest moment in training: song 21" in " ".join(caption.value for caption in page.caption)
    assert len(page.get("audio")) == 3
