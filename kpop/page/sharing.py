"""Passing a song on: the file with its settings inside, a link, and the same link for phones to scan."""

import html

import streamlit as st

from kpop.generation.settings import Settings
from kpop.generation.titles import song_title
from kpop.page.feedback import kept
from kpop.page.looks import style
from kpop.show.links import link, page_address
from kpop.show.qr import qr_uri

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
