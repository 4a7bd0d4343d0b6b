"""Static files of the page (style sheets, scripts, markup, covers, icon), its path on the server, its Markdown."""

import re
from functools import lru_cache
from pathlib import Path

import streamlit as st

STATIC_DIR = Path(__file__).parent / "static"


@lru_cache(maxsize=32)
def style(name: str) -> str:
    """A style sheet for `st.html`, e.g. "page" for page.css; read once, not on every run of every session."""
    return f"<style>{(STATIC_DIR / f'{name}.css').read_text(encoding='utf-8')}</style>"


def base_path() -> str:
    """Of the page on its server: "" for the root."""
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def escape_markdown(text: str) -> str:
    """Text from outside, such as a file's name or a song's title, without effect as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!:$~|])", r"\\\1", text)
