"""The booth in a real Chromium: it plays by itself, obeys a touch and a keyboard, and forgets who has left."""

from collections.abc import Callable, Iterator

import pytest
from chromium import FAKE_ENGINE, PHONE, Visit, serve

BOOTH = {"viewport": {"width": 1280, "height": 800}}
SCENE = "document.documentElement.dataset.booth"
TITLE = "document.querySelector('h1').textContent"
FITS = """() => [...document.querySelectorAll('.stApp, .stMain, .stMainBlockContainer')]
  .every(box => box.scrollHeight <= box.clientHeight && box.scrollWidth <= box.clientWidth)"""
SMALL = """() => [...document.querySelectorAll('button')]
  .filter(button => button.checkVisibility({visibilityProperty: true}))
  .map(button => [button.innerText, button.getBoundingClientRect()])
  .filter(([, box]) => box.width < 64 || box.height < 64 || box.bottom > innerHeight + 1 || box.right > innerWidth + 1)
  .map(([words]) => words)"""
MUTE = """Object.defineProperty(BaseAudioContext.prototype, 'state', {get: () => 'suspended'})"""

pytestmark = pytest.mark.browser


class Booth(Visit):
    """A screen that nobody has touched yet."""

    def open(self, query: str = "") -> "Booth":
        self.tab.goto(f"{self.address}/?booth=1{query}")
        self.wait_for_scene("attract")
        return self

    def wait_for_scene(self, scene: str) -> None:
        self.wait_for_js(f"{SCENE} === '{scene}'")

    def wait_for_both_takes(self) -> None:
        self.wait_for_js("document.querySelector('.st-key-booth-vote-0 button')?.disabled === false")


@pytest.fixture(scope="module")
def sines() -> Iterator[str]:
    """A server whose songs are a sine of 440 Hz."""
    yield from serve(("-c", FAKE_ENGINE))


@pytest.fixture
def booth(chromium, sines) -> Iterator[Callable[..., Booth]]:
    """Opens screens; at the end none may have complained or called a stranger."""
    booths = []

    def start(query: str = "", script: str = "", **device) -> Booth:
        booths.append(Booth(chromium, sines, **(device or BOOTH)))
        booths[-1].tab.add_init_script(script)
        return booths[-1].open(query)

    yield start
    for each in booths:
        each.context.close()
        assert each.complaints == []
        assert each.strangers == []


def test_it_plays_and_draws_by_itself_and_goes_on_to_the_next_song(booth):
    screen = booth("&length_s=4")
    screen.wait_for_live("heardS > 1")
    assert screen.live("nColumns()") > 30
    url, title = screen.tab.evaluate(f"[window.twice4lifeLive.url, {TITLE}]")
    screen.wait_for_live(f"url !== {url!r} && window.twice4lifeLive.heardS > 0.5")
    screen.wait_for_js(f"{TITLE} !== {title!r}")
    assert screen.tab.locator("audio").count() == 0


def test_without_sound_it_draws_and_goes_on_by_its_own_clock(booth):
    screen = booth("&length_s=4", MUTE)
    screen.tab.get_by_role("button", name="Tap for sound").wait_for()
    screen.wait_for_live("nColumns() > 30")
    first = screen.live("url")
    screen.wait_for_live(f"url && window.twice4lifeLive.url !== '{first}'")


def test_a_keyboard_is_enough_for_a_duel_a_vote_and_the_radio(booth):
    screen = booth()
    press = screen.tab.keyboard.press
    press("Space")
    screen.wait_for_scene("choose")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        press(key)
    screen.wait_for_scene("duel")
    screen.wait_for_both_takes()
    screen.wait_for_js("[...document.querySelectorAll('audio')].some(audio => !audio.paused)")
    press("2")
    screen.wait_for_js("(audio => !audio.paused && !audio.muted)(document.querySelector('.st-key-song-1 audio'))")
    press("ArrowRight")
    screen.wait_for_scene("verdict")
    screen.tab.get_by_role("heading", name="was the wild one").wait_for()
    assert screen.tab.locator(".booth-score").get_attribute("aria-label") in (
        "Today: tame 1, wild 0",
        "Today: tame 0, wild 1",
    )
    press("r")
    screen.wait_for_scene("radio")
    screen.wait_for_live("heardS > 0.5")
    press("Escape")
    screen.wait_for_scene("attract")


def test_a_duel_that_nobody_touches_is_heard_in_both_takes_and_then_forgotten(booth):
    screen = booth("&length_s=10&idle=5")
    screen.tab.keyboard.press("Space")
    screen.wait_for_scene("choose")
    screen.tab.keyboard.press("Space")
    screen.wait_for_both_takes()
    screen.wait_for_js("window.twice4lifeStage.active === 1")  # long after five seconds
    assert screen.tab.evaluate("window.twice4lifeStage.positionS") > 7
    assert screen.tab.evaluate(SCENE) == "duel"
    screen.wait_for_scene("attract")


@pytest.mark.parametrize("device", [BOOTH, PHONE], ids=["laptop", "phone"])
def test_every_scene_fits_the_screen_and_has_large_buttons(booth, device):
    screen = booth(**device)

    def look(scene: str) -> None:
        screen.wait_for_scene(scene)
        screen.rest()
        assert screen.tab.evaluate(FITS), scene
        assert screen.tab.evaluate(SMALL) == [], scene

    look("attract")
    for name, scene in (("touch", "choose"), ("clip-0", "duel"), ("vote-0", "verdict"), ("radio", "radio")):
        screen.tab.locator(f".st-key-booth-{name} button").click()
        look(scene)
