"""On the page: a song is kept, passed on, brought back from its file, and heard again."""

import base64
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from chromium import PHONE, ROOT, Visit, free_port, sticks_out, wait_until_healthy

from kpop.audio.io import wav_bytes
from kpop.generation.clips import SeedClip
from kpop.generation.metadata import song_wav
from kpop.generation.titles import song_file_name, song_title
from kpop.settings import Settings
from kpop.ui import sharing
from kpop.ui.session_state import History, entry_for
from kpop.ui.sharing import qr_svg

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

MADE = Settings(0.85, 1.4, 61.0, 4711, "last-train-home", "twice4life")
SOUND = np.zeros(100, np.float32)


def scratch_page() -> None:
    """Our sections beside widgets that go by the page's keys, without the rest of the page."""
    from dataclasses import asdict

    import streamlit as st

    from kpop.generation.clips import built_in_clips
    from kpop.settings import Settings
    from kpop.ui.history import show_history
    from kpop.ui.metadata import restore, take_restored
    from kpop.ui.sharing import share

    def take() -> None:
        st.session_state.took = restore(st.session_state.file)

    st.button("Take the file", on_click=take)
    for key, value in asdict(Settings()).items():
        st.session_state.setdefault(key, value)
    titles = {clip.name: clip.title for clip in built_in_clips()}
    kept = {"bind": "query-params"}
    st.session_state.chosen = Settings(
        st.slider("Seed randomness", 0.0, 1.0, key="randomness", **kept),
        st.slider("Temperature", 0.0, 2.0, key="temperature", **kept),
        st.slider("Length", 4.0, 300.0, key="length_s", **kept),
        st.number_input("Seed number", 0, 2**32 - 1, key="seed_number", **kept),
        st.radio("Seed clip", titles, format_func=titles.get, key="clip", **kept),
        st.selectbox("ModelInfo", ["twice4life", "everything-is-free"], key="model", **kept),
    )
    st.session_state.told = take_restored()
    share(*st.session_state.song)
    show_history(st.session_state.past)


@pytest.fixture
def page(monkeypatch) -> AppTest:
    monkeypatch.setattr(sharing, "local_address", lambda: "192.168.1.5")
    test = AppTest.from_function(scratch_page)
    test.session_state.song = MADE, False, song_wav(SOUND, MADE), song_file_name(MADE)
    test.session_state.past = History()
    return test


def button(page: AppTest, start: str):
    return next(button for button in page.button if button.label.startswith(start))


def taking(page: AppTest, content: bytes) -> AppTest:
    page.session_state.file = content
    page.run()
    button(page, "Take").click().run()
    assert not page.exception
    return page


def html_of(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def captions(page: AppTest) -> str:
    return " ".join(caption.value for caption in page.caption)


def test_a_file_of_ours_sets_every_wish_and_says_so_once(page):
    taking(page, song_wav(SOUND, MADE))
    assert page.session_state.took is True
    assert page.session_state.chosen == MADE
    assert page.session_state.told == f"Restored: {song_title(MADE)}. Press Generate to hear it."
    page.run()
    assert page.session_state.told is None
    assert page.session_state.chosen == MADE


@pytest.mark.parametrize("content", [wav_bytes(SOUND), b"", b"ID3 an mp3", b"RIFF\x00\x00\x00\x00WAVE"])
def test_any_other_file_changes_nothing(page, content):
    taking(page, content)
    assert page.session_state.took is False
    assert page.session_state.chosen == Settings()
    assert page.session_state.told is None


def test_a_file_of_ours_is_stronger_than_the_address(page):
    lowest = Settings(0.0, 0.0, 4.0, 0, "first-snow")
    page.query_params.update({"randomness": "0.5", "temperature": "1.5", "length_s": "99", "clip": "Neon Rain"})
    assert taking(page, song_wav(SOUND, lowest)).session_state.chosen == lowest


def test_a_song_from_a_file_of_ones_own_asks_for_that_file(page):
    taking(page, song_wav(SOUND, replace(MADE, clip="My Demo (1).mp3")))
    assert page.session_state.chosen == replace(MADE, clip="first-snow")
    assert "It began with a file of yours called My Demo 1 .mp3: drop that in too." in page.session_state.told


def test_a_voice_that_is_not_here_is_no_error(page):
    taking(page, song_wav(SOUND, replace(MADE, model="sirens")))
    assert page.session_state.chosen == MADE
    assert "Its voice, sirens, is not here" in page.session_state.told


def test_a_strangers_file_brings_no_markup_and_no_paths_onto_the_page(page):
    evil = replace(MADE, clip="![x](http://a.b/www.evil.example)<img src=x>", model="../../etc/secret")
    taking(page, song_wav(SOUND, evil))
    assert page.session_state.chosen == replace(MADE, clip="first-snow")
    assert not set("<>![]()*`_/") & set(page.session_state.told)
    assert "www." not in page.session_state.told


def test_an_endless_listener_gets_the_restored_song_and_no_endless_one(page):
    page.session_state.endless = True
    assert taking(page, song_wav(SOUND, MADE)).session_state.endless is False


def test_the_song_can_be_kept_and_passed_on(page):
    page.run()
    assert not page.exception
    assert page.get("download_button")[0].label == "Download WAV"
    song_link = sharing.link(MADE, "http://192.168.1.5:8501/")
    assert page.code[0].value == song_link
    code = base64.b64encode(qr_svg(song_link).encode()).decode()
    assert f'class="qr" src="data:image/svg+xml;base64,{code}"' in html_of(page)
    assert 'alt="QR code of the link' in html_of(page)
    assert "phone" in captions(page)


def test_where_no_phone_comes_there_is_no_code_but_a_link_and_the_reason(page, monkeypatch):
    monkeypatch.setattr(sharing, "local_address", lambda: None)
    page.run()
    assert 'class="qr"' not in html_of(page)
    assert page.code[0].value == sharing.link(MADE, "http://localhost:8501/")
    assert "in no network" in captions(page)


def test_it_is_said_that_ones_own_file_does_not_travel_in_a_link(page):
    page.run()
    assert "Your own file" not in captions(page)
    page.session_state.song = replace(MADE, clip="demo.mp3"), True, wav_bytes(SOUND), "x.wav"
    page.run()
    assert "Your own file doesn’t travel in a link" in captions(page)


def test_a_visit_without_songs_says_what_will_stand_here(page):
    assert "Nothing yet" in captions(page.run())
    assert "Play again" not in " ".join(button.label for button in page.button)


def test_an_earlier_song_is_told_and_played_again(page):
    page.session_state.past.remember(entry_for(MADE, SeedClip(MADE.clip, "Last Train Home", SOUND)))
    page.run()
    assert song_title(MADE).replace("&", "&amp;") in html_of(page)
    assert "Last Train Home · randomness 0.85 · temperature 1.40 · 61 s" in html_of(page)
    assert button(page, "Play again").label == f"Play again *{song_title(MADE)}*"
    button(page, "Play again").click().run()
    assert not page.exception
    assert page.session_state.chosen == MADE
    assert page.session_state.visit.wishes


def test_a_song_whose_clip_had_to_go_says_so_and_cannot_be_played(page):
    page.session_state.past = History(max_own_clips=1)
    for number in (1, 2):
        clip = SeedClip("<b>demo</b>.mp3", "<b>demo</b>", np.full(10, number, np.float32))
        page.session_state.past.remember(entry_for(Settings(seed_number=number, clip=clip.name), clip))
    page.run()
    again = [button for button in page.button if button.label.startswith("Play again")]
    assert [button.disabled for button in again] == [False, True]
    assert html_of(page).count("your file is no longer kept here") == 1
    assert "<b>demo" not in html_of(page)


SERVED = """
import sys
sys.path.insert(0, "")
import streamlit as st
from kpop.audio.files import wav_bytes
from kpop.generation.settings import Settings
from kpop.page.sharing import share
from kpop.show import links
sharing.local_address = lambda: "192.168.1.5"
share(Settings(), False, wav_bytes([0.0]), "song.wav")
"""


@pytest.fixture
def served(tmp_path):
    """A server of a page with nothing on it but what we share."""
    script, port = tmp_path / "page.py", free_port()
    script.write_text(SERVED)
    command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", "--server.headless=true"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until_healthy(f"http://localhost:{port}")
            yield f"http://localhost:{port}"
        finally:
            process.terminate()


@pytest.mark.browser
def test_a_phone_shows_the_code_and_copies_the_link(chromium, served):
    phone = Visit(chromium, served, **PHONE)
    phone.tab.goto(served)
    phone.tab.get_by_role("button", name="Share").click()
    code = phone.tab.get_by_role("img", name="QR code of the link")
    code.wait_for()
    assert code.evaluate("code => code.complete && code.naturalWidth > 0")
    assert code.bounding_box()["width"] >= 200
    assert phone.tab.get_by_role("button", name="Copy to clipboard").is_visible()
    assert not sticks_out(phone)
    assert phone.strangers == []
