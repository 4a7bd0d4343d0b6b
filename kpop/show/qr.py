"""A link as a picture that phones can read: a QR code (ISO/IEC 18004), drawn as SVG."""

import base64
import html
import itertools
from functools import lru_cache

QUIET_MODULES = 4  # of light around the code, as the standard asks for


def qr_svg(text: str) -> str:
    """The code as SVG, black on white whatever the page's colours are: many readers want it that way round."""
    import segno  # here, because the page must not wait for it

    matrix = segno.make(text, error="m", micro=False).matrix
    size = len(matrix) + 2 * QUIET_MODULES
    dark = "".join(_row(y, row) for y, row in enumerate(matrix, QUIET_MODULES))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<title>QR code of {html.escape(text)}</title><path fill="#fff" d="M0 0h{size}v{size}H0z"/>'
        f'<path fill="#000" d="{dark}"/></svg>'
    )


@lru_cache(maxsize=64)
def qr_uri(text: str) -> str:
    """The same as a data: address, for places where no inline SVG is let through."""
    return "data:image/svg+xml;base64," + base64.b64encode(qr_svg(text).encode()).decode()


def _row(y: int, row: bytearray) -> str:
    """The dark modules of a row, neighbours as one bar."""
    bars, x = [], QUIET_MODULES
    for dark, modules in itertools.groupby(row):
        n_modules = len(list(modules))
        if dark:
            bars.append(f"M{x} {y}h{n_modules}v1h-{n_modules}z")
        x += n_modules
    return "".join(bars)
