"""The page for tests: without a browser, and in a process of its own that a real Chromium visits."""

import json
import os
import timeit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from kpop import bench
from kpop.errors import KpopError
from kpop.settings import Settings

APP = Path(__file__).parents[1] / "app.py"
TIMEOUT_S = 120


def visit(query: dict[str, str] | None = None) -> AppTest:
    """A page whose songs last four seconds unless the query says otherwise."""
    page = AppTest.from_file(APP, default_timeout=TIMEOUT_S)
    page.query_params.update({"length_s": "4"} | (query or {}))
    return page.run()


def controls(query: dict[str, str] | None = None, **state) -> AppTest:
    """A page of controls alone, on its first run. state: session state before that."""

    def script() -> None:
        import streamlit as st

        from kpop.ui.controls import choose, chosen

        choose(st.container(), st.container())
        st.session_state.chosen = chosen()

    page = AppTest.from_function(script, default_timeout=TIMEOUT_S)
    page.query_params.update(query or {})
    for key, value in state.items():
        page.session_state[key] = value
    return page.run()


def chosen(page: AppTest) -> Settings:
    """What `controls` are set to."""
    assert not page.exception
    return page.session_state.chosen[0]


def button(page: AppTest, label: str):
    """The first button with these words in its label."""
    return next(button for button in page.button if label in button.label)


def press(page: AppTest, label: str) -> AppTest:
    """Press a button, and wait for the songs that it has requested."""
    return settle(button(page, label).click().run())


def settle(page: AppTest) -> AppTest:
    """Wait for songs and model, and run the page again, as its player does in a browser."""
    session = page.session_state.session
    for task in filter(None, (session.loader, session.rendering)):
        assert task.wait(TIMEOUT_S)
    return page.run()


def words(page: AppTest) -> str:
    """The HTML on the page."""
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def slider(page: AppTest, label: str):
    return next(slider for slider in page.slider if slider.label == label)


def player(page: AppTest) -> dict:
    """What the player in the browser received last."""
    assert not page.exception
    (part,) = (part for part in page.get("bidi_component") if part.proto.component_name.endswith("player"))
    (data,) = json.loads(part.proto.json)
    return data


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
            if os.environ.get("CI") == "true":
                pytest.fail(f"{error}")
            pytest.skip(f"{error}")
        yield browser


@contextmanager
def serve(script: str = "app.py", port: int = 0, **environment: str) -> Iterator[str]:
    """A page in a process of its own; yields its address."""
    command = ("streamlit", "run", script, "--server.port={port}", "--server.headless=true")
    with bench.serving(command, "/_stcore/health", port, **environment) as (port, *_):
        yield f"http://localhost:{port}"


class Visit:
    """One visitor's tab. complaints: errors logged in it; strangers: requests to other servers."""

    def __init__(self, browser, address: str, **device) -> None:
        self.address, self.complaints, self.strangers = address, [], []
        self.context = browser.new_context(**device)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(SONG_MS)
        self.tab.on("console", self._hear)
        self.tab.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        own = address, "data:", "blob:"
        self.tab.on("request", lambda request: request.url.startswith(own) or self.strangers.append(request.url))

    def _hear(self, message) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location['url']}")

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
