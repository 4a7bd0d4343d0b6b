"""Album covers for the seed clips, drawn by code: shapes and gradients in the house colours, without words."""

import random
from html import escape
from urllib.parse import quote
from zlib import crc32

from kpop.generation.clips import ClipInfo
from kpop.show.brushes import AMBER, AQUA, CREAM, NIGHT, PEACH, PINK, PLUM, SIZE, VIOLET, glow, paper
from kpop.show.cover_art import DRAWN


def cover_svg(clip: ClipInfo) -> str:
    """The cover of a clip: an SVG of SIZE x SIZE units and less than 4 kB, the same for ever.

    Its ids begin with a mark of its own, so that several covers may stand on one page. A clip that nobody has drawn
    gets rings of light that follow from its name.
    """
    mark = f"c{crc32(clip.name.encode()):08x}"
    body = DRAWN.get(clip.name, _rings)(mark)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" role="img">'
    return f"{opening}<title>{escape(clip.title)}</title>{body}</svg>"


def cover_uri(clip: ClipInfo) -> str:
    """The cover as a data: address, for CSS url("...") and <img src="...">."""
    return "data:image/svg+xml," + quote(cover_svg(clip), safe=" /:=;,'()!*+~@$")


def _rings(mark: str) -> str:
    """Rings of light round a place by chance: for a clip that nobody has drawn."""
    chance = random.Random(mark)
    colours = chance.sample((PLUM, PINK, PEACH, CREAM, AQUA, AMBER), 4)
    x, y = chance.uniform(30, 90), chance.uniform(30, 90)
    rings = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{9 + 10 * i}" stroke="{colours[i % 4]}" pathLength="100" '
        f'stroke-dasharray="{chance.uniform(25, 80):.0f} 100" transform="rotate({chance.uniform(0, 360):.0f} '
        f'{x:.0f} {y:.0f})"/>'
        for i in range(9)
    )
    return (
        f"<defs>{glow(f'{mark}s', PLUM, VIOLET, NIGHT, at=(round(x / SIZE, 2), round(y / SIZE, 2)))}</defs>"
        f'{paper(f"url(#{mark}s)")}<g fill="none" stroke-width="5" stroke-linecap="round">{rings}</g>'
    )
