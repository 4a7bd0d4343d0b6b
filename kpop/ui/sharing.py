"""Links that bring a song's settings along, and an address at which phones find this machine.

A link as a picture that phones can read: a QR code (ISO/IEC 18004), drawn as SVG.

Passing a song on: the file with its settings inside, a link, and the same link for phones to scan.
"""

import base64
import html
import itertools
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from kpop.errors import KpopError
from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_title
from kpop.model_info import available_models, voice
from kpop.settings import Settings
from kpop.ui.assets import style
from kpop.ui.feedback import kept

PASSED_ON = "song"  # the parameter that says: somebody means this very song
OUTSIDE = ("192.0.2.1", 9)  # nobody's address (RFC 5737)


@dataclass(frozen=True)
class Address:
    """Where the page is found: its URL, whether phones get there, and a sentence about that for the listener."""

    url: str
    for_phones: bool
    sentence: str


def link(settings: Settings, base_url: str) -> str:
    """The page's address with every setting as its widgets read it: base_url without its query, then the settings.

    A clip of the listener's own cannot travel in a link: then the link brings all else, and doesn't claim the song.
    """
    titles = {clip.name: clip.title for clip in built_in_clips()}
    wishes = asdict(settings) | {"clip": titles.get(settings.clip), "model": _voice_title(settings.model)}
    query = {key: _said(value) for key, value in wishes.items() if value is not None}
    if settings.clip in titles:
        query[PASSED_ON] = "1"
    parts = urlsplit(base_url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(query), ""))


def arrived_by_link(query: Mapping[str, str]) -> bool:
    """Whether somebody passed on a song by this query. query: as st.query_params, values as text."""
    return query.get(PASSED_ON) == "1"


def wanted(query: Mapping[str, str], start: Settings) -> Settings:
    """The settings that a query brings, each that is missing or makes no sense as in start.

    Widgets read the address too, but take a value that is their own lowest for one that is missing.
    """
    clips = {clip.title: clip.name for clip in built_in_clips()}
    voices = {_voice_title(model): model for model in available_models()}
    readers = {"clip": clips.get, "model": voices.get, "seed_number": int}
    for key in asdict(start):
        with suppress(ValueError, KpopError):
            value = readers.get(key, float)(query[key]) if key in query else None
            start = start if value is None else replace(start, **{key: value})
    return start


def page_address(url: str, listens_on: str | None) -> Address:
    """The address to pass on. url: what the browser shows; listens_on: the server's own, None if it takes all calls."""
    parts = urlsplit(url)
    plain = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if not _is_loopback(parts.hostname):
        return Address(plain, True, "Scan it with a phone that can reach this page.")
    if listens_on and _is_loopback(listens_on):
        return Address(plain, False, "Phones can’t open this link: the page is served for this computer only.")
    host = local_address()
    if not host:
        return Address(plain, False, "Phones can’t open this link: this computer is in no network right now.")
    place = f"{host}:{parts.port}" if parts.port else host
    there = urlunsplit((parts.scheme, place, parts.path, "", ""))
    return Address(there, True, "Scan it with a phone in the same network as this computer.")


def local_address() -> str | None:
    """This machine's IPv4 address in its network; None without one.

    Connecting a datagram socket sends nothing: it only asks the system which way a packet would leave.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(OUTSIDE)
        except OSError:
            return None
        host = probe.getsockname()[0]
    return None if _is_loopback(host) or host == "0.0.0.0" else host


def _is_loopback(host: str | None) -> bool:
    return host in (None, "localhost", "::1") or host.startswith("127.")


def _voice_title(model: str) -> str:
    return voice(model).title if model in available_models() else model


def _said(value: float | int | str) -> str:
    """As the page itself writes it into its address: 30.0 is 30."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


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


NOT_IN_THE_LINK = (
    "Your own file doesn’t travel in a link: send it along, or whoever opens this starts from another clip."
)


@st.fragment
def share(settings: Settings, own_clip: bool, wav: bytes, file_name: str) -> None:
    """A row to keep the song and to pass it on. own_clip: whether it began with a file of the listener's."""
    st.html(style("sharing"))
    noting = {"on_click": kept, "args": (settings, own_clip, song_title(settings))}
    with st.container(horizontal=True, vertical_alignment="center", width="content", key="sharing"):
        st.download_button("Download WAV", wav, file_name, "audio/wav", icon=":material/download:", **noting)
        with st.popover("Share", icon=":material/share:", key="share"):
            _show_link(settings, own_clip)


def _show_link(settings: Settings, own_clip: bool) -> None:
    address = page_address(st.context.url or _own_url(), st.get_option("server.address"))
    song_link = link(settings, address.url)
    title = song_title(settings)
    st.html(f'<p class="share-title">A link to “{html.escape(title)}”, with all its settings</p>')
    st.code(song_link, language=None, wrap_lines=True)
    if own_clip:
        st.caption(NOT_IN_THE_LINK)
    if address.for_phones:
        st.html(f'<img class="qr" src="{qr_uri(song_link)}" alt="QR code of the link to {html.escape(title)}">')
    st.caption(address.sentence)


def _own_url() -> str:
    """Where the page is when no browser has said so."""
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"http://localhost:{st.get_option('server.port')}/{path}"
