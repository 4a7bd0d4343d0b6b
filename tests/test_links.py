"""A link brings a song's settings to another listener's page, and phones find the machine."""

import itertools
import re
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
import segno
from fake_engine import FakeEngine

from kpop.generation.clips import built_in_clips
from kpop.settings import Settings
from kpop.ui import sharing
from kpop.ui import tasks as warming_room
from kpop.ui.sharing import QUIET_MODULES, arrived_by_link, link, local_address, page_address, qr_svg

st = pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402

APP = Path(__file__).parents[1] / "app.py"
PATIENCE_S = 60
BASE = "http://192.168.1.5:8501/"
SVG = "{http://www.w3.org/2000/svg}"
CHANGES = {
    "randomness": (0.0, 0.35, 1.0),
    "temperature": (0.0, 1.15, 2.0),
    "length_s": (4.0, 300.0),
    "seed_number": (0, 4_294_967_295),
    "clip": ("black-mirror-ball",),
    "model": ("twice4life", "everything-is-free"),
}


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


@pytest.fixture
def engine(monkeypatch):
    """The page's, on a page with all voices and clips that we ship."""
    st.cache_resource.clear()
    st.cache_data.clear()
    monkeypatch.setattr(warming_room, "HEAD_START_S", 0)
    warming_room.warming.cache_clear()
    fake = FakeEngine()
    monkeypatch.setitem(sys.modules, "kpop.engine", SimpleNamespace(engine=lambda: fake))
    yield fake
    warming_room.warming.cache_clear()


@pytest.mark.parametrize(
    "settings",
    [Settings(**{name: value}) for name, values in CHANGES.items() for value in values]
    + [Settings(0.85, 1.4, 61.0, 4711, "last-train-home", "everything-is-free")],
    ids=str,
)
def test_whoever_opens_the_link_and_presses_generate_gets_the_same_song(engine, settings):
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.query_params.update(query_of(link(settings, BASE)))
    page.run()
    next(button for button in page.button if button.label == "Generate").click().run()
    assert not page.exception
    assert engine.asked == [settings]


def test_the_link_keeps_the_pages_place_and_nothing_else_of_its_address():
    url = link(Settings(), "https://songs.example:8501/deep/down/?temperature=2&x=1#song")
    assert url.startswith("https://songs.example:8501/deep/down/?randomness=0.3&")
    assert query_of(url)["temperature"] == "1"
    assert "#" not in url
    assert "x" not in query_of(url)


def test_the_link_says_that_somebody_means_this_song():
    assert arrived_by_link(query_of(link(Settings(), BASE)))
    assert not arrived_by_link({})
    assert not arrived_by_link({"temperature": "2", "seed_number": "7"})


def test_a_link_does_not_promise_a_song_that_began_with_the_listeners_own_file():
    url = link(Settings(clip="My Demo.mp3", seed_number=12), BASE)
    assert not arrived_by_link(query_of(url))
    assert query_of(url)["seed_number"] == "12"
    assert "Demo" not in url


def test_titles_with_odd_letters_survive(monkeypatch):
    clips = (SimpleNamespace(name="odd", title="Süß & sauer? 100 % #1"),)
    monkeypatch.setattr(sharing, "built_in_clips", lambda: clips)
    assert query_of(link(Settings(clip="odd"), BASE))["clip"] == clips[0].title


@pytest.mark.parametrize("url", ["http://localhost:8501/", "http://127.0.0.1:8501/base/?x=1", "http://[::1]:8501/"])
def test_phones_are_sent_to_this_machines_place_in_the_network(monkeypatch, url):
    monkeypatch.setattr(sharing, "local_address", lambda: "192.168.1.5")
    address = page_address(url, None)
    assert address.for_phones
    assert address.url == "http://192.168.1.5:8501" + urlsplit(url).path


def test_an_address_that_is_not_this_machines_alone_is_passed_on_as_it_is(monkeypatch):
    monkeypatch.setattr(sharing, "local_address", lambda: pytest.fail("nobody needs to know"))
    address = page_address("https://songs.example/base/?x=1", "127.0.0.1")
    assert (address.url, address.for_phones) == ("https://songs.example/base/", True)


@pytest.mark.parametrize(("host", "listens_on", "why"), [(None, None, "no network"), ("10.0.0.2", "localhost", "only")])
def test_it_is_said_when_phones_cannot_come(monkeypatch, host, listens_on, why):
    monkeypatch.setattr(sharing, "local_address", lambda: host)
    address = page_address("http://localhost:8501/", listens_on)
    assert (address.url, address.for_phones) == ("http://localhost:8501/", False)
    assert why in address.sentence
    assert address.sentence.count(".") == 1


def test_finding_ones_own_address_sends_nothing_and_offline_there_is_none(monkeypatch):
    class Probe(socket.socket):
        def connect(self, where):
            assert self.type == socket.SOCK_DGRAM  # a connection of which the system alone knows
            raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "socket", Probe)
    assert local_address() is None


@pytest.mark.parametrize("found", ["127.0.0.1", "0.0.0.0", "127.0.1.1"])
def test_an_address_that_leads_nowhere_is_none(monkeypatch, found):
    probe = SimpleNamespace(connect=lambda where: None, getsockname=lambda: (found, 9))

    class Socket:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return probe

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(socket, "socket", Socket)
    assert local_address() is None


def drawn(svg: str) -> tuple[int, set[tuple[int, int]]]:
    """Width of the picture in modules, and the places of the dark ones."""
    root = ElementTree.fromstring(svg)
    size = int(root.get("viewBox").split()[2])
    background, code = root.findall(f"{SVG}path")
    assert (background.get("fill"), background.get("d")) == ("#fff", f"M0 0h{size}v{size}H0z")
    assert code.get("fill") == "#000"
    bars = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", code.get("d"))
    assert "".join("M{} {}h{}v1h-{}z".format(*bar) for bar in bars) == code.get("d")
    dark = {(int(x) + i, int(y)) for x, y, n, _ in bars for i in range(int(n))}
    assert all(n == back for _, _, n, back in bars)
    return size, dark


@pytest.mark.parametrize("text", ["http://a.b/", link(Settings(), BASE), link(Settings(clip="slow-honey"), BASE * 3)])
def test_the_picture_is_the_code_of_the_link_on_white_with_quiet_all_around(text):
    matrix = segno.make(text, error="m", micro=False).matrix
    size, dark = drawn(qr_svg(text))
    assert size == len(matrix) + 8
    places = itertools.product(range(len(matrix)), repeat=2)
    assert dark == {(x + QUIET_MODULES, y + QUIET_MODULES) for x, y in places if matrix[y][x]}


def test_the_picture_says_what_it_is_and_takes_any_text_as_text():
    root = ElementTree.fromstring(qr_svg('http://a.b/?x=<script>&y="'))
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == 'QR code of http://a.b/?x=<script>&y="'


def test_every_built_in_clip_can_be_told_in_a_link():
    told = {query_of(link(Settings(clip=clip.name), BASE))["clip"] for clip in built_in_clips()}
    assert len(told) == len(built_in_clips())
