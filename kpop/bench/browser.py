"""The page in a real Chromium, where there is one: what a listener's own machine adds."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import playwright.sync_api as playwright_api

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
PATIENCE_MS, SOUND_PATIENCE_MS = 60_000, 30_000
SETTLE_MS = 300  # until the page has drawn the new number
QUERY = "?length_s=12"
# The live player counts for whoever wants to know: moments of the click and of the first sample that is heard.
HEARD_AFTER = (
    "before => { const live = window.twice4lifeLive; return live && live.clickMs > before && live.firstSoundMs }"
)
FIRST_SOUND_MS = "() => window.twice4lifeLive.firstSoundMs - window.twice4lifeLive.clickMs"


@contextmanager
def browser() -> Iterator["Browser | None"]:
    """A Chromium without a window; None where Chromium or playwright is missing."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    try:
        from playwright.sync_api import TimeoutError, sync_playwright  # here, because the bench works without it
    except ImportError:
        program = None
    if not program:
        yield None
        return
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield Browser(chromium, TimeoutError)
        finally:
            chromium.close()


class Browser:
    """One tab at a time."""

    def __init__(self, chromium: "playwright_api.Browser", too_late: type[Exception]) -> None:
        """too_late: what playwright raises when it has waited long enough."""
        self._chromium, self._too_late = chromium, too_late
        self._tab: playwright_api.Page | None = None

    def open(self, address: str) -> float:
        """Seconds from asking for the page to a Generate button that can be pressed."""
        self._tab = self._chromium.new_page()
        started_s = time.perf_counter()
        self._tab.goto(address + QUERY)
        self._button("Generate").click(trial=True, timeout=PATIENCE_MS)
        return time.perf_counter() - started_s

    def first_sound_s(self) -> float | None:
        """Press Generate and wait for the song: seconds from click to sound, as the player tells; None if none came."""
        before_ms = self._tab.evaluate("performance.now()")
        self._button("Generate").click()
        try:
            self._tab.wait_for_function(HEARD_AFTER, arg=before_ms, timeout=SOUND_PATIENCE_MS)
        except self._too_late:
            return None
        return self._tab.evaluate(FIRST_SOUND_MS) / 1000

    def wait_for_song(self) -> None:
        """Until the finished song is there, and then take another number, so that the next one differs."""
        self._button("Download WAV").wait_for(timeout=PATIENCE_MS)
        if not self._button("Roll").is_visible():
            self._tab.get_by_text("More choices").click()
        self._button("Roll").click()
        self._tab.wait_for_timeout(SETTLE_MS)

    def close_tab(self) -> None:
        """So that the next one starts with nothing."""
        self._tab.close()

    def _button(self, name: str) -> "playwright_api.Locator":
        return self._tab.get_by_role("button", name=name)
