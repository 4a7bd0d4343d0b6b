"""The page in a process of its own and a real Chromium that visits it, for the browser tests."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox"]
BUSY_FACTOR = 3  # what a machine that is busy with other tests may take on top of a promise
START_S = 60
SONG_MS = 120_000
LAPTOP = {"viewport": {"width": 1280, "height": 900}}
AUDIO = "document.querySelector('.player-audio:not([hidden])')"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def skip_or_fail(reason: str) -> None:
    """A developer may do without a browser; continuous integration may not."""
    pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def launched() -> Iterator["Browser"]:
    """A headless Chromium; ends it afterwards."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        skip_or_fail("No Chromium: install one of " + ", ".join(BROWSERS))
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("No playwright: pip install playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail("streamlit did not start")


def serve(script: str = "app.py", **environment: str) -> Iterator[str]:
    """The page, or another script, in a process of its own; ends it afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", script, f"--server.port={port}", "--server.headless=true"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | environment)
    try:
        wait_until_healthy(f"http://localhost:{port}")
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(START_S)


class Visit:
    """One visitor's tab, which notes complaints and requests to strangers."""

    def __init__(self, browser, address: str, **device) -> None:
        self.address = address
        self.context = browser.new_context(**device)
        self.tab = self.context.new_page()
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.tab.on("console", self._note_console)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", self._note_request)

    def _note_console(self, message) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _note_request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(request.url)

    @property
    def generate_button(self):
        return self.tab.get_by_role("button", name="Generate")

    def open(self, query: str = "") -> "Visit":
        self.tab.goto(self.address + query)
        self.generate_button.wait_for()
        return self

    def generate(self) -> None:
        """Press Generate, and wait until the song has been made."""
        self.tab.evaluate("window.former = document.querySelector('.player-audio:not([hidden])')?.src")
        self.generate_button.click()
        self.wait_for_js(f"{AUDIO}?.src && {AUDIO}.src !== window.former")
        self.rest()

    def rest(self) -> "Visit":
        """Wait until neither songs nor the model are on their way."""
        quiet = "document.querySelector('[data-test-script-state=notRunning]')"
        self.wait_for_js(f"{quiet} && document.querySelector('.player-host .player-status')?.dataset.busy === 'false'")
        return self

    def slide(self, label: str, *keys: str) -> None:
        thumb = self.tab.get_by_role("slider", name=label)
        for key in keys:
            thumb.press(key)

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
        self.tab.wait_for_function(condition, timeout=SONG_MS)


def brightness(page: Visit) -> float:
    """Of the page's paper, 0 to 1."""
    colour = page.tab.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / (3 * 255)


def sticks_out(page: Visit) -> bool:
    """Whether anything that can scroll sideways does."""
    return page.tab.evaluate(
        "[document.documentElement, ...document.querySelectorAll('.stApp, .stMain')]"
        ".some(box => box.scrollWidth > box.clientWidth)"
    )
