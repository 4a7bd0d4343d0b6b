"""Links that bring a song's settings along, and an address at which phones find this machine."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from urllib.parse import urlencode, urlsplit, urlunsplit

from kpop.errors import KpopError
from kpop.generation.checkpoints import available_models, voice
from kpop.generation.clips import built_in_clips
from kpop.generation.settings import Settings

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
