"""The pictures in the README, taken from the page itself: PYTHONPATH=. python tests/pictures.py [NAME ...]

NAME is one of SCENES; without any, all are taken. Needs Chromium and playwright, as the browser tests do.
"""

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import LAPTOP, PHONE, Visit, launched, serve
from PIL import Image

PICTURES = Path(__file__).parents[1] / ".github" / "pictures"
LARGEST_BYTES = 250_000
QUERY = "?clip=Strawberry+Moon&seed_number=7"  # without any, the page offers what people like
SHARP_PHONE = PHONE | {"device_scale_factor": 2}
TALL = {"viewport": {"width": 1280, "height": 1180}}
SETTLED_MS = 700  # until the fonts are there and nothing fades any more


@contextmanager
def visit(browser, address: str, device: dict, scheme: str, query: str = QUERY) -> Iterator[Visit]:
    """A visitor with a screen, who likes it "dark" or "light"."""
    visit = Visit(browser, address, **device, color_scheme=scheme, reduced_motion="reduce")
    visit.tab.goto(address + query)
    yield visit
    visit.context.close()


def keep(visit: Visit, name: str) -> None:
    """What is on the screen as PICTURES/name.png, in as many colours as LARGEST_BYTES allow."""
    visit.tab.mouse.move(0, 0)  # what was clicked is not to look as if it were still pointed at
    visit.tab.wait_for_timeout(SETTLED_MS)
    picture = Image.open(io.BytesIO(visit.tab.screenshot())).convert("RGB")
    for n_colours in (256, 128, 64, 32):
        palette = picture.quantize(n_colours, Image.Quantize.MAXCOVERAGE, kmeans=2)
        packed = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(packed, "PNG", optimize=True)
        if packed.tell() <= LARGEST_BYTES:
            break
    else:
        raise SystemExit(f"{name} is larger than {LARGEST_BYTES} bytes: show less in it.")
    (PICTURES / f"{name}.png").write_bytes(packed.getvalue())
    print(f"{name}: {picture.width} x {picture.height}, {packed.tell() / 1000:.0f} kB")


def welcome(*page) -> None:
    """The page as it greets."""
    for name, device, scheme in (("laptop", LAPTOP, "dark"), ("phone", SHARP_PHONE, "light")):
        with visit(*page, device, scheme) as guest:
            keep(guest.rest(), f"page-{name}-{scheme}")


def song(*page) -> None:
    """A finished song on a laptop, in the dark and in the light, and on a phone."""
    for name, device, scheme in (
        ("laptop", LAPTOP, "dark"),
        ("laptop", LAPTOP, "light"),
        ("phone", SHARP_PHONE, "dark"),
    ):
        with visit(*page, device, scheme) as guest:
            guest.rest().generate()
            if device is SHARP_PHONE:
                guest.tab.evaluate("document.querySelector('#song').scrollIntoView()")
            keep(guest, f"song-{name}-{scheme}")


def compare(*page) -> None:
    """Two versions of a song, one beside the other."""
    with visit(*page, LAPTOP, "light") as guest:
        guest.rest().generate()
        guest.tab.get_by_role("button", name="Compare").click()
        guest.tab.get_by_role("button", name="Make the other one").click()
        guest.tab.locator(".st-key-track-1 .track-letter").wait_for()
        guest.tab.get_by_role("button", name="Beat grid").click()
        guest.rest().tab.locator(".stMain").evaluate("main => main.scrollTo(0, 0)")
        keep(guest, "compare-laptop-light")


def more(*page) -> None:
    """What unfolds: how it learnt, and how it works."""
    with visit(*page, TALL, "dark") as guest:
        guest.rest().generate()
        for name in ("Hear it learn", "How does it work?"):
            guest.tab.locator("summary").filter(has_text=name).click()
        guest.tab.get_by_role("button", name="Play it from the beginning").click()
        guest.tab.locator(".player-range:not([hidden])").press("End")
        guest.tab.locator(".st-key-how").scroll_into_view_if_needed()
        keep(guest, "more-laptop-dark")


def booth(*page) -> None:
    """A duel at the booth."""
    for name, device in (("laptop", LAPTOP), ("phone", SHARP_PHONE)):
        with visit(*page, device, "dark", "?booth=1") as guest:
            for button in ("touch", "clip-3", "vote-0"):
                guest.tab.locator(f".st-key-booth-{button} button:enabled").click(trial=button == "vote-0")
            guest.wait_for_audio("currentTime > 3")
            keep(guest, f"booth-{name}-dark")


SCENES = {scene.__name__: scene for scene in (welcome, song, compare, more, booth)}


def main(names: list[str]) -> None:
    if strangers := set(names) - set(SCENES):
        raise SystemExit(f"There is no scene called {', '.join(strangers)}: choose among {', '.join(SCENES)}.")
    with (
        tempfile.TemporaryDirectory() as votes,  # these visitors' votes are not to be kept
        launched() as browser,
        serve(TWICE4LIFE_FEEDBACK=f"{votes}/feedback.sqlite") as address,
    ):
        for name in names or SCENES:
            SCENES[name](browser, address)


if __name__ == "__main__":
    main(sys.argv[1:])
