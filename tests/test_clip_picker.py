"""The seed clips as a radio of covers: what is chosen, what the address says, and what there is to see."""

import pytest
from chromium import PHONE, sticks_out

from kpop.generation import clips
from kpop.settings import Settings

st = pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402

MARK = "[data-testid=stRadioOption]"
LET_GO_MS = 600  # the row holds the chosen clip fast for a moment


def picker() -> None:
    import streamlit as st

    from kpop.ui.controls import choose_clip

    st.session_state.setdefault("clip", "first-snow")
    st.text(choose_clip())


def shown(**state: str) -> AppTest:
    page = AppTest.from_function(picker)
    for key, value in state.items():
        page.session_state[key] = value
    page.run()
    assert not page.exception
    return page


def test_every_clip_is_offered_by_its_title_and_the_usual_one_is_chosen():
    radio = shown().radio(key="clip")
    assert radio.label == "Seed clip"
    assert radio.options == [clip.title for clip in clips.built_in_clips()]
    assert radio.value == Settings().clip


def test_a_click_chooses_a_clip():
    page = shown()
    page.radio(key="clip").set_value("neon-rain").run()
    assert page.text[0].value == "neon-rain"


def test_a_callback_can_choose_by_name():
    assert shown(clip="slow-honey").text[0].value == "slow-honey"


def test_after_a_song_from_a_file_of_ones_own_a_built_in_clip_is_chosen():
    assert shown(clip="my-song.mp3").text[0].value == Settings().clip


def test_the_page_lives_without_clips(monkeypatch):
    monkeypatch.setattr(clips, "built_in_clips", tuple)
    page = shown()
    assert page.text[0].value == Settings().clip
    assert not page.radio
    assert not page.error


def test_no_tag_stands_in_the_style_as_streamlit_would_drop_it_all():
    style = shown().get("html")[0].proto.body
    assert style.count("<") == 2
    assert style.count("data:image/svg+xml") == 1 + len(clips.built_in_clips())  # the tick's, and the covers


def chosen(page) -> str:
    return page.tab.locator(f".st-key-clip {MARK}:has(:checked)").inner_text()


@pytest.mark.browser
def test_a_link_chooses_by_title_and_arrows_move_on_without_a_rerun(visit):
    page = visit("?clip=Slow+Honey")
    assert chosen(page) == "Slow Honey"
    page.tab.locator(".st-key-clip :checked").press("ArrowRight")
    page.wait_for_js("location.search.includes('clip=Black+Mirror+Ball')")
    assert chosen(page) == "Black Mirror Ball"
    story = page.tab.locator("[data-testid=stRadioCaption]:visible")
    assert story.all_inner_texts() == ["Black Mirror Ball – a dark verse in A flat minor"]


@pytest.mark.browser
def test_each_clip_shows_its_cover_in_two_rows_on_a_laptop_with_titles_that_can_be_read(visit):
    page = visit()
    page.tab.locator(f".st-key-clip {MARK}").nth(9).wait_for()
    cards = page.tab.evaluate(
        f"[...document.querySelectorAll('.st-key-clip {MARK}')].map(card => ["
        "getComputedStyle(card, '::before').backgroundImage, card.getBoundingClientRect().top, "
        "parseFloat(getComputedStyle(card.querySelector('p')).fontSize)])"
    )
    covers, tops, sizes = zip(*cards, strict=True)
    assert len(set(covers)) == 10
    assert all(cover.startswith('url("data:image/svg+xml,%3Csvg') for cover in covers)
    assert len(set(tops)) == 2
    assert min(sizes) >= 12


@pytest.mark.browser
def test_a_link_to_the_very_first_clip_works_as_well_though_another_is_offered(visit):
    page = visit("?clip=First+Snow")
    assert chosen(page) == "First Snow"
    assert "clip=First+Snow" in page.tab.url


@pytest.mark.browser
def test_on_a_phone_the_chosen_clip_comes_into_view_and_lets_go(visit):
    page = visit("?clip=Last+Train+Home", **PHONE)
    row = page.tab.locator(".st-key-clip [role=radiogroup]")
    page.tab.wait_for_timeout(LET_GO_MS)
    box = page.tab.locator(f".st-key-clip {MARK}:has(:checked)").bounding_box()
    assert 0 <= box["x"] <= PHONE["viewport"]["width"] - box["width"]
    row.evaluate("row => row.scrollTo(0, 0)")
    page.tab.wait_for_timeout(LET_GO_MS)
    assert row.evaluate("row => row.scrollLeft") == 0
    assert not sticks_out(page)
