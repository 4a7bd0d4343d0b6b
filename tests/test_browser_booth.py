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


def press(page, key: str, shows: str) -> None:
    """Press a key, and wait for a button."""
    page.keyboard.press(key)
    page.locator(f".st-key-booth-{shows} button:enabled").wait_for()


def test_songs_play_and_draw_one_after_the_other_by_themselves(booth):
    url, title = booth.evaluate(f"[{AUDIO}.src, document.querySelector('h1').textContent]")
    assert booth.locator(".track-growth:visible").count() == 1
    booth.wait_for_function(f"{AUDIO}.src !== '{url}' && {AUDIO}.currentTime > 1")
    assert booth.locator("h1").inner_text() != title


def test_a_keyboard_is_enough_for_a_duel_a_vote_and_the_radio(booth):
    press(booth, "Space", "surprise")
    booth.keyboard.press("ArrowRight")
    booth.keyboard.press("ArrowRight")
    press(booth, "Enter", "vote-0")
    assert "wild" not in booth.locator(".stApp").inner_text().lower()
    booth.keyboard.press("2")
    booth.wait_for_function(f"{SECOND} && !{AUDIO}.paused && !{AUDIO}.muted")
    press(booth, "ArrowRight", "again")
    assert "was the wild one" in booth.locator("h1").inner_text()
    score = booth.locator(".booth-score")
    assert score.get_attribute("aria-label") in ("Today: tame 1, wild 0", "Today: tame 0, wild 1")
    assert all(half.bounding_box()["width"] > 150 for half in score.locator("b").all())  # the one with 0, too
    press(booth, "e", "touch")
    booth.wait_for_function(f"{AUDIO}.duration === Infinity && {AUDIO}.currentTime > 1")
    booth.keyboard.press("Escape")
    booth.get_by_text("This song never existed").wait_for()


def test_a_duel_without_a_touch_plays_both_variations_and_then_starts_over(booth):
    press(booth, "Space", "surprise")
    press(booth, "s", "vote-0")
    booth.wait_for_function(SECOND)  # long after five seconds
    assert booth.evaluate(f"{AUDIO}.currentTime") > 7
    booth.get_by_text("This song never existed").wait_for()
