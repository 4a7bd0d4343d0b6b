"""The page without a browser: what it offers, shows and says, with a fake engine behind it."""

import gc
import html
import io
import time
import wave
from functools import partial

import numpy as np
import pytest
from fake_engine import FakeJob, make_in_pieces, sine
from page_visits import APP, PATIENCE_S, button, press_generate, sentences, slider, told, visit, words

from kpop import model_info
from kpop.audio.io import wav_bytes
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.generation import clips
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui import session_state as visit_room
from kpop.ui import song
from kpop.ui import tasks as warming_room
from kpop.ui.session_state import SessionState

st = pytest.importorskip("streamlit")
from streamlit.delta_generator import DeltaGenerator  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

pytestmark = pytest.mark.usefixtures("fresh_page")


def test_first_visit_invites_and_offers_every_choice(engine):
    page = visit()
    assert sentences(page) == []
    assert "Kevin needs new songs" in words(page)
    assert [slider.label for slider in page.slider] == ["Seed randomness", "Length", "Temperature"]
    for end in ("Kevin’s memory", "pure chance", "a hook", "a whole song", "safe", "wild"):
        assert end in words(page)
    assert page.radio[0].label == "Seed clip"
    assert page.radio[0].options == ["First Snow", "Neon Rain"]
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
    page.radio[0].set_value("neon-rain")
    press_generate(page)
    assert engine.asked == [Settings(0.8, 1.5, 12.0, 99, "neon-rain", "twice4life")]
    assert engine.jobs[0].clip.name == "neon-rain"


def test_defaults_are_those_of_settings(engine):
    press_generate(visit())
    assert engine.asked == [Settings()]


def test_an_address_that_was_passed_on_brings_the_same_wishes(engine):
    press_generate(visit({"temperature": "0.5", "seed_number": "1234", "clip": "Neon Rain"}))
    assert (engine.asked[0].temperature, engine.asked[0].seed_number) == (0.5, 1234)
    assert engine.asked[0].clip == "neon-rain"


@pytest.mark.parametrize("query", [{"length_s": "9999"}, {"temperature": "hot"}, {"seed_number": "-1"}, {"clip": "?"}])
def test_an_address_full_of_nonsense_still_opens_the_page(engine, query):
    page = press_generate(visit(query))
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
    former = FakeJob()
    page.session_state.visit.jobs = (former,)
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
    page.session_state.visit = SessionState()
    page.session_state.visit.wish(Settings())  # the first run still waits for the engine
    page.run()
    assert len(engine.asked) == 1
    assert len(page.get("audio")) == 1


def test_a_server_that_cannot_send_sound_while_it_is_made_shows_progress_and_offers_no_endless_song(engine):
    engine.make = partial(make_in_pieces, speed=100)
    page = press_generate(visit())
    assert not page.toggle
    assert len(page.get("audio")) == 1


def test_the_live_player_is_there_from_the_first_run_on_and_told_of_nothing(engine, served):
    assert told(visit()) == {"songs": [], "live": None}


def test_the_live_player_is_told_where_the_sound_is_and_that_the_song_is_there(engine, served):
    page = press_generate(visit())
    job = engine.jobs[0]
    live, (song,) = told(page)["live"], told(page)["songs"]
    assert (live["url"], live["n_samples"], live["shown"]) == (f"/live/{job.id}", job.n_samples, True)
    assert len(live["edges_hz"]) == 130
    assert (song["title"], song["length_s"], song["seed_end_s"]) == (song_title(Settings()), 30, 2)


def test_an_endless_song_is_asked_for_and_leaves_the_run_to_itself_once_it_sounds(engine, served):
    engine.make = make_in_pieces
    page = visit()
    page.toggle[0].set_value(True).run()
    assert slider(page, "Length").disabled
    press_generate(page)
    assert engine.jobs[0].endless
    assert told(page)["live"]["n_samples"] is None
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
    assert told(page)["live"] is None


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
    assert [body[len('<p class="live-news">') :][:8] for body in news[:3]] == ["Number 2", "Number 1", "Number 0"]
    assert len(news) <= 4


def test_only_the_song_on_the_page_is_kept(engine):
    page = visit()
    for _ in range(4):
        button(page, "Roll").click().run()
        press_generate(page)
    gc.collect()
    assert sum(type(thing) is song.Performance for thing in gc.get_objects()) <= 2  # one may be on its way out
    assert (page.session_state.visit.jobs, page.session_state.visit.performing) == ((), None)


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
    monkeypatch.setattr(model_info, "MODELS_DIR", tiny_model.parent)
    page = visit()
    page.file_uploader[0].upload("beat.wav", wav_bytes(beat), "audio/wav")
    slider(page, "Length").set_value(6.0)
    press_generate(page)
    assert sentences(page) == []
    assert "6 s of music in" in words(page)
    (song,) = page.session_state.visit.performances
    assert song.own_clip.title == "beat"
    assert song.title in html.unescape(words(page))
    assert len(page.get("audio")) == len(page.get("plotly_chart")) == 1


def test_weights_that_arrive_later_are_found_without_a_restart(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "check", missing_until_there)
    page = visit()
    assert len(sentences(page)) == 1
    (tmp_path / "twice4life.safetensors").write_bytes(b"here now")
    assert sentences(press_generate(page)) == []
    assert len(page.get("audio")) == 1


def missing_until_there(model: str) -> None:
    if not model_info.checkpoint_path(model).exists():
        raise KpopError(f"{model} is missing: train it.")


def test_without_seed_clips_the_page_says_so_in_one_sentence(engine, monkeypatch):
    monkeypatch.setattr(visit_room, "built_in_clip", clips.built_in_clip)
    monkeypatch.setattr(clips, "_catalogue", dict)
    assert len(sentences(press_generate(visit()))) == 1


def test_a_file_name_cannot_smuggle_markup_into_the_page(engine):
    page = visit()
    page.file_uploader[0].upload("<img src=x onerror=alert(1)>.wav", wav_bytes(sine(3)), "audio/wav").run()
    press_generate(page)
    assert "<img src=x" not in words(page)
    assert len(page.get("audio")) == 1
