"""Where the page's looks lie: styles, icon, pictures."""

from functools import lru_cache
from pathlib import Path

LOOKS = Path(__file__).parent / "static"


@lru_cache(maxsize=32)
def style(name: str) -> str:
    """A style sheet for st.html, e.g. "page" for page.css: read once, and not on every run of every visitor."""
    return f"<style>{(LOOKS / f'{name}.css').read_text(encoding='utf-8')}</style>"
