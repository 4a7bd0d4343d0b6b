"""The page in a process of its own and a real Chromium that visits it, for the browser tests."""

import os
import timeit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from kpop import bench
from kpop.errors import KpopError

LOOP_S = timeit.timeit("for i in range(10**6): pass", number=1)
BUSY_FACTOR = 3 * max(1, LOOP_S / 0.01)  # how many times as long as promised a busy or a slower machine may take
SONG_MS = 120_000
LAPTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
AUDIO = "document.querySelector('.player-audio:not([hidden])')"


@contextmanager
def launched() -> Iterator:
    """A headless Chromium. Without one the test is skipped, or fails where continuous integration runs it."""
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(bench.chromium())
        except KpopError as error:
            pytest.fail(f"{error}") if os.environ.get("CI") == "true" else pytest.skip(f"{error}")
        yield browser


@contextmanager
def serve(script: str = "app.py", **environment: str) -> Iterator[str]:
    """A page in a process of its own; yields its address."""
    command = ("streamlit", "run", script, "--server.port={port}", "--server.headless=true")
    with bench.serving(command, "/_stcore/health", **environment) as (port, *_):
        yield f"http://localhost:{port}"


class Visit:
    """One visitor's tab. complaints: errors logged in it; strangers: requests to other servers."""

    def __init__(self, browser, address: str, **device) -> None:
        self.address, self.complaints, self.strangers = address, [], []
        self.context = browser.new_context(**device)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(SONG_MS)
        self.tab.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        own = address, "data:", "blob:"
        self.tab.on("request", lambda request: request.url.startswith(own) or self.strangers.append(request.url))

    @property
    def generate_button(self):
        return self.tab.get_by_role("button", name="Generate")

    def open(self, query: str = "") -> "Visit":
        self.tab.goto(self.address + query)
        self.generate_button.wait_for()
        return self

    def generate(self) -> None:
        """Press Generate, and wait until the song has been made."""
        former = self.tab.evaluate(f"{AUDIO}?.src ?? ''")
        self.generate_button.click()
        self.wait_for_js(f"{AUDIO}?.src && {AUDIO}.src !== '{former}'")
        self.rest()

    def rest(self) -> "Visit":
        """Wait until neither songs nor the model are on their way."""
        quiet = "document.querySelector('[data-test-script-state=notRunning]')"
        self.wait_for_js(f"{quiet} && document.querySelector('.player-host .player-status')?.dataset.busy === 'false'")
        return self

    def slide(self, label: str, *keys: str) -> None:
        for key in keys:
            self.tab.get_by_role("slider", name=label).press(key)

    def roll_dice(self) -> None:
        dice = self.tab.get_by_role("button", name="Roll")
        if not dice.is_visible():
            self.tab.get_by_text("More choices").click()
        dice.click()
        self.wait_for_js("location.search.includes('seed_number=')")

    def audio(self, what: str):
        """A property of the audio element whose controls are shown."""
        return self.tab.evaluate(f"{AUDIO}.{what}")

    def wait_for_audio(self, condition: str) -> None:
        self.wait_for_js(f"{AUDIO}?.{condition}")

    def wait_for_js(self, condition: str) -> None:
        self.tab.wait_for_function(condition)


def sticks_out(page: Visit) -> bool:
    """Whether anything that can scroll sideways does."""
    boxes = "[document.documentElement, ...document.querySelectorAll('.stApp, .stMain')]"
    return page.tab.evaluate(f"{boxes}.some(box => box.scrollWidth > box.clientWidth)")
