"""Covers of the seed clips: one SVG of 120 x 120 units and less than 4 kB in static/covers/ for each built-in clip."""

from functools import lru_cache
from urllib.parse import quote
from zlib import crc32

from kpop.generation.clips import ClipInfo
from kpop.ui.assets import STATIC_DIR

GRADIENT = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120"><linearGradient id="g" x2="0" y2="1">'
    '<stop stop-color="hsl({hue},60%,22%)"/><stop offset="1" stop-color="hsl({hue},75%,62%)"/></linearGradient>'
    '<rect width="120" height="120" fill="url(#g)"/></svg>'
)


@lru_cache(maxsize=64)
def cover_uri(clip: ClipInfo) -> str:
    """The cover as a data: URI for CSS url("...") and <img src="...">.

    A clip without a file gets a gradient whose hue is a hash of its name.
    """
    path = STATIC_DIR / "covers" / f"{clip.name}.svg"
    if path.is_file():
        svg = path.read_text(encoding="utf-8").strip()
    else:
        svg = GRADIENT.format(hue=crc32(clip.name.encode()) % 360)
    return "data:image/svg+xml," + quote(svg, safe=" /:=;,'()!*+~@$")
