"""Journeys over the page without a browser: what a visitor does, and what they then see."""

import io
import json
import sys
import threading
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kpop.audio.files import wav_bytes
from kpop.errors import KpopError
from kpop.generation import checkpoints, clips
from kpop.generation.settings import GeneratedSong, Settings
from kpop.grid import FRAMES_PER_S, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.nearness import build as build_room
from kpop.nearness import moments
from kpop.nearness.build import build, described
from kpop.nearness.index import NearnessIndex
from kpop.show import performance
from kpop.training.songs import Song, no_labels, to_int16

st = pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402

APP = Path(__file__).parents[1] / "app.py"
PATIENCE_S = 60
CLIPS = (clips.ClipInfo("first-snow", "First Snow", "bright verse"), clips.ClipInfo("neon-rain", "Neon Rain", "dark"))


class FakeInstrument:
    """Plays a sine, remembers what it was asked for, and fails on request."""

    def __init__(self) -> None:
        self.asked: list[Settings] = []
        self.heard: list[clips.SeedClip] = []
        self.error: KpopError | None = None
        self.info = {"data": "my songs"}

    def load(self, checkpoint: Path) -> "FakeInstrument":
        return self

    def generate(self, settings, clip, on_progress=None) -> GeneratedSong:
        self.asked.append(settings)
        self.heard.append(clip)
        on_progress(0.5, "Dreaming up the song")
        if self.error:
            raise self.error
        return song_for(settings)


def sine(length_s: float) -> np.ndarray:
    times_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 440 * times_s)).astype(np.float32)


def song_for(settings: Settings) -> GeneratedSong:
    log_mel_db = np.zeros((round(settings.length_s * FRAMES_PER_S), 128), np.float32)
    return GeneratedSong(
        sine(settings.length_s), log_mel_db, np.geomspace(40, 7800, 128), 2.0, settings, {"dream": 0.5}
    )


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No weights, two seed clips, nothing remembered from the test before."""
    st.cache_resource.clear()
    st.cache_data.clear()
    monkeypatch.setattr(checkpoints, "MODELS_DIR", tmp_path)
    monkeypatch.setattr(clips, "built_in_clips", lambda: CLIPS)
    monkeypatch.setattr(performance, "built_in_clip", lambda name: clips.SeedClip(name, name.title(), sine(4)))


@pytest.fixture
def instrument(monkeypatch):
    fake = FakeInstrument()
    monkeypatch.setitem(sys.modules, "kpop.generation.instrument", SimpleNamespace(Instrument=fake))
    return fake


def visit() -> AppTest:
    return AppTest.from_file(APP, default_timeout=PATIENCE_S).run()


def button(page: AppTest, label: str):
    return next(button for button in page.button if button.label == label)


def press_generate(page: AppTest) -> AppTest:
    return button(page, "Generate").click().run()


def words(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def sentences(page: AppTest) -> list[str]:
    assert not page.exception
    return [error.value for error in page.error]


def slider(page: AppTest, label: str):
    return next(slider for slider in page.slider if slider.label == label)


def test_first_visit_invites_and_offers_every_choice(instrument):
    page = visit()
    assert sentences(page) == []
    assert "Kevin needs new songs" in words(page)
    assert [slider.label for slider in page.slider] == ["Seed randomness", "Length", "Temperature"]
    for end in ("Kevin’s memory", "pure chance", "a hook", "a whole song", "safe", "wild"):
        assert end in words(page)
    assert page.selectbox[0].options == ["First Snow – bright verse", "Neon Rain – dark"]
    assert page.number_input[0].label == "Seed number"
    assert not page.get("audio")


def test_generate_shows_picture_player_download_and_facts(instrument):
    page = press_generate(visit())
    assert sentences(page) == []
    assert len(page.get("plotly_chart")) == len(page.get("audio")) == 1
    assert page.get("download_button")[0].label == "Download WAV"
    assert "30 s of music in 0.5 s · seed 2.0 s · seed number 7" in words(page)
    assert "Kevin needs new songs" not in words(page)


def test_the_song_is_made_from_what_the_visitor_chose(instrument):
    page = visit()
    slider(page, "Seed randomness").set_value(0.8)
    slider(page, "Temperature").set_value(1.5)
    slider(page, "Length").set_value(12.0)
    page.number_input[0].set_value(99)
    page.selectbox[0].set_value("neon-rain")
    press_generate(page)
    assert instrument.asked == [Settings(0.8, 1.5, 12.0, 99, "neon-rain", "twice4life")]
    assert instrument.heard[0].name == "neon-rain"


def test_defaults_are_those_of_settings(instrument):
    press_generate(visit())
    assert instrument.asked == [Settings()]


def test_an_address_that_was_passed_on_brings_the_same_wishes(instrument):
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.query_params.update({"temperature": "0.5", "seed_number": "1234", "clip": "Neon Rain – dark"})
    press_generate(page.run())
    assert (instrument.asked[0].temperature, instrument.asked[0].seed_number) == (0.5, 1234)
    assert instrument.asked[0].clip == "neon-rain"


@pytest.mark.parametrize("query", [{"length_s": "9999"}, {"temperature": "hot"}, {"seed_number": "-1"}, {"clip": "?"}])
def test_an_address_full_of_nonsense_still_opens_the_page(instrument, query):
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.query_params.update(query)
    press_generate(page.run())
    assert sentences(page) == []
    assert instrument.asked == [Settings()]


def test_the_dice_changes_the_seed_number_and_nothing_else(instrument):
    page = visit()
    slider(page, "Temperature").set_value(1.5)
    for _ in range(3):
        button(page, "Roll").click().run()
    assert sentences(page) == []
    assert not page.warning
    press_generate(page)
    assert instrument.asked[0].seed_number != Settings().seed_number  # 1 in 10,000 to the contrary
    assert instrument.asked[0].temperature == 1.5


def test_a_failure_is_one_sentence_and_the_old_song_stays(instrument):
    page = press_generate(visit())
    instrument.error = KpopError("The strings broke: put on new ones.")
    press_generate(page)
    assert sentences(page) == ["The strings broke: put on new ones."]
    assert len(page.get("audio")) == 1
    instrument.error = None
    assert sentences(press_generate(page)) == []


def test_generating_again_cancels_what_was_going_on(instrument):
    page = visit()
    former = SimpleNamespace(cancelled=threading.Event())
    former.cancel = former.cancelled.set
    page.session_state.job = former
    press_generate(page)
    assert former.cancelled.is_set()
    assert len(instrument.asked) == 1


def test_own_file_is_what_the_song_starts_from(instrument):
    page = visit()
    page.file_uploader[0].upload("My Demo.wav", wav_bytes(sine(3)), "audio/wav").run()
    assert sentences(page) == []
    press_generate(page)
    assert instrument.asked[0].clip == "My Demo.wav"
    assert instrument.heard[0].title == "My Demo"


def damaged_flac() -> bytes:
    return b"fLaC" + bytes(range(256)) * 4


def silent_wav() -> bytes:
    return wav_bytes(np.zeros(3 * SAMPLE_RATE_HZ, np.float32))


def empty_wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.wav", b"This is no sound."),
        ("damaged.flac", damaged_flac()),
        ("silent.wav", silent_wav()),
        ("empty.wav", empty_wav()),
        ("short.wav", wav_bytes(sine(0.5))),
        ("nothing.mp3", b""),
    ],
)
def test_a_bad_upload_is_one_sentence_and_the_page_lives_on(instrument, name, content):
    page = visit()
    page.file_uploader[0].upload(name, content, "audio/wav").run()
    (sentence,) = sentences(page)
    assert name in sentence
    assert "Traceback" not in sentence
    press_generate(page)
    assert instrument.asked[0].clip == "first-snow"  # as the page says beneath the sentence
    assert len(page.get("audio")) == 1


def test_missing_weights_are_one_sentence_on_the_first_visit_and_the_page_lives_on():
    page = visit()
    (sentence,) = sentences(page)
    assert "twice4life" in sentence
    assert len(page.slider) == 3
    assert sentences(press_generate(page)) == [sentence]


def test_damaged_weights_are_one_sentence(tmp_path):
    (tmp_path / "twice4life.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    (sentence,) = sentences(press_generate(visit()))
    assert "twice4life" in sentence


def test_a_real_model_and_a_real_upload_become_a_song(tiny_model, beat, monkeypatch):
    monkeypatch.setattr(checkpoints, "MODELS_DIR", tiny_model.parent)
    page = visit()
    page.file_uploader[0].upload("beat.wav", wav_bytes(beat), "audio/wav")
    slider(page, "Length").set_value(6.0)
    press_generate(page)
    assert sentences(page) == []
    assert "6 s of music in" in words(page)
    assert "beat, dreamt on" in words(page)
    assert len(page.get("audio")) == len(page.get("plotly_chart")) == 1


def test_weights_that_arrive_later_are_found_without_a_restart(instrument, tmp_path, monkeypatch):
    monkeypatch.setattr(instrument, "load", missing_then(instrument.load))
    page = visit()
    assert len(sentences(page)) == 1
    (tmp_path / "twice4life.safetensors").write_bytes(b"here now")
    assert sentences(press_generate(page)) == []
    assert len(page.get("audio")) == 1


def missing_then(load):
    def load_if_there(checkpoint: Path):
        if not checkpoint.exists():
            raise KpopError(f"{checkpoint} is missing: train it.")
        return load(checkpoint)

    return load_if_there


def test_one_model_needs_no_choice_and_several_are_offered(instrument, tmp_path):
    (tmp_path / "twice4life.safetensors").touch()
    assert [box.label for box in visit().selectbox] == ["Seed clip"]
    (tmp_path / "my-band.safetensors").touch()
    page = visit()
    assert page.selectbox[1].options == ["twice4life", "my-band"]
    page.selectbox[1].set_value("my-band")
    press_generate(page)
    assert instrument.asked[0].model == "my-band"


def write_header(path: Path, info: dict) -> None:
    """As much of a checkpoint as can be read without loading it."""
    header = json.dumps({"__metadata__": {"info": json.dumps(info)}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def test_a_voice_goes_by_its_title_and_says_what_it_is(instrument, tmp_path):
    write_header(tmp_path / "twice4life.safetensors", {"title": "The group", "about": "Sings of everything."})
    write_header(tmp_path / "mine.safetensors", {"n_songs": 12, "data": "demos"})
    page = visit()
    assert page.selectbox[1].options == ["The group", "mine"]
    assert "Sings of everything." in [caption.value for caption in page.caption]
    page.selectbox[1].set_value("mine").run()
    assert "Has learnt from 12 songs: demos." in [caption.value for caption in page.caption]


def test_what_lies_beside_a_model_is_no_voice(instrument, tmp_path):
    for name in ("twice4life", "twice4life.index", "twice4life.snapshots", "first-design", "v1.5"):
        (tmp_path / f"{name}.safetensors").touch()
    assert checkpoints.available_models() == ("twice4life", "v1.5")


def index_of(waveforms: dict[str, np.ndarray], data: str) -> NearnessIndex:
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
def test_a_song_tells_its_closest_moment_if_the_index_is_of_its_model(instrument, tmp_path, monkeypatch, data, told):
    index_of({"a.mp3": melody(1), "b.mp3": melody(2), "c.mp3": melody(3)}, data).save(
        tmp_path / "twice4life.index.safetensors"
    )
    monkeypatch.setitem(globals(), "sine", lambda length_s: melody(2, length_s))
    page = visit()
    slider(page, "Length").set_value(12.0)
    press_generate(page)
    assert sentences(page) == []
    said = " ".join(caption.value for caption in page.caption)
    assert ("Closest moment in training: b.mp3 at 0:03, 100% alike – an unheard" in said) is told
    assert len(page.get("audio")) == (2 if told else 1)  # we don't have the songs of others


def test_our_own_training_songs_can_be_heard_beside_the_new_one(instrument, tmp_path, monkeypatch):
    instrument.info["data"] = build_room.corpus_data()
    monkeypatch.setattr(moments, "training_moment", lambda name, start_s: sine(3.84))
    index_of({"song-00214": melody(1), "song-00215": melody(2)}, build_room.corpus_data()).save(
        tmp_path / "twice4life.index.safetensors"
    )
    page = press_generate(visit())
    assert "Closest moment in training: song 21" in " ".join(caption.value for caption in page.caption)
    assert len(page.get("audio")) == 3


def test_without_seed_clips_the_page_says_so_in_one_sentence(instrument, monkeypatch):
    monkeypatch.setattr(clips, "built_in_clips", tuple)
    monkeypatch.setattr(performance, "built_in_clip", clips.built_in_clip)
    monkeypatch.setattr(clips, "_catalogue", dict)
    assert len(sentences(press_generate(visit()))) == 1


def test_a_file_name_cannot_smuggle_markup_into_the_page(instrument):
    page = visit()
    page.file_uploader[0].upload("<img src=x onerror=alert(1)>.wav", wav_bytes(sine(3)), "audio/wav").run()
    press_generate(page)
    assert "<img" not in words(page)
    assert len(page.get("audio")) == 1
