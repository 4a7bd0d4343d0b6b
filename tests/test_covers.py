"""Every seed clip has a small cover that fits into a style sheet, and the style sheet fits the page."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import pytest

from kpop.generation.clips import ClipInfo, built_in_clips
from kpop.ui.assets import STATIC_DIR, cover_uri, style

ROOT = Path(__file__).parents[1]
STRANGER = ClipInfo('<b>"&x', "Their Clip", "")


@pytest.mark.parametrize("clip", [*built_in_clips(), STRANGER], ids=lambda clip: clip.name)
def test_a_cover_is_a_small_picture_without_words_that_fits_between_quotes(clip):
    uri = cover_uri(clip)
    assert not set('"<>#\\\n') & set(uri)
    svg = unquote(uri.removeprefix("data:image/svg+xml,"))
    assert len(svg) < 4000
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox") == "0 0 120 120"
    assert root.find(".//{*}text") is None
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) == set(ids)


def test_every_cover_is_another_one():
    assert len({cover_uri(clip) for clip in built_in_clips()}) == len(built_in_clips()) == 10
    assert cover_uri(STRANGER) != cover_uri(ClipInfo("another", "Their Clip", ""))


def test_the_style_sheet_has_no_tag_since_streamlit_would_drop_it_all_and_its_keys_are_on_the_page():
    assert style("page").count("<") == 2
    source = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "app.py", *(ROOT / "kpop/ui").glob("*.py")])
    keys = set(re.findall(r"\.st-key-([\w-]+)", (STATIC_DIR / "page.css").read_text(encoding="utf-8")))
    assert {key for key in keys if f'"{key}"' not in source and key not in ("layout-others", "song-0")} == set()
