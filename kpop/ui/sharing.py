"""Download and share: a link that holds all settings, and its QR code (ISO/IEC 18004) for phones."""

import html
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from urllib.parse import urlencode, urlsplit

import streamlit as st

from kpop.errors import KpopError
from kpop.generation.clips import built_in_clips, is_built_in
from kpop.generation.titles import song_title
from kpop.model_info import available_models, model_info
from kpop.settings import Settings
from kpop.ui.assets import base_path, clock
from kpop.ui.feedback import keeper
from kpop.ui.session_state import Request, SessionState
from kpop.ui.song import PageSong

SONG_PARAMETER = "song"  # song=1: the link was shared for this song
KEPT_PARAMETER, SEPARATOR = "kept", "~"  # the settings of the song on the page, whatever the controls are set to since
SENT = "Somebody sent you “{}”. Here it is, note for note: press play."
KEPT = "“{}” is here again, note for note: press play."
PROBE_ADDRESS = ("192.0.2.1", 9)  # documentation addresses, RFC 5737: nobody has this one
NOT_IN_THE_LINK = "Your own file doesn’t travel in a link: send it along, or the song starts from another clip."


def link(settings: Settings, base_url: str) -> str:
    """base_url with every setting as a query parameter, in the form in which the controls read it.

    A clip of the listener's own cannot be linked: then "clip" and "song" are left out.
    """
    clips, models = _titles()
    query = asdict(settings) | {"model": models.get(settings.model, settings.model), SONG_PARAMETER: 1}
    for key, value in query.items():
        if isinstance(value, float) and value.is_integer():
            query[key] = int(value)  # as Streamlit writes it
    query["length_s"] = clock(settings.length_s)
    if settings.clip in clips:
        query["clip"] = clips[settings.clip]
    else:
        del query["clip"], query[SONG_PARAMETER]
    parts = urlsplit(base_url)
    return parts._replace(path=parts.path or "/", query=urlencode(query), fragment="").geturl()


def restore_song(session: SessionState) -> None:
    """On the first run: requests the song that was on the page before a reload, or that a link was shared for."""
    if not session.is_new:
        return
    session.is_new, query, song, words = False, st.query_params, None, KEPT
    if KEPT_PARAMETER in query:
        song = _settings_from_text(query[KEPT_PARAMETER])
    elif query.get(SONG_PARAMETER) == "1":
        song, words = settings_from_query(query, Settings()), SENT
    if song:
        session.request(song, silent=True)
        session.notice = words.format(song_title(song))


def keep_song(request: Request) -> None:
    """Writes the song's settings into the page's address, so that a reload can bring it back."""
    if len(request.songs) == 1 and not (request.own_clip or request.endless or request.beside):
        st.query_params[KEPT_PARAMETER] = SEPARATOR.join(map(str, asdict(request.songs[0]).values()))
    else:
        st.query_params.pop(KEPT_PARAMETER, None)


def _settings_from_text(text: str) -> Settings | None:
    """The settings that keep_song() wrote, None if they are none or their clip or model is not here."""
    with suppress(ValueError, TypeError, KpopError):
        *numbers, seed_number, clip, model = text.split(SEPARATOR)
        if is_built_in(clip) and model in available_models():
            return Settings(*map(float, numbers), int(seed_number), clip, model)
    return None


def settings_from_query(query: Mapping[str, str], start: Settings) -> Settings:
    """`start` with the valid settings of the query.

    Widgets bound to the query read it too, but replace a missing parameter by their minimum.
    """
    clips, models = ({title: name for name, title in titles.items()} for titles in _titles())
    readers = {"clip": clips.get, "model": models.get, "seed_number": int, "length_s": seconds}
    for key in asdict(start):
        with suppress(ValueError, KpopError):
            value = readers.get(key, float)(query[key]) if key in query else None
            start = start if value is None else replace(start, **{key: value})
    return start


def seconds(text: str) -> float:
    """The inverse of clock(), also of bare seconds. Raises ValueError."""
    minutes, _, rest = text.rpartition(":")
    return 60 * int(minutes or 0) + float(rest)


def page_address(url: str, server_address: str | None) -> tuple[str, bool, str]:
    """The page's URL without query, whether phones can open it, and a sentence about that.

    url: as in the browser; server_address: interface that the server listens on, None for all
    """
    parts = urlsplit(url)._replace(query="", fragment="")
    if not is_loopback(parts.hostname):
        return parts.geturl(), True, "Scan it with a phone that can reach this page."
    if server_address and is_loopback(server_address):
        reason = "the page is served for this computer only."
    elif not (host := local_address()):
        reason = "this computer is in no network right now."
    else:
        there = parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host)
        return there.geturl(), True, "Scan it with a phone on the same Wi-Fi as this computer."
    return parts.geturl(), False, f"Phones can’t open this link: {reason}"


def local_address() -> str | None:
    """This machine's IPv4 address in its network; None without one. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(PROBE_ADDRESS)
        return probe.getsockname()[0]
    return None


def is_loopback(host: str | None) -> bool:
    """Whether this name or address is the machine's own."""
    return host in (None, "localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def _titles() -> tuple[dict[str, str], dict[str, str]]:
    """Of the built-in clips and of the models, by their names: widgets write titles into the query."""
    models = {name: model_info(name).title for name in available_models()}
    return {clip.name: clip.title for clip in built_in_clips()}, models


def download(song: PageSong, label: str = "Download WAV") -> None:
    """A button that downloads a finished song."""
    keep = keeper(song.settings)

    def wav() -> bytes:
        keep()  # here, since the rerun after a callback would replace the file that the browser is about to request
        return song.file.read()

    options = {"icon": ":material/download:", "on_click": "ignore", "disabled": not song.figure}
    st.download_button(label, wav, song.file.file_name, "audio/wav", key=f"download-{song.file.id}", **options)


@st.fragment
def share(settings: Settings) -> None:
    """The link to the song, and its QR code."""
    with st.popover("Share", icon=":material/share:", key="share"):
        here = st.context.url or f"http://localhost:{st.get_option('server.port')}{base_path()}/"
        url, for_phones, sentence = page_address(here, st.get_option("server.address"))
        song_link, title = link(settings, url), html.escape(song_title(settings))
        st.html(f'<p class="share-title">A link to “{title}”, with all its settings</p>')
        st.code(song_link, language=None, wrap_lines=True)
        if not is_built_in(settings.clip):
            st.caption(NOT_IN_THE_LINK)
        if for_phones:
            st.html(f'<img class="qr" src="{qr_uri(song_link)}" alt="QR code of the link to {title}">')
        st.caption(sentence)


@lru_cache(maxsize=64)
def qr_uri(text: str) -> str:
    """A QR code as an SVG data: URI; black on white in both themes, because many readers need it."""
    import segno

    return segno.make(text, error="m", micro=False).svg_data_uri(border=4, light="#fff", omitsize=True)
