"""A link brings a song's settings to another listener's page, and a QR code brings it to phones."""

import socket
from unittest.mock import Mock
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from page_visits import chosen, controls, words
from streamlit.testing.v1 import AppTest

from kpop.settings import Settings
from kpop.ui import sharing
from kpop.ui.sharing import arrived_by_link, link, local_address, page_address

BASE = "http://192.168.1.5:8501/"


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


@pytest.mark.parametrize(
    "values", [(), (0.0, 0.0, 4.0, 0), (1, 2, 300, 2**32 - 1), (0.35, 1.15, 61, 7, "slow-honey", "everything-is-free")]
)
def test_the_controls_of_whoever_opens_the_link_are_set_to_the_same_song(values):
    settings = Settings(*values)
    assert chosen(controls(query_of(link(settings, BASE)))) == settings


def test_the_link_keeps_the_pages_path_and_marks_its_song():
    url = link(Settings(), "https://songs.example:8501/deep/down/?temperature=2&x=1#song")
    assert url.startswith("https://songs.example:8501/deep/down/?randomness=0.3&temperature=1&")
    assert arrived_by_link(query_of(url))
    assert "x" not in query_of(url)
    assert "#" not in url
    # a song that began with the listener's own file cannot be linked
    url = link(Settings(clip="My Demo.mp3", seed_number=12), BASE)
    assert (arrived_by_link(query_of(url)), query_of(url)["seed_number"], "Demo" in url) == (False, "12", False)


HERE, THERE = "http://localhost:8501/", "http://10.0.0.2:8501/"


@pytest.mark.parametrize(
    ("url", "host", "server", "shared", "sentence"),
    [
        (HERE, "10.0.0.2", None, THERE, "in the same network"),
        ("http://[::1]:8501/base/?x=1", "10.0.0.2", None, f"{THERE}base/", "in the same network"),
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
def test_a_song_can_be_downloaded_and_its_link_copied_or_scanned_where_phones_reach_it(monkeypatch, host, own_clip):
    def share(settings) -> None:
        from kpop.ui import sharing

        sharing.share(settings, b"RIFF", "song.wav")

    settings = Settings(clip="demo.mp3" if own_clip else "first-snow")
    monkeypatch.setattr(sharing, "local_address", lambda: host)
    page = AppTest.from_function(share, default_timeout=60, args=(settings,)).run()
    assert page.get("download_button")[0].label == "Download WAV"
    assert page.code[0].value == link(settings, f"http://{host or 'localhost'}:8501/")
    html = unquote(words(page))
    assert html.count('class="qr" src="data:image/svg+xml') == (host is not None)
    assert ("M0 0h" in html and "#fff" in html) is (host is not None)  # light behind the code, in both themes
    assert any("Your own file doesn’t travel" in caption.value for caption in page.caption) is own_clip
