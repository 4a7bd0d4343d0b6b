"""A sound of the listener's own: a file or a recording, what was understood of it, and the way back."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rhythms
import soundfile
from chromium import FLAGS, LAPTOP, PHONE, Visit, launched, sticks_out

from kpop.audio.beat import find_pulse
from kpop.audio.io import read_audio, wav_bytes
from kpop.constants import SAMPLE_RATE_HZ
from kpop.generation.metadata import read_metadata, song_wav
from kpop.settings import Settings

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

from kpop.ui.controls import microphone_allowed

PATIENCE_S = 60


def own_clip_page() -> None:
    import streamlit as st

    from kpop.ui.controls import choose_own_clip

    st.session_state.clip_now = choose_own_clip()


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_function(own_clip_page, default_timeout=PATIENCE_S).run()


def claps(bpm: float) -> bytes:
    return wav_bytes(rhythms.claps(bpm, np.random.default_rng(0)))


def given_file(page: AppTest, content: bytes, name: str = "My Demo.wav") -> AppTest:
    page.file_uploader[0].upload(name, content, "audio/wav").run()
    return page


def recorded(page: AppTest, content: bytes) -> AppTest:
    page.audio_input[0].upload("recording.wav", content, "audio/wav").run()
    return page


def words(page: AppTest) -> str:
    return " ".join(element.value for element in (*page.caption, *page.error, *page.success, *page.markdown))


def test_at_first_there_is_nothing_but_two_ways_in(page):
    assert page.session_state.clip_now is None
    assert len(page.file_uploader) == len(page.audio_input) == 1
    assert not page.button
    assert not words(page)


def test_a_file_is_heard_and_the_page_says_its_tempo(page):
    given_file(page, claps(100))
    assert page.session_state.clip_now.title == "My Demo"
    assert "Heard: 100 BPM – your song goes on in time with it." in words(page)


def test_a_sound_without_a_beat_is_welcome_and_the_page_says_so(page):
    given_file(page, wav_bytes(rhythms.long_note(np.random.default_rng(0))))
    assert page.session_state.clip_now.tempo_bpm is None
    assert "No clear beat heard: your song goes on at 125 BPM." in words(page)


def test_what_came_last_counts_and_what_came_before_comes_back_when_it_goes(page):
    given_file(page, claps(100))
    recorded(page, claps(140))
    assert page.session_state.clip_now.title == "Your recording"
    assert "140 BPM" in words(page)
    given_file(page, claps(110), "Other.wav")
    assert page.session_state.clip_now.title == "Other"
    assert words(page).count("BPM") == 1


def test_the_way_back_empties_both(page):
    recorded(given_file(page, claps(100)), claps(140))
    page.button[0].click().run()
    assert page.session_state.clip_now is None
    assert not words(page)
    assert not page.button
    given_file(page, claps(120))
    assert "120 BPM" in words(page)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"RIFFnonsense" * 99, "is not a sound file"),
        (claps(100)[: 44 + SAMPLE_RATE_HZ], "lasts only"),
        (wav_bytes(np.zeros(5 * SAMPLE_RATE_HZ, np.float32)), "is silent"),
    ],
)
def test_what_cannot_be_heard_is_one_sentence_and_the_built_in_clip_stays(page, content, sentence):
    recorded(page, content)
    assert page.session_state.clip_now is None
    assert len(page.error) == 1
    assert sentence in page.error[0].value
    assert "built-in clip" in words(page)


def test_a_file_name_is_no_markdown(page):
    given_file(page, b"", "![x](http://stranger/pixel).wav")
    assert "![" not in page.error[0].value
    assert "(http" not in page.error[0].value.replace("\\(", "")


def test_a_song_that_this_page_made_brings_its_settings_back_and_is_no_seed(page):
    song = song_wav(rhythms.claps(100, np.random.default_rng(0)), Settings(temperature=1.7, seed_number=4711))
    given_file(page, song, "twice4life-something.wav")
    assert page.session_state.clip_now is None
    assert page.session_state.temperature == 1.7
    assert page.session_state.seed_number == 4711
    assert "Restored" in words(page)
    assert not page.error


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost:8501/", True),
        ("http://127.0.0.1:8501", True),
        ("http://[::1]:8501/", True),
        ("https://twice4life.example/", True),
        (None, True),
        ("http://192.168.1.20:8501/", False),
        ("http://booth.local/", False),
        ("http://localhost.evil.example/", False),
    ],
)
def test_microphones_need_a_secure_page(url, allowed):
    assert microphone_allowed(url) == allowed


@pytest.fixture(scope="module")
def clapping(tmp_path_factory, monkeypatch_module) -> Iterator:
    """Before its microphone somebody claps at 100 BPM, and it takes http://booth.test for this machine."""
    wav = Path(tmp_path_factory.mktemp("fake")) / "claps.wav"
    claps_16k = rhythms.claps(100, np.random.default_rng(0), seconds=30.0)
    soundfile.write(wav, np.repeat(claps_16k, 3), 3 * SAMPLE_RATE_HZ)
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    here = "--host-resolver-rules=MAP booth.test 127.0.0.1"
    monkeypatch_module.setattr("chromium.FLAGS", [*FLAGS, *fake, f"--use-file-for-fake-audio-capture={wav}", here])
    yield from launched()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.browser
def test_who_claps_into_the_microphone_gets_a_song_that_goes_on_with_it(clapping, address):
    visit = Visit(clapping, address, permissions=["microphone"], **LAPTOP)
    visit.open("?length_s=12").rest()
    visit.tab.get_by_text("Start from a song of your own").click()
    visit.tab.get_by_role("button", name="Record").click()
    visit.tab.get_by_text("00:06").wait_for()
    visit.tab.get_by_role("button", name="Stop recording").click()
    visit.tab.get_by_text("Heard: 100 BPM").wait_for()
    visit.generate()
    song = visit.tab.request.get(visit.audio("src")).body()
    assert read_metadata(song).clip == "Your recording"
    heard = find_pulse(read_audio(io.BytesIO(song)))
    assert heard.tempo_bpm == pytest.approx(100, rel=0.01)
    assert visit.complaints == []
    assert visit.strangers == []
    visit.context.close()


@pytest.mark.browser
def test_a_page_that_is_not_secure_says_what_to_do_instead_of_offering_a_microphone(clapping, address):
    visit = Visit(clapping, address.replace("localhost", "booth.test"), **PHONE).open()
    visit.tab.get_by_text("Start from a song of your own").click()
    visit.tab.get_by_text("Browsers lend a microphone to secure pages only").wait_for()
    assert visit.tab.get_by_test_id("stAudioInput").count() == 0
    assert visit.tab.get_by_test_id("stFileUploader").is_visible()
    assert not sticks_out(visit)
    visit.context.close()
