"""The picture in the README, taken from the page itself: PYTHONPATH=. python tests/picture.py

Needs Chromium and playwright, as the browser tests do.
"""

import io
import tempfile
from pathlib import Path

from pages import LAPTOP, Visit, launched, serve
from PIL import Image

PICTURE = Path(__file__).parents[1] / ".github" / "pictures" / "song-laptop-dark.png"
N_COLOURS = 128  # below 250 kB
QUERY = "?clip=Strawberry+Moon&seed_number=7"  # without any, the page offers what people like
SETTLED_MS = 700  # until the fonts are there and nothing fades any more

with (
    tempfile.TemporaryDirectory() as votes,  # this visitor's vote is not to be kept
    launched() as browser,
    serve(TWICE4LIFE_FEEDBACK=f"{votes}/feedback.sqlite") as address,
):
    visit = Visit(browser, address, **LAPTOP, color_scheme="dark", reduced_motion="reduce")
    visit.open(QUERY).rest().generate()
    visit.tab.mouse.move(0, 0)  # what was clicked is not to look as if it were still pointed at
    visit.tab.wait_for_timeout(SETTLED_MS)
    picture = Image.open(io.BytesIO(visit.tab.screenshot())).convert("RGB")
    palette = picture.quantize(N_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(PICTURE, "PNG", optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")
