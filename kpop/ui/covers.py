"""Album covers for the seed clips, drawn by code: shapes and gradients in the house colours, without words.

The ten covers that were drawn for the built-in clips, each a function of the mark that its ids begin with.
"""

import math
import random
from collections.abc import Callable
from html import escape
from urllib.parse import quote
from zlib import crc32

from kpop.generation.clips import ClipInfo
from kpop.ui.spectrogram import (
    AMBER,
    AQUA,
    BERRY,
    CREAM,
    LEAF,
    NIGHT,
    PEACH,
    PINK,
    PLUM,
    SIZE,
    VIOLET,
    blend,
    dots,
    glow,
    paper,
    polar,
)


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


FACET_TINTS = (NIGHT, VIOLET, PLUM, PINK, PEACH, CREAM)


def _first_snow(mark: str) -> str:
    """A hill at night, firs, a window with a light in it, and flakes large and small."""
    chance = random.Random(8)
    defs = blend(f"{mark}s", NIGHT, VIOLET, PLUM, PINK) + blend(f"{mark}h", "#fff8ee", "#e9c4e6", "#a86bbd")
    firs = "".join(
        f'<path d="M{x} {y}l{-0.24 * h:.0f} {h * 0.45:.0f}h{h * 0.1:.0f}l{-0.2 * h:.0f} {h * 0.5:.0f}h{h * 0.68:.0f}'
        f'l{-0.2 * h:.0f} {-0.5 * h:.0f}h{h * 0.1:.0f}z" fill="{NIGHT}"/>'
        for x, y, h in ((24, 42, 40), (40, 55, 28), (11, 58, 26))
    )
    house = (
        f'<path d="M82 82v-13l9-8 9 8v13z" fill="{VIOLET}"/><path d="M78.5 71l12.5-11 12.5 11" fill="none" '
        f'stroke="#fff8ee" '
        f'stroke-width="3.4" stroke-linecap="round" stroke-linejoin="round"/>'
        f'<path d="M88 69h6v7h-6z" fill="{AMBER}"/>'
    )
    flakes = "".join(
        dots(chance, n, 4, 108, sizes) for n, sizes in ((22, (1.4, 1.6)), (12, (2.6, 2.8)), (7, (4.4, 4.8)))
    )
    return (
        f"<defs>{defs}</defs>{paper(f'url(#{mark}s)')}"
        f'<path d="M0 74Q30 58 60 72T120 62V120H0z" fill="#b98ac9"/>{firs}{house}'
        f'<path d="M0 88Q34 70 72 80T120 66V120H0z" fill="url(#{mark}h)"/>{flakes}'
    )


def _neon_rain(mark: str) -> str:
    """Neon lines slanting down on a city, and once more in the water under it."""
    chance = random.Random(3)
    defs = blend(f"{mark}s", NIGHT, VIOLET, PLUM)
    colours = (PINK, PEACH, AQUA, PINK, CREAM)
    rain = "".join(
        f'<path d="M{x + 0.4 * length:.0f} {y:.0f}l{-0.4 * length:.0f} {length:.0f}" stroke="{colours[i % 5]}" '
        f'stroke-width="{chance.choice((1.6, 2.4, 3.4))}"/>'
        for i in range(20)
        for x, y, length in [
            (i * 6.4 + chance.uniform(-3, 3) - 8, i * 23 % 46 + chance.uniform(-6, 2), chance.uniform(14, 32))
        ]
    )
    heights = (30, 44, 24, 38, 52, 28, 46, 34)
    houses = "".join(f"M{i * 15} 80V{80 - h}h13v{h}z" for i, h in enumerate(heights))
    lights = "".join(f"M{i * 15 + 4} {86 - h}h2m3 6h2m-7 6h2" for i, h in enumerate(heights))
    ripples = "".join(
        f"M{x} {y}h{w}" for x, y, w in ((0, 86, 70), (62, 91, 58), (8, 97, 84), (40, 104, 80), (0, 112, 96))
    )
    return (
        f'<defs>{defs}<g id="{mark}c"><path d="{houses}" fill="{NIGHT}"/>'
        f'<path d="{lights}" stroke="{AMBER}" stroke-width="2.4"/><g stroke-linecap="round">{rain}</g></g></defs>'
        f'{paper(f"url(#{mark}s)")}<use href="#{mark}c"/><path d="M0 80h120v40H0z" fill="#240f3d"/>'
        f'<use href="#{mark}c" transform="matrix(1 0 0 -.55 0 124)" opacity=".6"/>'
        f'<path d="{ripples}" stroke="#240f3d" stroke-width="2.2"/>'
        f'<path d="M0 80h120" stroke="{PINK}" stroke-width="1.2"/>'
    )


def _strawberry_moon(mark: str) -> str:
    """A moon with the seeds of a strawberry, over waves that carry its light."""
    defs = blend(f"{mark}s", NIGHT, VIOLET, PLUM) + glow(f"{mark}m", CREAM, "#ff9fb5", PINK, "#b01f63", at=(0.35, 0.3))
    halo = glow(f"{mark}g", "#ff8fb5", "#ff8fb555", "#ff8fb500", reach=0.5)
    seeds = "".join(
        f"M{60 + 10 * column + 5 * (row % 2):.0f} {26 + 9 * row}q2 2.6 0 3.6q-2 -1 0 -3.6"
        for row, columns in enumerate(
            ((-1, 0), (-2, -1, 0, 1), (-2, -1, 0, 1, 2), (-3, -2, -1, 0, 1, 2), (-2, -1, 0, 1, 2))
        )
        for column in columns
    )
    tints = (PLUM, "#5f2072", VIOLET, "#26123f")
    waves = "".join(
        f'<path d="M{-12 * (i % 2)} {y}q12 -8 24 0t24 0t24 0t24 0t24 0t24 0V120H-12z" fill="{tint}"/>'
        for i, (y, tint) in enumerate(zip((80, 90, 100, 110), tints, strict=True))
    )
    light = "".join(f"M{60 - w} {y}h{2 * w}" for y, w in ((79, 13), (86, 17), (94, 11), (102, 14), (110, 7), (116, 9)))
    return (
        f"<defs>{defs}{halo}</defs>{paper(f'url(#{mark}s)')}{dots(random.Random(5), 20, 4, 60, (1.3, 1.5))}"
        f'<circle cx="60" cy="46" r="58" fill="url(#{mark}g)" opacity=".6"/>'
        f'<circle cx="60" cy="46" r="31" fill="url(#{mark}m)"/>'
        f'<path d="{seeds}" fill="{CREAM}" stroke="{CREAM}"/>{waves}'
        f'<path d="{light}" stroke="#ffb3c4" stroke-width="2.6" stroke-linecap="round" opacity=".9"/>'
    )


def _sugar_rush(mark: str) -> str:
    """A sweet in its wrapper that bursts into rays and sprinkles."""
    chance = random.Random(12)
    rays = "".join(
        "M60 60L{:.0f} {:.0f} {:.0f} {:.0f}z".format(*polar(90, turn), *polar(90, turn + 1 / 28))
        for turn in (i / 14 for i in range(14))
    )
    sprinkles = "".join(
        f'<path d="M{x:.0f} {y:.0f}l{chance.uniform(-4, 4):.1f} {chance.uniform(-4, 4):.1f}" '
        f'stroke="{(CREAM, AQUA, AMBER, VIOLET)[i % 4]}"/>'
        for i in range(24)
        for x, y in [polar(chance.uniform(40, 62), i / 24)]
    )
    swirl = "".join(
        "M60 60Q{:.0f} {:.0f} {:.0f} {:.0f}A25 25 0 0 1 {:.0f} {:.0f}Q{:.0f} {:.0f} 60 60z".format(
            *polar(15, turn + 0.06), *polar(25, turn), *polar(25, turn + 1 / 12), *polar(15, turn + 0.06 + 1 / 12)
        )
        for turn in (i / 6 for i in range(6))
    )
    wrapper = "M38 60L12 44q7 8 2 14q6 4 0 12q6 4 -1 12z"
    return (
        f"<defs>{glow(f'{mark}s', PEACH, PINK, PLUM)}{glow(f'{mark}r', CREAM, '#ffd3a1', PEACH)}</defs>"
        f'{paper(f"url(#{mark}s)")}<path d="{rays}" fill="url(#{mark}r)" opacity=".55"/>'
        f'<g stroke-width="4" stroke-linecap="round">{sprinkles}</g><g transform="rotate(-24 60 60)">'
        f'<g fill="{AQUA}" stroke="{VIOLET}" stroke-width="2.4" stroke-linejoin="round"><path d="{wrapper}"/>'
        f'<path d="{wrapper}" transform="matrix(-1 0 0 1 120 0)"/></g>'
        f'<circle cx="60" cy="60" r="26" fill="{CREAM}" stroke="{VIOLET}" stroke-width="3"/>'
        f'<path d="{swirl}" fill="{PINK}"/><path d="M44 50q4 -9 13 -11" fill="none" stroke="#fff" stroke-width="3.4" '
        f'stroke-linecap="round"/></g>'
    )


def _midnight_taxi(mark: str) -> str:
    """A cab from behind, lights on, on a road that runs between towers to where it vanishes."""
    defs = blend(f"{mark}s", NIGHT, VIOLET, PLUM, PEACH) + blend(f"{mark}r", "#4a2468", NIGHT)
    halo = glow(f"{mark}g", "#ff5a6e", "#ff5a6e66", "#ff5a6e00", reach=0.5)
    towers = (
        "M0 58V14h16V4h12v54zM28 58V28h9v30zM37 58V40h10v18zM120 58V8h-14v14H93v36zM93 58V34h-9v24zM84 58V43h-9v15z"
    )
    lit = (
        "M4 22h3m4 0h3m-10 9h3m7 0h3m3 -20h3m-8 29h3m6 -9h3m8 1h3m-3 9h3"
        "m64 -22h3m4 0h3m-10 9h3m-14 9h3m14 0h3m-20 9h3m-17 -4h3"
    )
    cab = (
        f'<path d="M34 110q-3 -18 4 -22l6 -16q2 -5 8 -5h16q6 0 8 5l6 16q7 4 4 22z" fill="{AMBER}"/>'
        f'<path d="M44 86l5 -13q1 -1 3 -1h16q2 0 3 1l5 13z" fill="#3f2f78"/>'
        f'<path d="M48 84l4 -9h9l-6 9z" fill="{AQUA}" opacity=".6"/>'
        f'<path d="M52 67v-7h16v7z" fill="{CREAM}"/><path d="M36 110h11v7H36zM73 110h11v7H73z" fill="{NIGHT}"/>'
        f'<path d="M53 97h14v6H53z" fill="{CREAM}"/><path d="M36 106h48" stroke="#8a4312" stroke-width="2"/>'
    )
    lamps = "".join(
        f'<circle cx="{x}" cy="96" r="17" fill="url(#{mark}g)"/>'
        f'<rect x="{x - 6}" y="92" width="12" height="7" rx="3" fill="#ff1f45"/>'
        for x in (42, 78)
    )
    return (
        f'<defs>{defs}{halo}</defs><path d="M0 0h120v58H0z" fill="url(#{mark}s)"/><path d="{towers}" fill="{NIGHT}"/>'
        f'<path d="{lit}" stroke="{AMBER}" stroke-width="3"/><path d="M0 58h120v62H0z" fill="{PLUM}"/>'
        f'<path d="M56 58h8L130 120H-10z" fill="url(#{mark}r)"/>'
        f'<path d="M56 58L-10 120M64 58l66 62" stroke="{PINK}" stroke-width="2.4"/>'
        f"{cab}{lamps}"
    )


def _slow_honey(mark: str) -> str:
    """Honey that runs down over a comb and takes its time."""
    defs = blend(f"{mark}s", "#5a1a3f", PLUM, "#d9662f") + blend(f"{mark}h", "#ffe08a", AMBER, "#e8791a")
    cells = "".join(
        f"M{x:.0f} {y - 14}l12 7v14l-12 7l-12 -7v-14z"
        for row in range(6)
        for y in [8 + 22 * row]
        for x in [column * 26 + 13 * (row % 2) - 4 for column in range(6)]
    )
    full = "".join(
        f"M{x} {y - 11}l9.5 5.500v11l-9.5 5.500l-9.5 -5.500v-11z"
        for x, y in ((35, 74), (87, 74), (100, 96), (22, 96), (61, 118))
    )
    honey = (
        "M0 0H120V34q-5 7 -10 2q-4 -4 -8 3v30q0 7 -6.5 7t-6.5 -7V46q-4 -9 -9 -1q-3 5 -8 2q-5 -3 -5 6v40q0 9 -8 "
        "9t-8 -9V50"
        "q-1 -8 -8 -4q-7 4 -9 -2q-3 -6 -6 2v20q0 6 -5.5 6t-5.5 -6V40Q6 30 0 36z"
    )
    shine = "M8 12q26 8 50 2M63 58v30M93 50v14M27 54v8"
    return (
        f'<defs>{defs}</defs>{paper(f"url(#{mark}s)")}<path d="{cells}" fill="#6b1f4a" fill-opacity=".75" '
        f'stroke="{PEACH}" '
        f'stroke-width="2.4" stroke-linejoin="round"/><path d="{full}" fill="{AMBER}" opacity=".85"/>'
        f'<path d="{honey}" fill="#5a1a3f" opacity=".4" transform="translate(3 4)"/>'
        f'<path d="{honey}" fill="url(#{mark}h)"/>'
        f'<path d="{shine}" fill="none" stroke="{CREAM}" stroke-width="3.4" stroke-linecap="round" opacity=".9"/>'
    )


def _black_mirror_ball(mark: str) -> str:
    """A ball of mirrors, each with a light of its own, and the rays it throws."""
    beams = "".join(
        "M60 54L{:.0f} {:.0f} {:.0f} {:.0f}z".format(*polar(110, turn), *polar(110, turn + 0.035))
        for turn in (0.02, 0.12, 0.2, 0.31, 0.42, 0.5, 0.58, 0.9)
    )
    facets = "".join(f'<path d="{path}" fill="{tint}"/>' for tint, path in _facets(60, 54, 34).items())
    spots = "".join(
        f"M{x} {y}h0" for x, y in ((14, 22), (104, 30), (20, 96), (98, 100), (8, 62), (112, 70), (44, 108), (76, 112))
    )
    star = "M47 24q1.5 13 12 14q-10.5 1 -12 14q-1.5 -13 -12 -14q10.5 -1 12 -14z"
    return (
        f"<defs>{glow(f'{mark}s', PLUM, VIOLET, NIGHT)}{glow(f'{mark}b', PEACH, '#e0428c00')}"
        f"</defs>{paper(f'url(#{mark}s)')}"
        f'<path d="{beams}" fill="url(#{mark}b)" opacity=".6"/><path d="M60 0v20" stroke="{PEACH}" stroke-width="2"/>'
        f'<circle cx="60" cy="54" r="35" fill="{NIGHT}"/>{facets}<path d="{star}" fill="#fff"/>'
        f'<path d="{spots}" stroke="{PEACH}" stroke-width="5" stroke-linecap="round" opacity=".75"/>'
    )


def _facets(x: float, y: float, radius: float) -> dict[str, str]:
    """The mirrors of a ball seen from the front, one path for each tint: brighter towards the upper left."""
    paths = dict.fromkeys(FACET_TINTS, "")
    chance = random.Random(7)
    for row in range(8):
        low, high = (math.pi * (edge / 8 - 0.5) for edge in (row + 0.08, row + 0.92))
        n = max(3, round(9 * math.cos((low + high) / 2)))
        for column in range(n):
            left, right = (math.pi * (edge / n - 0.5) for edge in (column + 0.06, column + 0.94))
            corners = [(left, low), (right, low), (right, high), (left, high)]
            spots = [(x + radius * math.cos(v) * math.sin(h), y + radius * math.sin(v)) for h, v in corners]
            light = (
                2.6 - 2.4 * math.sin((low + high) / 2) - 1.8 * math.sin((left + right) / 2) + chance.uniform(-1.6, 1.6)
            )
            tint = FACET_TINTS[min(max(round(light), 0), len(FACET_TINTS) - 1)]
            paths[tint] += "M" + "L".join(f"{a:.0f} {b:.0f}" for a, b in spots) + "z"
    return paths


def _last_train_home(mark: str) -> str:
    """A line of lit windows through dark hills, seen again in the lake."""
    defs = blend(f"{mark}s", NIGHT, "#2a1547", PLUM, PEACH) + blend(f"{mark}l", "#3a1a55", NIGHT)
    windows = "".join(f"M{x} 73h8v7h-8z" for x in (4, 15, 26, 42, 53, 64, 80))
    train = (
        f'<path d="M0 68h90q12 1 16 16H0z" fill="{NIGHT}"/><path d="{windows}" fill="{AMBER}"/>'
        f'<path d="M92 73q5 1 8 7h-8z" fill="{CREAM}"/><path d="M37.5 68v15M75.5 68v15" stroke="{PLUM}" '
        f'stroke-width="2"/>'
    )
    poles = "M20 68V44m-5 4h10M66 68V44m-5 4h10M110 84V44m-5 4h10"
    wires = "M-4 47Q8 55 20 48Q43 58 66 48Q88 58 110 48L124 51"
    gleams = "".join(
        f"M{x} {y}h{w}"
        for y in (97, 103, 109)
        for x, w in ((y % 5 + 5, 8), (28, 7), (43, 14), (66, 6), (81 - y % 4, 8))
    )
    return (
        f'<defs>{defs}</defs><path d="M0 0h120v90H0z" fill="url(#{mark}s)"/>'
        f"{dots(random.Random(2), 24, 3, 34, (1.4, 1.6))}"
        f'<path d="M0 62Q20 40 42 56T84 46T120 58V90H0z" fill="#4d1c63"/>'
        f'<path d="M0 70q34 -18 66 -4T120 62V90H0z" fill="#2c1446"/>'
        f'<path d="{poles}M0 0{wires}" fill="none" stroke="{NIGHT}" stroke-width="1.8"/>'
        f'<path d="M100 76L120 70V88z" fill="{CREAM}" opacity=".75"/>{train}<path d="M0 84h120v6H0z" fill="{NIGHT}"/>'
        f'<path d="M0 90h120v30H0z" fill="url(#{mark}l)"/><path d="{gleams}" stroke="{AMBER}" stroke-width="2.6" '
        f'stroke-linecap="round" opacity=".7"/>'
    )


def _paper_lanterns(mark: str) -> str:
    """Lanterns of paper that rise into the evening, the near ones large."""
    defs = blend(f"{mark}s", NIGHT, VIOLET, PLUM, "#c93a7f") + glow(
        f"{mark}p", "#fffbe8", "#ffd27a", PEACH, PINK, at=(0.5, 0.62)
    )
    halo = glow(f"{mark}g", PEACH, "#ffa07a77", "#ffa07a00", reach=0.5)
    ribs = "M-15 -8h30M-17.5 0h35M-16 8h32"
    lantern = (
        f'<g id="{mark}a"><circle r="34" fill="url(#{mark}g)"/>'
        f'<path d="M-8 -17h16q10 6 10 17t-10 17h-16q-10 -6 -10 -17t10 -17z" fill="url(#{mark}p)"/>'
        f'<path d="{ribs}" stroke="{PINK}" stroke-width="1.5" opacity=".75"/>'
        f'<path d="M-8 -20h16v4h-16zM-8 16h16v4h-16z" fill="{VIOLET}"/>'
        f'<path d="M0 20v9M-3 26v7M3 26v7" stroke="{AMBER}" stroke-width="1.8"/></g>'
    )
    places = (
        (20, 24, 0.42),
        (56, 18, 0.34),
        (102, 20, 0.55),
        (72, 44, 0.5),
        (28, 62, 0.85),
        (94, 76, 1.15),
        (52, 98, 0.5),
    )
    hung = "".join(f'<use href="#{mark}a" transform="translate({x} {y})scale({scale})"/>' for x, y, scale in places)
    hills = f'<path d="M0 108q30 -14 58 -2t62 -4V120H0z" fill="{NIGHT}"/>'
    stars = dots(random.Random(9), 16, 3, 60, (1.3, 1.5))
    return f"<defs>{defs}{halo}{lantern}</defs>{paper(f'url(#{mark}s)')}{stars}{hills}{hung}"


def _cherry_static(mark: str) -> str:
    """Two cherries on an old screen that loses its lines."""
    defs = blend(f"{mark}s", "#ff7fae", PINK, PLUM) + glow(
        f"{mark}c", "#ff8a9a", "#e0244f", BERRY, "#5e0a2a", at=(0.32, 0.28)
    )
    cherries = (
        f'<g id="{mark}a"><path d="M40 76Q48 40 74 20Q78 50 82 70" fill="none" stroke="#3f1030" stroke-width="5" '
        f'stroke-linecap="round"/>'
        f'<path d="M74 20q10 -14 32 -6q-8 18 -32 6z" fill="{LEAF}"/>'
        f'<circle cx="38" cy="82" r="22" fill="url(#{mark}c)"/>'
        f'<circle cx="82" cy="78" r="22" fill="url(#{mark}c)"/>'
        f'<path d="M26 78q2 -9 10 -11M70 74q2 -9 10 -11" fill="none" '
        f'stroke="#fff" stroke-width="4" stroke-linecap="round"/></g>'
    )
    torn = ((34, 5, 9), (66, 7, -10), (88, 6, 12))
    clips = "".join(
        f'<clipPath id="{mark}{i}"><path d="M0 {y}h120v{h}H0z"/></clipPath>' for i, (y, h, _) in enumerate(torn)
    )
    slips = "".join(
        f'<g clip-path="url(#{mark}{i})">{paper((AQUA, CREAM, AQUA)[i])}<use href="#{mark}a" x="{shift}"/></g>'
        for i, (_, _, shift) in enumerate(torn)
    )
    lines = "".join(f"M0 {y}h120" for y in range(2, 120, 5))
    static = "".join(
        f"M{x} {y}h{w}"
        for x, y, w in ((4, 12, 14), (24, 17, 6), (92, 104, 18), (80, 109, 8), (10, 109, 9), (100, 52, 12))
    )
    return (
        f'<defs>{defs}{cherries}{clips}</defs>{paper(f"url(#{mark}s)")}<use href="#{mark}a"/>{slips}'
        f'<path d="{lines}" stroke="{NIGHT}" stroke-width="1.6" opacity=".32"/>'
        f'<path d="{static}" stroke="{CREAM}" stroke-width="3"/>'
    )


DRAWN: dict[str, Callable[[str], str]] = {
    "first-snow": _first_snow,
    "neon-rain": _neon_rain,
    "strawberry-moon": _strawberry_moon,
    "sugar-rush": _sugar_rush,
    "midnight-taxi": _midnight_taxi,
    "slow-honey": _slow_honey,
    "black-mirror-ball": _black_mirror_ball,
    "last-train-home": _last_train_home,
    "paper-lanterns": _paper_lanterns,
    "cherry-static": _cherry_static,
}
