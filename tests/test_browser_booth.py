"""The booth in a real Chromium: it plays by itself, obeys a keyboard, and starts over when everybody has left."""

import pytest
from chromium import AUDIO, LAPTOP, Visit

pytestmark = pytest.mark.browser
SECOND = "document.querySelector('.st-key-booth-track-1 .track-active')"


@pytest.fixture
def booth(chromium, address):
    """Opens the booth with short songs; no error may have been logged in the end."""
    visit = Visit(chromium, address, **LAPTOP)
    visit.tab.goto(f"{address}/?booth=1&length_s=10&idle=5")
    visit.wait_for_audio("currentTime > 1")
    yield visit.tab
    visit.context.close()
    assert visit.complaints == []


def show(page, button: str) -> None:
    page.locator(f".st-key-booth-{button} button:enabled").wait_for()


def test_songs_play_and_draw_one_after_the_other_by_themselves(booth):
    url, title = booth.evaluate(f"[{AUDIO}.src, document.querySelector('h1').textContent]")
    assert booth.locator(".track-growth:visible").count() == 1
    booth.wait_for_function(f"{AUDIO}.src !== '{url}' && {AUDIO}.currentTime > 1")
    assert booth.locator("h1").inner_text() != title


def test_a_keyboard_is_enough_for_a_duel_a_vote_and_the_radio(booth):
    press = booth.keyboard.press
    press("Space")
    show(booth, "surprise")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        press(key)
    show(booth, "vote-0")
    assert "wild" not in booth.locator(".stApp").inner_text().lower()
    press("2")
    booth.wait_for_function(f"{SECOND} && !{AUDIO}.paused && !{AUDIO}.muted")
    press("ArrowRight")
    booth.get_by_role("heading", name="was the wild one").wait_for()
    score = booth.locator(".booth-score")
    assert score.get_attribute("aria-label") in ("Today: tame 1, wild 0", "Today: tame 0, wild 1")
    assert all(half.bounding_box()["width"] > 150 for half in score.locator("b").all())  # the one with 0, too
    press("e")
    booth.get_by_text("Endless radio", exact=True).first.wait_for()
    booth.wait_for_function(f"{AUDIO}.duration === Infinity && {AUDIO}.currentTime > 1")
    press("Escape")
    booth.get_by_text("This song never existed").wait_for()


def test_a_duel_without_a_touch_plays_both_variations_and_then_starts_over(booth):
    booth.keyboard.press("Space")
    show(booth, "surprise")
    booth.keyboard.press("s")
    show(booth, "vote-0")
    booth.wait_for_function(SECOND)  # long after five seconds
    assert booth.evaluate(f"{AUDIO}.currentTime") > 7
    booth.get_by_text("This song never existed").wait_for()
