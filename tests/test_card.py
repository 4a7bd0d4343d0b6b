"""What a link to the page brings along: its words and its picture, wherever the page lives."""

import asyncio
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from chromium import ROOT
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from kpop.serve.card import KEPT, PICTURE_HEIGHT, PICTURE_WIDTH, card_routes

LOOKS = ROOT / ".streamlit"
BARE = "<!DOCTYPE html><html><head><title>Streamlit</title></head><body><div id='root'></div></body></html>"


def site(tmp_path: Path, bare: str | None = BARE, base_path: str = "") -> Callable[..., SimpleNamespace]:
    """Asks a server whose other pages are Streamlit's: site(...)(address, method, **headers)."""
    index = tmp_path / "index.html"
    if bare is not None:
        index.write_text(bare, encoding="utf-8")
    fallback = Mount(base_path or "/", PlainTextResponse("Streamlit itself"))
    app = Starlette(routes=[*card_routes(LOOKS, index, base_path), fallback])

    def ask(address: str = "/", method: str = "GET", **headers: str) -> SimpleNamespace:
        return asyncio.run(answer(app, address, method, {"host": "kevin.example", **headers}))

    return ask


async def answer(app: Starlette, address: str, method: str, headers: dict[str, str]) -> SimpleNamespace:
    sent = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> None:
        await asyncio.Event().wait()  # nobody hangs up

    parts = urlsplit(address)
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": parts.path, "query_string": parts.query.encode(), "headers": raw}
    await app(scope | {"scheme": "http", "root_path": "", "server": ("127.0.0.1", 8501)}, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return SimpleNamespace(
        status=sent[0]["status"], headers=told, content=content, text=content.decode(errors="replace")
    )


def meta(page: str) -> dict[str, str]:
    return dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">', page))


def png_size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("base_path", ["", "/booth"])
def test_a_link_brings_title_words_and_a_picture_that_is_there(tmp_path, base_path):
    ask = site(tmp_path, base_path=base_path)
    told = meta(ask(f"{base_path}/?seed_number=9").text)
    assert told["og:title"] == "Twice4Life"
    assert "K-pop" in told["description"]
    assert told["og:image"] == f"http://kevin.example{base_path}/card.png"
    picture = ask(told["og:image"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["cache-control"] == KEPT["Cache-Control"]
    assert png_size(picture.content) == (PICTURE_WIDTH, PICTURE_HEIGHT)
    assert len(picture.content) < 150_000


def test_the_page_says_its_language_and_keeps_all_that_was_in_it(tmp_path):
    page = site(tmp_path)().text
    assert '<html lang="en">' in page
    assert page.count("<title>") == 1
    assert page.endswith(BARE.partition("</title>")[2])


def test_a_language_that_is_there_stays(tmp_path):
    page = site(tmp_path, BARE.replace("<html>", '<html lang="en" dir="ltr">'))().text
    assert page.count("lang=") == 1


def test_the_page_may_change_at_any_time_and_may_be_asked_for_its_head_alone(tmp_path):
    head = site(tmp_path)("/", "HEAD")
    assert head.status == 200
    assert head.headers["cache-control"] == "no-cache"


def test_behind_a_proxy_with_https_the_picture_has_https_too(tmp_path):
    page = site(tmp_path)(x_forwarded_proto="https", host="songs.example").text
    assert meta(page)["og:image"] == "https://songs.example/card.png"


def test_a_host_cannot_smuggle_markup_into_the_page(tmp_path):
    assert "<script>" not in site(tmp_path)(host='"><script>alert(1)</script>').text


@pytest.mark.parametrize("bare", ["<html><head></head></html>", BARE.replace("<body>", "<title>again</title>")])
def test_html_that_we_do_not_know_is_served_as_it_is(tmp_path, bare):
    assert site(tmp_path, bare)().text == bare


def test_without_readable_html_streamlit_serves_the_page_itself(tmp_path):
    assert site(tmp_path, None)().text == "Streamlit itself"


def test_a_phone_finds_the_icon_for_its_home_screen(tmp_path):
    ask = site(tmp_path)
    (icon,) = re.findall('rel="apple-touch-icon" href="./([^"]+)"', ask().text)
    assert png_size(ask(f"/{icon}").content) == (180, 180)


@pytest.mark.browser
def test_the_real_page_brings_its_card_and_still_comes_up(visit, address):
    with urllib.request.urlopen(address) as answer:
        page = answer.read().decode()
    assert meta(page)["og:title"] == "Twice4Life"
    assert meta(page)["description"]
    with urllib.request.urlopen(meta(page)["og:image"]) as picture:
        assert picture.headers["content-type"] == "image/png"
    tab = visit().tab
    assert tab.title() == "Twice4Life"
    assert tab.locator("html").get_attribute("lang") == "en"
