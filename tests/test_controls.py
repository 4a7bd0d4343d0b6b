"""The controls, a sound of the listener's own, and WAV files and links that restore their settings."""

import io
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import Mock
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
import pytest
import rhythms
import soundfile
from pages import LAPTOP, PHONE, Visit, button, chosen, controls, sticks_out, words
from streamlit.testing.v1 import AppTest

from kpop.audio.io import wav_bytes
from kpop.bench import BROWSERS
from kpop.constants import SAMPLE_RATE_HZ
from kpop.generation import clips
from kpop.generation.metadata import read_metadata, song_tags
from kpop.generation.titles import song_title
from kpop.settings import Settings
from kpop.ui import sharing
from kpop.ui.controls import microphone_allowed
from kpop.ui.sharing import link, local_address, page_address

MADE = Settings(0.85, 1.4, 61.0, 4711, "last-train-home", "twice4life")
CARD = ".st-key-clip [data-testid=stRadioOption]"
ROW = "document.querySelector('.st-key-clip [role=radiogroup]')"


@pytest.fixture
def page() -> AppTest:
    return controls()


def sentences(page: AppTest) -> str:
    return " ".join(element.value for element in (*page.caption, *page.error, *page.success, *page.markdown))


@pytest.mark.parametrize(("before", "after"), [("slow-honey", "slow-honey"), ("my-song.mp3", Settings().clip)])
def test_callbacks_choose_by_name_and_after_a_file_of_ones_own_a_built_in_clip_is_chosen(before, after):
    assert chosen(controls(clip=before)).clip == after


@pytest.mark.parametrize(
    "query", [{"clip": ""}, {"clip": "?", "temperature": "hot", "length_s": "9999", "seed_number": "-1"}]
)
def test_an_address_full_of_nonsense_chooses_the_defaults(query):
    assert chosen(controls(query)) == Settings()


def claps(bpm: float) -> bytes:
    return wav_bytes(rhythms.claps(bpm, np.random.default_rng(0)))


def upload(page: AppTest, content: bytes, name: str = "My Demo.wav") -> AppTest:
    return page.file_uploader[0].upload(name, content, "audio/wav").run()


def own_title(page: AppTest) -> str | None:
    clip = page.session_state.chosen[1]
    return clip and clip.title


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (claps(100), "Heard in My Demo: 100 BPM. Your song goes on in time"),
        (
            wav_bytes(rhythms.long_note(np.random.default_rng(0))),
            "No clear beat heard in My Demo: your song goes on at",
        ),
    ],
)
def test_a_file_becomes_the_chosen_clip_beside_the_covers_and_the_page_says_its_tempo(page, content, sentence):
    upload(page, content)
    assert (chosen(page).clip, own_title(page)) == ("My Demo.wav", "My Demo")
    assert (page.radio[0].value, len(page.radio[0].options)) == ("My Demo.wav", 13)
    assert sentence in sentences(page)
    page.radio[0].set_value("neon-rain").run()
    assert (chosen(page).clip, own_title(page)) == ("neon-rain", None)
    page.radio[0].set_value("My Demo.wav").run()
    assert own_title(page) == "My Demo"


def test_the_latest_sound_takes_the_place_of_the_one_before_until_it_is_removed(page):
    upload(page, claps(100)).audio_input[0].upload("recording.wav", claps(140), "audio/wav").run()
    assert own_title(page) == "Your recording"
    upload(page, claps(110), "Other.wav")
    assert (own_title(page), len(page.radio[0].options)) == ("Other", 13)
    assert sentences(page).count("BPM.") == 1
    button(page, "Remove").click().run()
    assert (own_title(page), chosen(page).clip, len(page.radio[0].options)) == (None, "first-snow", 12)
    assert "BPM." not in sentences(page)
    assert "120 BPM" in sentences(upload(page, claps(120)))


@pytest.mark.parametrize(("press", "bpm"), [("× 4⁄3", 132), ("half", None), ("× ¾", 74.25), (None, 132), (None, 67)])
def test_a_misheard_tempo_can_be_corrected_by_a_factor_or_typed(page, press, bpm):
    upload(page, claps(99))
    if bpm is None:  # 49.5 BPM are out of range
        assert button(page, press).disabled
        return
    if press:
        button(page, press).click().run()
    else:
        next(field for field in page.number_input if field.key == "own_tempo").set_value(float(bpm)).run()
    clip = page.session_state.chosen[1]
    assert clip.tempo_bpm == pytest.approx(bpm, rel=0.031)
    assert f"{clip.tempo_bpm:.0f} BPM" in sentences(page)


SILENCE = wav_bytes(np.zeros(5 * SAMPLE_RATE_HZ))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"RIFF" * 99, r"\!\[x\]\(http"), (SILENCE[:32_000], "lasts only"), (SILENCE, "is silent")],
)
def test_an_unusable_sound_is_one_sentence_without_markup_and_the_built_in_clip_stays(page, content, sentence):
    upload(page, content, "![x](http://stranger/pixel).wav")
    assert (chosen(page), len(page.radio[0].options)) == (Settings(), 12)
    assert [sentence in error.value for error in page.error] == [True]
    assert page.file_uploader[0].value is None  # it does not stay listed


def test_a_song_of_ours_restores_its_settings_whatever_the_address_says_and_is_no_seed():
    page = controls({"randomness": "0.5", "length_s": "99", "clip": "Neon Rain"}, endless=True)
    upload(page, wav_bytes(np.zeros(100), song_tags(MADE)))
    assert chosen(page) == MADE
    assert not page.session_state.endless
    assert own_title(page) is None
    assert page.success[0].value == f"Restored: {song_title(MADE)}. Press Generate to hear it."
    assert not page.run().success


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ({"clip": "My Demo (1).mp3"}, "It began with a file of yours called My Demo 1 .mp3: drop that in too."),
        (
            {"clip": "![x](http://a.b/www.evil.example)<img src=x>", "model": "../../sirens"},
            "voice, sirens, is not here",
        ),
    ],
)
def test_what_a_restored_song_needs_and_is_not_here_is_named_without_markup_and_paths(page, missing, sentence):
    upload(page, wav_bytes(np.zeros(100), song_tags(replace(MADE, **missing))))
    assert chosen(page) == replace(MADE, clip="first-snow")
    assert sentence in page.success[0].value
    assert not set("<>![]()*`_/") & set(page.success[0].value)
    assert "www." not in page.success[0].value


SECURE = ("http://localhost:8501/", "http://127.0.0.1:8501", "http://[::1]:8501/", "https://twice4life.example/", None)
INSECURE = ("http://192.168.1.20:8501/", "http://booth.local/", "http://localhost.evil.example/")


def test_a_page_that_is_not_secure_explains_why_there_is_no_microphone(page, monkeypatch):
    assert all(map(microphone_allowed, SECURE))
    assert not any(map(microphone_allowed, INSECURE))
    monkeypatch.setattr("kpop.ui.controls.microphone_allowed", lambda url: False)
    page.run()
    assert (len(page.file_uploader), len(page.audio_input)) == (1, 0)
    assert "Browsers lend a microphone to secure pages only" in sentences(page)


@pytest.mark.browser
def test_the_covers_stand_in_two_rows_and_a_link_or_the_arrow_keys_choose_without_a_rerun(visit):
    page = visit("?clip=Slow+Honey")
    card = page.tab.locator(f"{CARD}:has(:checked)")
    assert card.inner_text() == "Slow Honey"
    script = (
        f"[...document.querySelectorAll('{CARD}')].map(card => [getComputedStyle(card, '::before').backgroundImage, "
        "card.getBoundingClientRect().top, parseFloat(getComputedStyle(card.querySelector('p')).fontSize)])"
    )
    covers, tops, sizes_px = zip(*page.tab.evaluate(script), strict=True)
    assert len(set(covers)) == 12
    assert all(cover.startswith('url("data:image/svg+xml,%3Csvg') for cover in covers)
    assert len(set(tops)) == 2
    assert min(sizes_px) >= 12
    page.tab.locator(".st-key-clip :checked").press("ArrowRight")
    page.wait_for_js("location.search.includes('clip=Black+Mirror+Ball')")
    assert card.inner_text() == "Black Mirror Ball"
    story = page.tab.locator("[data-testid=stRadioCaption]:visible")
    assert story.all_inner_texts() == ["Black Mirror Ball – a dark verse in B minor, 115 BPM"]


@pytest.mark.browser
def test_on_a_phone_the_chosen_clip_snaps_into_view_once_and_a_rerun_does_not_undo_a_swipe(visit):
    page = visit("?clip=Last+Train+Home", **PHONE)
    row = page.tab.locator(".st-key-clip [role=radiogroup]")
    page.wait_for_js(f"{ROW}?.scrollLeft > 0 && !{ROW}.getAnimations({{subtree: true}}).length")  # ?.: not drawn yet
    box = page.tab.locator(f"{CARD}:has(:checked)").bounding_box()
    assert 0 <= box["x"] <= PHONE["viewport"]["width"] - box["width"]
    row.evaluate("row => row.scrollTo(0, 0)")
    page.roll_dice()
    page.wait_for_js("document.querySelector('[data-test-script-state=notRunning]')")
    assert row.evaluate("row => row.scrollLeft") == 0
    assert not sticks_out(page)


@pytest.fixture
def clapping(tmp_path, chromium) -> Iterator:
    """A browser whose microphone records claps at 100 BPM."""
    soundfile.write(tmp_path / "claps.wav", np.repeat(rhythms.claps(100, np.random.default_rng(0), 30.0), 3), 48_000)
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    args = ["--no-sandbox", *fake, f"--use-file-for-fake-audio-capture={tmp_path}/claps.wav"]
    browser = chromium.browser_type.launch(executable_path=next(filter(None, map(shutil.which, BROWSERS))), args=args)
    yield browser
    browser.close()


@pytest.mark.browser
def test_a_song_from_a_recording_goes_on_in_its_tempo(clapping, address):
    visit = Visit(clapping, address, permissions=["microphone"], **LAPTOP)
    visit.open("?length_s=12").rest()
    visit.tab.get_by_text("Start from a song of your own").click()
    visit.tab.get_by_role("button", name="Record").click()
    visit.tab.get_by_text("00:06").wait_for()
    visit.tab.get_by_role("button", name="Stop recording").click()
    visit.tab.get_by_text("Heard in Your recording: 100 BPM").wait_for()
    visit.generate()
    assert "From Your recording, 100 BPM" in visit.tab.locator(".facts").first.text_content()
    song = visit.tab.request.get(visit.audio("src")).body()
    assert read_metadata(song).clip == "Your recording"
    assert clips.clip_from_file(io.BytesIO(song), "song").tempo_bpm == pytest.approx(100, rel=0.01)
    assert (visit.complaints, visit.strangers) == ([], [])
    visit.context.close()


BASE = "http://192.168.1.5:8501/"


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


@pytest.mark.parametrize(
    "values",
    [
        (),
        (0.0, 0.0, 4.0, 0),
        (1, 2, 300, 2**32 - 1),
        (0.1, 1, 12.5),
        (0.35, 1.15, 61, 7, "slow-honey", "everything-is-free"),
    ],
)
def test_the_controls_of_whoever_opens_the_link_are_set_to_the_same_song(values):
    settings = Settings(*values)
    assert chosen(controls(query_of(link(settings, BASE)))) == settings


def test_the_link_keeps_the_pages_path_and_marks_its_song():
    url = link(Settings(), "https://songs.example:8501/deep/down/?temperature=2&x=1#song")
    assert url.startswith("https://songs.example:8501/deep/down/?randomness=0.3&temperature=1&length_s=0%3A30&")
    assert query_of(url)["song"] == "1"
    assert "x" not in query_of(url)
    assert "#" not in url
    # a song that began with the listener's own file cannot be linked
    url = link(Settings(clip="My Demo.mp3", seed_number=12), BASE)
    assert ("song" in query_of(url), query_of(url)["seed_number"], "Demo" in url) == (False, "12", False)


HERE, THERE = "http://localhost:8501/", "http://10.0.0.2:8501/"


@pytest.mark.parametrize(
    ("url", "host", "server", "shared", "sentence"),
    [
        (HERE, "10.0.0.2", None, THERE, "on the same Wi-Fi"),
        ("http://[::1]:8501/base/?x=1", "10.0.0.2", None, f"{THERE}base/", "on the same Wi-Fi"),
        ("https://songs.example/?x=1", None, "127.0.0.1", "https://songs.example/", "that can reach this page"),
        (HERE, None, None, HERE, "can’t open this link: this computer is in no network"),
        (HERE, "10.0.0.2", "localhost", HERE, "can’t open this link: the page is served for this computer only"),
    ],
)
def test_phones_get_an_address_or_the_reason_why_there_is_none(monkeypatch, url, host, server, shared, sentence):
    monkeypatch.setattr(sharing, "local_address", lambda: host)
    address, for_phones, told = page_address(url, server)
    assert (address, for_phones) == (shared, told.startswith("Scan it"))
    assert sentence in told


def test_offline_there_is_no_local_address(monkeypatch):
    assert local_address() not in ("127.0.0.1", "0.0.0.0")
    monkeypatch.setattr(socket.socket, "connect", Mock(side_effect=OSError), raising=False)
    assert local_address() is None


@pytest.mark.parametrize(("host", "own_clip"), [("192.168.1.5", False), (None, True)])
def test_a_songs_link_can_be_copied_or_scanned_where_phones_reach_it(monkeypatch, host, own_clip):
    def share(settings) -> None:
        from kpop.ui import sharing

        sharing.share(settings)

    settings = Settings(clip="demo.mp3" if own_clip else "first-snow")
    monkeypatch.setattr(sharing, "local_address", lambda: host)
    page = AppTest.from_function(share, default_timeout=60, args=(settings,)).run()
    assert page.code[0].value == link(settings, f"http://{host or 'localhost'}:8501/")
    html = unquote(words(page))
    assert html.count('class="qr" src="data:image/svg+xml') == (host is not None)
    assert ("M0 0h" in html and "#fff" in html) is (host is not None)  # light behind the code, in both themes
    assert any("Your own file doesn’t travel" in caption.value for caption in page.caption) is own_clip
