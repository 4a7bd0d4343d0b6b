"""The pictures in the README and the social card, taken from the page itself: python tests/pictures.py [NAME ...]

NAME is one of SCENES; without any, all are taken. Needs Chromium and playwright, as the browser tests do.
"""

import base64
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from chromium import LAPTOP, PHONE, ROOT, Visit, launched, serve
from PIL import Image

sys.path.insert(0, str(ROOT))
from kpop.generation.clips import built_in_clips
from kpop.ui.covers import cover_uri

STATIC_DIR = ROOT / "kpop" / "ui" / "static"
PICTURES = ROOT / ".github" / "pictures"
LARGEST_BYTES = 250_000
LARGEST_CARD_BYTES = 150_000
TOUCH_ICON_EDGE = 180
CARD_SIZE = {"width": 1200, "height": 630}
WISHES = (
    "?clip=Strawberry+Moon&seed_number=7"  # the same picture every time: without any, the page offers what people like
)
SHARP_PHONE = PHONE | {"device_scale_factor": 2}
SETTLED_MS = 700  # until the fonts are there and nothing fades any more


class Studio:
    """A browser, and a server of the page as soon as one is asked for."""

    def __init__(self, browser, closing: ExitStack) -> None:
        self.browser, self._closing = browser, closing

    @cached_property
    def address(self) -> str:
        return self._closing.enter_context(contextmanager(serve)())

    @contextmanager
    def visit(self, device: dict, scheme: str, query: str = WISHES) -> Iterator[Visit]:
        """A visitor with a screen, who likes it "dark" or "light", on a page that has come to rest."""
        visit = Visit(self.browser, self.address, **device, color_scheme=scheme, reduced_motion="reduce")
        yield visit.open(query).rest()
        visit.context.close()


def save(shot: bytes, path: Path, largest_bytes: int = LARGEST_BYTES) -> None:
    """Writes a screenshot in as many colours as its limit of bytes allows."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    for n_colours in (256, 128, 64, 32):
        palette = picture.quantize(n_colours, Image.Quantize.MAXCOVERAGE, kmeans=2)
        packed = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(packed, "PNG", optimize=True)
        if packed.tell() <= largest_bytes:
            break
    else:
        raise SystemExit(f"{path.name} is larger than {largest_bytes} bytes: show less in it.")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed.getvalue())
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height}, {packed.tell() / 1000:.0f} kB")


def keep(visit: Visit, name: str) -> None:
    """Takes what is on the screen as PICTURES/name.png."""
    visit.tab.mouse.move(0, 0)  # what was clicked is not to look as if it were still pointed at
    visit.tab.wait_for_timeout(SETTLED_MS)
    save(visit.tab.screenshot(), PICTURES / f"{name}.png")


def card(studio: Studio) -> None:
    """The picture that a link to the page brings along in a chat."""
    import streamlit

    font = next((Path(streamlit.__file__).parent / "static" / "static" / "media").glob("SourceSansVF-Upright*.woff2"))
    covers = "".join(f'<img src="{cover_uri(clip)}">' for clip in built_in_clips())
    tab = studio.browser.new_page(viewport=CARD_SIZE)
    tab.set_content(
        CARD.replace("FONT", base64.b64encode(font.read_bytes()).decode())
        .replace("COVERS", covers)
        .replace("ICON", (STATIC_DIR / "icon.svg").read_text(encoding="utf-8"))
    )
    tab.wait_for_timeout(SETTLED_MS)
    save(tab.screenshot(), STATIC_DIR / "card.png", LARGEST_CARD_BYTES)
    tab.close()


def icon(studio: Studio) -> None:
    """The icon on a phone's home screen, which rounds the corners itself and cannot read SVG."""
    picture = (STATIC_DIR / "icon.svg").read_text(encoding="utf-8").replace('rx="8"', "")
    tab = studio.browser.new_page(viewport={"width": TOUCH_ICON_EDGE, "height": TOUCH_ICON_EDGE})
    tab.set_content(f"<!doctype html><style>body {{ margin: 0; }}</style>{picture}")
    save(tab.screenshot(), STATIC_DIR / "touch-icon.png")
    tab.close()


CARD = """<!doctype html><meta charset="utf-8"><style>
@font-face { font-family: Sans; src: url(data:font/woff2;base64,FONT); font-weight: 200 900; }
body { margin: 0; width: 1200px; height: 630px; overflow: hidden; font-family: Sans; color: #fff1d6;
  background: linear-gradient(160deg, #150d1f 25%, #3b1d5c 70%, #8a1f73); }
h1 { margin: 58px 0 0 70px; font-size: 128px; font-weight: 800; letter-spacing: -0.045em; line-height: 1; }
b { font-weight: 900; padding: 0 0.04em; color: transparent; -webkit-background-clip: text;
  background-image: linear-gradient(160deg, #ffa07a 10%, #e0428c 65%); }
p { margin: 16px 0 0 76px; font-size: 44px; }
div { display: grid; grid-template-columns: repeat(5, 190px); gap: 22px; margin: 50px 0 0 76px; }
img { width: 190px; border-radius: 22px; box-shadow: 0 10px 30px #0006; }
svg { position: absolute; top: 66px; right: 86px; width: 190px; }
</style>ICON<h1>twice<b>4</b>life</h1><p>K-pop that never existed, until now.</p><div>COVERS</div>"""


def welcome(studio: Studio) -> None:
    """The page as it greets."""
    with studio.visit(LAPTOP, "dark") as visit:
        keep(visit, "page-laptop-dark")
    with studio.visit(SHARP_PHONE, "light") as visit:
        keep(visit, "page-phone-light")


def song(studio: Studio) -> None:
    """A finished song on a laptop, in the dark and in the light."""
    for scheme in ("dark", "light"):
        with studio.visit(LAPTOP, scheme) as visit:
            visit.generate()
            visit.rest()
            keep(visit, f"song-laptop-{scheme}")


def phone_song(studio: Studio) -> None:
    """The same song in a hand."""
    with studio.visit(SHARP_PHONE, "dark") as visit:
        visit.generate()
        visit.rest()
        visit.tab.evaluate("document.querySelector('#song').scrollIntoView()")
        keep(visit, "song-phone-dark")


def compare(studio: Studio) -> None:
    """Two versions of a song, one beside the other."""
    with studio.visit(LAPTOP, "light") as visit:
        visit.generate()
        visit.rest()
        visit.tab.get_by_role("button", name="Compare").click()
        visit.tab.get_by_role("button", name="Make the other one").click()
        visit.tab.locator(".st-key-lane-1 audio").wait_for()
        visit.tab.get_by_role("button", name="Beat grid").click()
        visit.rest()
        visit.tab.locator(".stMain").evaluate("main => main.scrollTo(0, 0)")
        keep(visit, "compare-laptop-light")


def more(studio: Studio) -> None:
    """What unfolds: how it learnt, and how it works."""
    with studio.visit(LAPTOP | {"viewport": {"width": 1280, "height": 1180}}, "dark") as visit:
        visit.generate()
        visit.rest()
        for name in ("Hear it learn", "How does it work?"):
            visit.tab.locator("summary").filter(has_text=name).click()
        visit.tab.get_by_role("button", name="Play it from the beginning").click()
        visit.tab.locator(".learn-play").wait_for()
        visit.tab.locator(".st-key-learning input[type=range]").press("End")
        visit.tab.wait_for_timeout(3000)
        visit.tab.locator(".st-key-learning").scroll_into_view_if_needed()
        visit.tab.locator("#how, .st-key-how").first.scroll_into_view_if_needed()
        keep(visit, "more-laptop-dark")


def booth(studio: Studio) -> None:
    """A duel at the booth."""
    for name, device in (("laptop", LAPTOP), ("phone", SHARP_PHONE)):
        visit = Visit(studio.browser, studio.address, **device, color_scheme="dark", reduced_motion="reduce")
        visit.tab.goto(f"{studio.address}/?booth=1")
        visit.tab.locator(".st-key-booth-touch button").click()
        visit.tab.locator(".st-key-booth-clip-2 button").click()
        visit.tab.locator(".st-key-booth-vote-0 button:enabled").wait_for()
        visit.wait_for_js("window.twice4lifeStage.positionS > 3")
        keep(visit, f"booth-{name}-dark")
        visit.context.close()


SCENES: dict[str, Callable[[Studio], None]] = {
    "card": card,
    "icon": icon,
    "welcome": welcome,
    "song": song,
    "phone-song": phone_song,
    "compare": compare,
    "more": more,
    "booth": booth,
}


def main(names: list[str]) -> None:
    if strangers := set(names) - set(SCENES):
        raise SystemExit(f"There is no scene called {', '.join(strangers)}: choose among {', '.join(SCENES)}.")
    with ExitStack() as closing:
        notes = closing.enter_context(tempfile.TemporaryDirectory())
        os.environ["TWICE4LIFE_FEEDBACK"] = f"{notes}/feedback.sqlite"  # these visitors' likes are not to be kept
        studio = Studio(closing.enter_context(contextmanager(launched)()), closing)
        for name in names or SCENES:
            SCENES[name](studio)


if __name__ == "__main__":
    main(sys.argv[1:])
