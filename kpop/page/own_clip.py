"""A song of the listener's own to start from."""

from typing import BinaryIO

import streamlit as st

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, clip_from_file

AUDIO_TYPES = ("wav", "flac", "ogg", "mp3")
MAX_UPLOAD_MB = 20


def choose_own_clip() -> SeedClip | None:
    """The listener's own clip; None as long as there is none that can be heard."""
    with st.expander("Start from a song of your own", icon=":material/upload_file:"):
        file = st.file_uploader("Your own file", type=AUDIO_TYPES, max_upload_size=MAX_UPLOAD_MB)
        return _heard(file) if file else None


def _heard(file: BinaryIO) -> SeedClip | None:
    try:
        read = st.cache_data(_read_clip, max_entries=8, show_spinner="Listening to your file…")
        clip = read(file, file.file_id)
    except KpopError as error:
        st.error(f"{error}", icon=":material/music_off:")
        st.caption("Until then, your song starts from the seed clip above.")
        return None
    st.caption("Your song starts from this file.")
    return clip


def _read_clip(_file: BinaryIO, file_id: str) -> SeedClip:
    """Read once: file_id tells files apart, and the leading underscore keeps Streamlit from hashing the content."""
    return clip_from_file(_file, _file.name)
