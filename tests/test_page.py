"""Journeys over the page without a browser: what a visitor does, and what they then see."""

import gc
import io
import json
import sys
import time
import wave
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fake_engine
import numpy as np
import pytest
from fake_engine import FakeEngine, FakeJob, make_in_pieces, sine

from kpop.audio.files import wav_bytes
from kpop.errors import KpopError
from kpop.generation import checkpoints, clips
from kpop.generation.settings import Settings
from kpop.grid import SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.nearness import build as build_room
from kpop.nearness import moments
from kpop.nearness.build import build, described
from kpop.nearness.index import NearnessIndex
from kpop.serve import lifespan
from kpop.show import performance
from kpop.show import visit as visit_room
from kpop.show import warming as warming_room
from kpop.show.visit import Visit
from kpop.training.songs import Song, no_labels, to_int16

st = pytest.importorskip("streamlit")
from streamlit.delta_generator import DeltaGenerator  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

APP = Path(__file__).parents[1] / "app.py"
PATIENCE_S = 60
CLIPS = (clips.ClipInfo("first-snow", "First Snow", "bright verse"), clips.ClipInfo("neon-rain", "Neon Rain", "dark"))


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No weights, two seed clips, nothing remembered from the test before."""
    st.cache_resource.clear()
    st.cache_data.clear()
    monkeypatch.setattr(checkpoints, "MODELS_DIR", tmp_path)
    monkeypatch.setattr(clips, "built_in_clips", lambda: CLIPS)
    monkeypatch.setattr(visit_room, "built_in_clip", lambda name: clips.SeedClip(name, name.title(), sine(4)))
    monkeypatch.setattr(warming_room, "HEAD_START_S", 0)
    warming_room.warming.cache_clear()
    yield
    warming_room.warming.cache_clear()


@pytest.fixture
def engine(monkeypatch):
    fake = FakeEngine()
    monkeypatch.setitem(sys.modules, "kpop.engine.process", SimpleNamespace(engine=lambda: fake))
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


def test_first_visit_invites_and_offers_every_choice(engine):
    page = visit()
    assert sentences(page) == []
    assert "Kevin needs new songs" in words(page)
    assert [slider.label for slider in page.slider] == ["Seed randomness", "Length", "Temperature"]
    for end in ("Kevin’s memory", "pure chance", "a hook", "a whole song", "safe", "wild"):
        assert end in words(page)
    assert page.selectbox[0].options == ["First Snow – bright verse", "Neon Rain – dark"]
    assert page.number_input[0].label == "Seed number"
    assert not page.get("audio")


def test_generate_shows_picture_player_download_and_facts(engine):
    page = press_generate(visit())
    assert sentences(page) == []
    assert len(page.get("plotly_chart")) == len(page.get("audio")) == 1
    assert page.get("download_button")[0].label == "Download WAV"
    assert "30 s of music in 0.5 s · seed 2.0 s · seed number 7" in words(page)
    assert "Kevin needs new songs" not in words(page)


def test_the_song_is_made_from_what_the_visitor_chose(engine):
    page = visit()
    slider(page, "Seed randomness").set_value(0.8)
    slider(page, "Temperature").set_value(1.5)
    slider(page, "Length").set_value(12.0)
    page.number_input[0].set_value(99)
    page.selectbox[0].set_value("neon-rain")
    press_generate(page)
    assert engine.asked == [Settings(0.8, 1.5, 12.0, 99, "neon-rain", "twice4life")]
    assert engine.jobs[0].clip.name == "neon-rain"


def test_defaults_are_those_of_settings(engine):
    press_generate(visit())
    assert engine.asked == [Settings()]


def test_an_address_that_was_passed_on_brings_the_same_wishes(engine):
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.query_params.update({"temperature": "0.5", "seed_number": "1234", "clip": "Neon Rain – dark"})
    press_generate(page.run())
    assert (engine.asked[0].temperature, engine.asked[0].seed_number) == (0.5, 1234)
    assert engine.asked[0].clip == "neon-rain"


@pytest.mark.parametrize("query", [{"length_s": "9999"}, {"temperature": "hot"}, {"seed_number": "-1"}, {"clip": "?"}])
def test_an_address_full_of_nonsense_still_opens_the_page(engine, query):
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.query_params.update(query)
    press_generate(page.run())
    assert sentences(page) == []
    assert engine.asked == [Settings()]


def test_the_dice_changes_the_seed_number_and_nothing_else(engine):
    page = visit()
    slider(page, "Temperature").set_value(1.5)
    for _ in range(3):
        button(page, "Roll").click().run()
    assert sentences(page) == []
    assert not page.warning
    press_generate(page)
    assert engine.asked[0].seed_number != Settings().seed_number  # 1 in 10,000 to the contrary
    assert engine.asked[0].temperature == 1.5


def test_a_failure_is_one_sentence_and_the_old_song_stays(engine):
    page = press_generate(visit())
    engine.error = KpopError("The strings broke: put on new ones.")
    press_generate(page)
    assert sentences(page) == ["The strings broke: put on new ones."]
    assert len(page.get("audio")) == 1
    engine.error = None
    assert sentences(press_generate(page)) == []


def test_generating_again_cancels_what_was_going_on(engine):
    page = visit()
    former = page.session_state.visit.job = FakeJob()
    press_generate(page)
    assert former.cancelled
    assert len(engine.asked) == 1


def test_a_full_engine_is_one_sentence_and_the_next_try_may_work(engine):
    engine.full = KpopError("The queue is full: try again in 5 s.")
    page = press_generate(visit())
    assert sentences(page) == ["The queue is full: try again in 5 s."]
    engine.full = None
    assert sentences(press_generate(page)) == []
    assert len(page.get("audio")) == 1


def test_a_press_before_the_engine_is_up_is_not_forgotten(engine, monkeypatch):
    monkeypatch.setattr(warming_room, "HEAD_START_S", 1.0)
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.session_state.visit = Visit()
    page.session_state.visit.wish(Settings(), None, False)  # the first run still waits for the engine
    page.run()
    assert len(engine.asked) == 1
    assert len(page.get("audio")) == 1


def test_a_server_that_cannot_send_sound_while_it_is_made_shows_progress_and_offers_no_endless_song(engine):
    engine.make = partial(make_in_pieces, speed=100)
    page = press_generate(visit())
    assert not page.toggle
    assert len(page.get("audio")) == 1


@pytest.fixture
def served(monkeypatch):
    """A server that sends sound while it is made."""
    lifespan._served.set()
    yield
    lifespan._served.clear()


def told(page: AppTest) -> dict | None:
    """What the live player was told last."""
    (player,) = page.get("bidi_component")
    return json.loads(player.proto.json) if player.proto.json else None


def test_the_live_player_is_there_from_the_first_run_on_and_told_of_nothing(engine, served):
    assert told(visit()) is None


def test_the_live_player_is_told_where_the_sound_is_and_that_the_song_is_there(engine, served):
    page = press_generate(visit())
    job = engine.jobs[0]
    assert told(page) == {
        "url": f"/live/{job.id}",
        "n_samples": job.n_samples,
        "title": "First-Snow, dreamt on",
        "shown": True,
    }


def test_an_endless_song_is_asked_for_and_leaves_the_run_to_itself_once_it_sounds(engine, served):
    engine.make = make_in_pieces
    page = visit()
    page.toggle[0].set_value(True).run()
    assert slider(page, "Length").disabled
    press_generate(page)
    assert engine.jobs[0].endless
    assert told(page)["n_samples"] is None
    assert "Kevin needs new songs" not in words(page)
    assert not page.get("audio")
    page.toggle[0].set_value(False)
    press_generate(page)
    assert engine.jobs[0].cancelled
    assert len(page.get("audio")) == 1


def test_a_failure_silences_the_live_player(engine, served):
    engine.error = KpopError("The strings broke: put on new ones.")
    page = press_generate(visit())
    assert sentences(page) == ["The strings broke: put on new ones."]
    assert told(page) is None


def test_a_listener_in_the_queue_is_told_the_place_once_for_every_change(engine, served, monkeypatch):
    said = []
    monkeypatch.setattr(DeltaGenerator, "html", lambda self, body, **_: said.append(str(body)))

    def make(job):
        for place in (2, 1, 0):
            job.place_in_queue, job.words = place, f"Number {place} in the queue"
            time.sleep(0.5)
        job.end()

    engine.make = make
    press_generate(visit())
    news = [body for body in said if "live-news" in body]
    assert [body[len('<p class="live-news">') :][:8] for body in news] == ["Number 2", "Number 1", "Number 0"]


def test_only_the_song_on_the_page_is_kept(engine):
    page = visit()
    for _ in range(4):
        button(page, "Roll").click().run()
        press_generate(page)
    gc.collect()
    assert sum(type(thing) is performance.Performance for thing in gc.get_objects()) <= 2  # one may be on its way out
    assert (page.session_state.visit.job, page.session_state.visit.performing) == (None, None)


def test_own_file_is_what_the_song_starts_from(engine):
    page = visit()
    page.file_uploader[0].upload("My Demo.wav", wav_bytes(sine(3)), "audio/wav").run()
    assert sentences(page) == []
    press_generate(page)
    assert engine.asked[0].clip == "My Demo.wav"
    assert engine.jobs[0].clip.title == "My Demo"


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
def test_a_bad_upload_is_one_sentence_and_the_page_lives_on(engine, name, content):
    page = visit()
    page.file_uploader[0].upload(name, content, "audio/wav").run()
    (sentence,) = sentences(page)
    assert name in sentence
    assert "Traceback" not in sentence
    press_generate(page)
    assert engine.asked[0].clip == "first-snow"  # as the page says beneath the sentence
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


def test_weights_that_arrive_later_are_found_without_a_restart(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "check", missing_until_there)
    page = visit()
    assert len(sentences(page)) == 1
    (tmp_path / "twice4life.safetensors").write_bytes(b"here now")
    assert sentences(press_generate(page)) == []
    assert len(page.get("audio")) == 1


def missing_until_there(model: str) -> None:
    if not checkpoints.checkpoint_path(model).exists():
        raise KpopError(f"{model} is missing: train it.")


def test_one_model_needs_no_choice_and_several_are_offered(engine, tmp_path):
    (tmp_path / "twice4life.safetensors").touch()
    assert [box.label for box in visit().selectbox] == ["Seed clip"]
    (tmp_path / "my-band.safetensors").touch()
    page = visit()
    assert page.selectbox[1].options == ["twice4life", "my-band"]
    page.selectbox[1].set_value("my-band")
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
    assert page.selectbox[1].options == ["The group", "mine"]
    assert "Sings of everything." in [caption.value for caption in page.caption]
    page.selectbox[1].set_value("mine").run()
    assert "Has learnt from 12 songs: demos." in [caption.value for caption in page.caption]


def test_what_lies_beside_a_model_is_no_voice(engine, tmp_path):
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
    monkeypatch.setattr(moments, "training_moment", lambda name, start_s: sine(3.84))
    index_of({"song-00214": melody(1), "song-00215": melody(2)}, build_room.corpus_data()).save(
        tmp_path / "twice4life.index.safetensors"
    )
    page = press_generate(visit())
    assert "Closest moment in training: song 21" in " ".join(caption.value for caption in page.caption)
    assert len(page.get("audio")) == 3


def test_without_seed_clips_the_page_says_so_in_one_sentence(engine, monkeypatch):
    monkeypatch.setattr(clips, "built_in_clips", tuple)
    monkeypatch.setattr(visit_room, "built_in_clip", clips.built_in_clip)
    monkeypatch.setattr(clips, "_catalogue", dict)
    assert len(sentences(press_generate(visit()))) == 1


def test_a_file_name_cannot_smuggle_markup_into_the_page(engine):
    page = visit()
    page.file_uploader[0].upload("<img src=x onerror=alert(1)>.wav", wav_bytes(sine(3)), "audio/wav").run()
    press_generate(page)
    assert "<img" not in words(page)
    assert len(page.get("audio")) == 1
