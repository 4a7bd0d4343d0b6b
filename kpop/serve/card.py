"""What a link to the page brings along in a chat or a search: title, words, and a picture (Open Graph, Twitter cards).

They stand in the HTML that Streamlit serves before any script runs, which is all that most readers of links look at.
"""

import html
import re
from contextlib import suppress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

TITLE = "Twice4Life"
WORDS = "K-pop that never existed, until now: three sliders, one button, and you hear it while it is dreamt up."
PICTURE, PICTURE_WORDS = "card.png", "Twice4Life, and ten covers of imaginary songs"
PICTURE_WIDTH, PICTURE_HEIGHT = 1200, 630
TOUCH_ICON = "touch-icon.png"
PAPER = {"light": "#fff8f4", "dark": "#150d1f"}  # as in config.toml: the browser's own bars take this colour
KEPT = {"Cache-Control": "public, max-age=86400"}
TITLE_TAG, HTML_TAG = re.compile("<title>[^<]*</title>"), re.compile("<html>")


def card_routes(looks: Path, index: Path, base_path: str = "") -> list[Route]:
    """The page's HTML with its card, and the card's pictures.

    looks: folder of card.png and touch-icon.png; index: Streamlit's own HTML, which stays as it is should it no longer
    have one title to stand beside. Where it cannot be read, Streamlit is left to serve its page itself.
    """
    routes = [_picture(looks / name, base_path) for name in (PICTURE, TOUCH_ICON)]
    with suppress(OSError, UnicodeDecodeError):
        routes.append(_page(index.read_text(encoding="utf-8"), base_path))
    return routes


def _page(bare: str, base_path: str) -> Route:
    async def page(request: Request) -> Response:
        body = with_card(bare, _address(request, base_path))
        return HTMLResponse(body, headers={"Cache-Control": "no-cache"})  # as Streamlit says of it

    return Route(f"{base_path}/", page, methods=["GET"])


def _picture(path: Path, base_path: str) -> Route:
    async def picture(request: Request) -> Response:
        return FileResponse(path, headers=KEPT)

    return Route(f"{base_path}/{path.name}", picture, methods=["GET"])


def _address(request: Request, base_path: str) -> str:
    """Of the page, as the visitor sees it, even through a proxy that speaks HTTPS for us."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip()
    return f"{'https' if scheme == 'https' else 'http'}://{request.url.netloc}{base_path}"


def with_card(page: str, address: str) -> str:
    """The page with its own title, its card and its language; unchanged where it has not exactly one title.

    address: of the page, without a slash at its end. No og:url: a link's wishes would be lost on whoever shares it on.
    """
    if len(TITLE_TAG.findall(page)) != 1:
        return page
    card = f"<title>{TITLE}</title>{_tags(html.escape(address))}"
    return HTML_TAG.sub('<html lang="en">', TITLE_TAG.sub(lambda _: card, page), count=1)


def _tags(address: str) -> str:
    named = {"description": WORDS, "twitter:card": "summary_large_image"}
    open_graph = {
        "og:type": "website",
        "og:site_name": TITLE,
        "og:title": TITLE,
        "og:description": WORDS,
        "og:image": f"{address}/{PICTURE}",
        "og:image:width": PICTURE_WIDTH,
        "og:image:height": PICTURE_HEIGHT,
        "og:image:alt": PICTURE_WORDS,
    }
    tags = [f'<meta name="{name}" content="{content}">' for name, content in named.items()]
    tags += [f'<meta property="{name}" content="{content}">' for name, content in open_graph.items()]
    tags += [
        f'<meta name="theme-color" media="(prefers-color-scheme: {scheme})" content="{colour}">'
        for scheme, colour in PAPER.items()
    ]
    return "".join([*tags, f'<link rel="apple-touch-icon" href="./{TOUCH_ICON}">'])
