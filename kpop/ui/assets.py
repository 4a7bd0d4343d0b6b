"""Static files of the page (style sheets, scripts, covers, icon), its path on the server, and text for its Markdown."""

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

import streamlit as st

from kpop.generation.clips import ClipInfo

STATIC_DIR = Path(__file__).parent / "static"
GRADIENT = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120"><linearGradient id="g" x2="0" y2="1">'
    '<stop stop-color="hsl({hue},60%,22%)"/><stop offset="1" stop-color="hsl({hue},75%,62%)"/></linearGradient>'
    '<rect width="120" height="120" fill="url(#g)"/></svg>'
)


@lru_cache(maxsize=32)
def style(name: str) -> str:
    """A style sheet for `st.html`, e.g. "page" for page.css; read once, not on every run of every session."""
    return f"<style>{(STATIC_DIR / f'{name}.css').read_text(encoding='utf-8')}</style>"


@lru_cache(maxsize=4)
def cover_style(selector: str, clips: tuple[ClipInfo, ...]) -> str:
    """A style sheet with the clips' covers as backgrounds. selector: {} in it is a clip's number, from 1 on."""
    rule = selector + ' {{ background-image: url("{}"); }}\n'
    return f"<style>{''.join(rule.format(i, cover_uri(clip)) for i, clip in enumerate(clips, 1))}</style>"


def cover_uri(clip: ClipInfo) -> str:
    """A seed clip's cover (SVG, 120 x 120 units) as a data: URI for CSS url("...") and <img src="...">.

    A clip without a file in static/covers/ gets a gradient whose hue is a hash of its name.
    """
    path = STATIC_DIR / "covers" / f"{clip.name}.svg"
    gradient = GRADIENT.format(hue=crc32(clip.name.encode()) % 360)
    svg = path.read_text(encoding="utf-8").strip() if path.is_file() else gradient
    return "data:image/svg+xml," + quote(svg, safe=" /:=;,'()!*+~@$")


def base_path() -> str:
    """Of the page on its server: "" for the root."""
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def clock(seconds: float) -> str:
    """Minutes and seconds, as players show them: 1:05, or 1:05.5 for a fraction of a second."""
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes:.0f}:{seconds:02.0f}" if seconds == int(seconds) else f"{minutes:.0f}:{seconds:04.1f}"


def escape_markdown(text: str) -> str:
    """Text from outside, such as a file's name or a song's title, without effect as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!:$~|])", r"\\\1", text)
