"""A sound of the listener's own to start from: a file, or what the microphone hears."""

import re
from urllib.parse import urlsplit

import streamlit as st

from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, clip_from_file
from kpop.grid import SAMPLE_RATE_HZ, TEMPO_BPM
from kpop.page.looks import style
from kpop.page.restoring import restore, take_restored

AUDIO_TYPES = ("wav", "flac", "ogg", "mp3")
MAX_UPLOAD_MB = 20
FILE, VOICE = "file", "voice"
LAST, ROUND, UNDERSTOOD = "own_last", "own_round", "own_understood"  # in the session's state
RECORDING = "Your recording"
INVITATION = "Clap a beat or sing a line, four bars or about eight seconds"
NOT_SECURE = (
    "**Clap or sing it yourself?** Browsers lend a microphone to secure pages only, and this one is not secure: open "
    "it at `localhost` on its own computer, or serve it through https (`streamlit run app.py --server.sslCertFile …`)."
)


def choose_own_clip() -> SeedClip | None:
    """The listener's own clip, the file or the recording that came last; None if there is none that can be heard."""
    with st.expander("Start from a song of your own", icon=":material/mic:"):
        st.html(style("own_clip"))
        given = {FILE: _file(), VOICE: _recording()}
        with st.container(key="own-news"):
            return _heard(_last(given))


def own_clip_now() -> SeedClip | None:
    """The same for callbacks, before any widget is drawn: a press may come while a file is still being listened to."""
    last = _last({which: st.session_state.get(_key(which)) for which in (FILE, VOICE)})
    return _understand(*last)[0] if last else None


def microphone_allowed(url: str | None) -> bool:
    """Whether browsers lend a page at this address their microphone: https, or on the listener's own machine."""
    parts = urlsplit(url or "http://localhost")
    host = parts.hostname or ""
    own_machine = host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")
    return parts.scheme == "https" or own_machine


def _key(which: str) -> str:
    """Of a widget; another one empties it."""
    return f"own_{which}_{st.session_state.setdefault(ROUND, 0)}"


def _file():
    limits = {"type": AUDIO_TYPES, "max_upload_size": MAX_UPLOAD_MB}
    return st.file_uploader("Your own file", **limits, key=_key(FILE), on_change=_take_file)


def _recording():
    if not microphone_allowed(st.context.url):
        st.markdown(NOT_SECURE)
        return None
    return st.audio_input(INVITATION, sample_rate=SAMPLE_RATE_HZ, key=_key(VOICE), on_change=_take, args=(VOICE,))


def _take(which: str) -> None:
    st.session_state[LAST] = which


def _take_file() -> None:
    """A file that this page made itself brings its settings back, and is no seed."""
    _take(FILE)
    file = st.session_state.get(_key(FILE))
    if file and restore(file.getvalue()):
        _put_away()


def _put_away() -> None:
    """Empties both widgets."""
    for which in (FILE, VOICE):
        st.session_state.pop(_key(which), None)
    st.session_state[ROUND] += 1
    for key in (LAST, UNDERSTOOD):
        st.session_state.pop(key, None)


def _last(given: dict) -> tuple | None:
    """Which kind, and the file, of what was given last and is still there."""
    last = st.session_state.get(LAST, FILE)
    order = sorted(given, key=lambda which: which != last)
    return next(((which, given[which]) for which in order if given[which]), None)


def _heard(given: tuple | None) -> SeedClip | None:
    """Says what was understood, and returns it."""
    restored = take_restored()
    if not given:
        if restored:
            st.success(restored, icon=":material/settings_backup_restore:")
        return None
    with st.spinner("Listening…"):
        clip, sentence = _understand(*given)
    if clip is None:
        st.error(_plain(sentence), icon=":material/music_off:")
        st.caption("Until then, your song starts from the built-in clip that is chosen.")
    else:
        st.caption(_told(clip))
    st.button("Back to the built-in clips", icon=":material/undo:", on_click=_put_away, type="tertiary")
    return clip


def _understand(which: str, file) -> tuple[SeedClip | None, str]:
    """The clip, or a sentence that says why there is none; each file is listened to once."""
    known = st.session_state.get(UNDERSTOOD)
    if known is None or known[0] != file.file_id:
        known = st.session_state[UNDERSTOOD] = (file.file_id, *_listen(which, file))
    return known[1:]


def _listen(which: str, file) -> tuple[SeedClip | None, str]:
    file.seek(0)
    try:
        return clip_from_file(file, RECORDING if which == VOICE else file.name), ""
    except KpopError as error:
        return None, f"{error}"


def _told(clip: SeedClip) -> str:
    if clip.tempo_bpm is None:
        return f"No clear beat heard: your song goes on at {TEMPO_BPM} BPM."
    return f"Heard: {clip.tempo_bpm:.0f} BPM – your song goes on in time with it."


def _plain(sentence: str) -> str:
    """Without Markdown: file names may hold anything."""
    return re.sub(r"([\\`*_{}\[\]()#!|<>$:~])", r"\\\1", sentence)
