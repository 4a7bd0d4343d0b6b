"""Covers are drawn for every clip, small, and may stand side by side."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from urllib.parse import unquote

import pytest

from kpop.generation.clips import ClipInfo, built_in_clips
from kpop.ui.covers import DRAWN, cover_svg, cover_uri

LARGEST_BYTES = 4000
STRANGER = ClipInfo("their-clip", "Their Clip", "")
CLIPS = (*built_in_clips(), STRANGER, ClipInfo('<b>"&x', '<b>"&x', ""))
by_name = pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)


def ids(svg: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', svg))


def test_every_built_in_clip_has_been_drawn():
    assert {clip.name for clip in built_in_clips()} == set(DRAWN)


@by_name
def test_a_cover_is_a_small_picture_without_words(clip):
    svg = cover_svg(clip)
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox") == "0 0 120 120"
    assert root.findtext("{*}title") == clip.title
    assert root.find(".//{*}text") is None
    assert len(svg.encode()) < LARGEST_BYTES


@by_name
def test_whatever_a_cover_refers_to_is_in_it(clip):
    svg = cover_svg(clip)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) == ids(svg)


def test_covers_on_one_page_do_not_take_each_others_colours():
    for one, other in combinations(map(cover_svg, CLIPS), 2):
        assert not ids(one) & ids(other)


def test_an_undrawn_clip_gets_a_cover_of_its_own_from_its_name():
    mine, other = STRANGER, ClipInfo("other-clip", "Their Clip", "")
    shapes = [re.sub(r"c[0-9a-f]{8}", "", cover_svg(clip)) for clip in (mine, other)]
    assert shapes[0] != shapes[1]


def test_a_cover_is_the_same_in_every_process():
    code = (
        "from kpop.generation.clips import ClipInfo; from kpop.show.covers import cover_svg\n"
        "print(cover_svg(ClipInfo('their-clip', 'Their Clip', '')))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == cover_svg(STRANGER)


@by_name
def test_a_cover_fits_between_quotes_in_a_style(clip):
    uri = cover_uri(clip)
    assert not set('"<>#\\\n') & set(uri)
    assert unquote(uri.removeprefix("data:image/svg+xml,")) == cover_svg(clip)
