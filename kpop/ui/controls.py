"""The controls of a song: sliders, seed clip, the listener's own clip, model. A widget's key is the field of Settings.

Widgets are bound to query parameters, so that the page's address holds the settings; changing one causes no rerun.
"""

import re
import secrets
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.constants import SAMPLE_RATE_HZ, TEMPO_BPM
from kpop.errors import KpopError
from kpop.generation import clips
from kpop.generation.clips import SeedClip, clip_from_file
from kpop.generation.metadata import read_metadata
from kpop.generation.titles import song_title
from kpop.model_info import available_models, model_info
from kpop.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.ui.assets import cover_style, escape_markdown
from kpop.ui.session_state import get_session, set_controls
from kpop.ui.sharing import arrived_by_link, is_loopback, settings_from_query

DICE_SIDES = 10_000
MAX_SEED_NUMBER = 2**32 - 1
N_VARIATIONS = 4
UPLOAD = {"type": ("wav", "flac", "ogg", "mp3"), "max_upload_size": 20}  # MB
FILE, RECORDING = "file", "voice"  # kinds of upload
BOUND = {"bind": "query-params", "on_change": "ignore"}
CLIP_HELP = "The first seconds of your song. The machine goes on from there."
SEED_NUMBER_HELP = "Same settings, same number: the very same song. Another number, another song."
INVITATION = "Clap a beat or sing a line, four bars or about eight seconds"
NOT_SECURE = (
    "**Clap or sing it yourself?** Browsers lend a microphone to secure pages only, and this one is not secure: open "
    "it at `localhost` on its own computer, or serve it through https (`streamlit run app.py --server.sslCertFile …`)."
)


def choose(start: Settings, first: DeltaGenerator, more: DeltaGenerator) -> Settings:
    """Draws all controls: the main ones in `first`, the rest in `more`. start: values at the start of the session."""
    requested = settings_from_query(st.query_params, start)
    if "randomness" not in st.session_state and arrived_by_link(st.query_params):  # on the first run only
        get_session().sent = song_title(requested)
    for key, value in asdict(requested).items():
        st.session_state.setdefault(key, value)  # instead of the widgets' own `value`, since callbacks set these too
    with more:
        choose_own_clip()
        with st.expander("More choices", icon=":material/tune:"):
            with st.container(horizontal=True, vertical_alignment="bottom"):
                st.number_input("Seed number", 0, MAX_SEED_NUMBER, key="seed_number", help=SEED_NUMBER_HELP, **BOUND)
                st.button("Roll", icon=":material/casino:", on_click=roll_dice, help="Take a number by chance")
            endless = st.toggle("Endless – the machine just goes on", key="endless", bind="query-params")
            models = {name: model_info(name) for name in available_models()}
            if len(models) > 1:
                titles = {name: model.title for name, model in models.items()}
                name = st.selectbox("Voice", models, format_func=titles.get, key="model", bind="query-params")
                st.caption(models[name].about)
    with first:
        choose_clip()
        _slider("Seed randomness", "Kevin’s memory", "pure chance", "randomness", RANDOMNESS_RANGE)
        _slider(
            "Length", "a hook", "a whole song", "length_s", LENGTH_RANGE_S, step=1.0, format="%d s", disabled=endless
        )
        _slider("Temperature", "safe", "wild", "temperature", TEMPERATURE_RANGE)
    return chosen()[0]


def generate() -> None:
    """Requests the chosen song, with another seed number if that song is on the page already. For callbacks."""
    session, (settings, own_clip) = get_session(), chosen()
    if any(song.settings == settings and song.own_clip is own_clip for song in session.songs):
        roll_dice()
        settings, _ = chosen()
    session.request(settings, own_clip=own_clip, endless=st.session_state.get("endless", False))


def take_four() -> None:
    """Requests variations that differ in their seed numbers only. For callbacks."""
    settings, own_clip = chosen()
    numbers = [(settings.seed_number + i) % (MAX_SEED_NUMBER + 1) for i in range(N_VARIATIONS)]
    get_session().request(*(replace(settings, seed_number=number) for number in numbers), own_clip=own_clip)


def roll_dice() -> None:
    st.session_state.seed_number = secrets.randbelow(DICE_SIDES)


def chosen() -> tuple[Settings, SeedClip | None]:
    """The controls' values, which callbacks have in session state too, and the listener's own clip."""
    own_clip, _ = _own_clip()
    values = {field.name: st.session_state[field.name] for field in fields(Settings)}
    values["clip"] = own_clip.name if own_clip else values["clip"] or Settings().clip  # None after "?clip="
    if values["model"] not in (models := available_models()):
        values["model"] = models[0] if models else Settings().model
    return Settings(**values), own_clip


def _slider(label: str, low: str, high: str, key: str, span: tuple, step: float = 0.05, **options) -> None:
    """A slider with words under its ends."""
    st.slider(label, *span, step=step, key=key, **options, **BOUND)
    st.html(f'<p class="ends"><span>{low}</span><span>{high}</span></p>')


def choose_clip() -> None:
    """Radio of the built-in clips. Session state holds the name, the query the title: "clip=Neon+Rain"."""
    offered = clips.built_in_clips()
    titles = {clip.name: clip.title for clip in offered}
    if st.session_state.get("clip") not in titles:  # for example after a song from a file of the listener's own
        st.session_state["clip"] = offered[0].name if offered else Settings().clip
    if not offered:
        return
    st.html(cover_style('.st-key-clip [role="radiogroup"] > :nth-child({}) label::before', offered))
    st.radio(
        "Seed clip",
        titles,
        index=None,  # a default would be left out of the query
        format_func=titles.get,
        captions=[f"{clip.title} – {clip.story}" for clip in offered],
        key="clip",
        help=CLIP_HELP,
        horizontal=True,
        width="stretch",
        **BOUND,
    )
    hear_clip(st.session_state["clip"], titles[st.session_state["clip"]])


@st.fragment
def hear_clip(name: str, title: str) -> None:
    """A button that plays a built-in clip, in a player that stays until another clip is chosen."""
    if st.session_state.get("heard_clip") == name:
        st.audio(clips.clip_path(name), autoplay=True)
    else:
        hear = {"on_click": st.session_state.update, "kwargs": {"heard_clip": name}}
        st.button(f"Hear {title}", icon=":material/play_arrow:", type="tertiary", **hear)


def choose_own_clip() -> None:
    """File upload and microphone, and what was heard in the latest upload."""
    with st.expander("Start from a song of your own", icon=":material/mic:"):
        st.file_uploader("Your own file", **UPLOAD, key=_key(FILE), on_change=_uploaded, args=(FILE,))
        if microphone_allowed(st.context.url):
            recording = {"sample_rate": SAMPLE_RATE_HZ, "on_change": _uploaded, "args": (RECORDING,)}
            st.audio_input(INVITATION, key=_key(RECORDING), **recording)
        else:
            st.markdown(NOT_SECURE)
        with st.container(key="own-news"):
            if restored := st.session_state.pop("restored", None):
                st.success(restored, icon=":material/settings_backup_restore:")
            clip, error = _own_clip()
            if error:
                st.error(escape_markdown(error), icon=":material/music_off:")
                st.caption("Until then, your song starts from the built-in clip that is chosen.")
            elif clip and clip.tempo_bpm is None:
                st.caption(f"No clear beat heard: your song goes on at {TEMPO_BPM} BPM.")
            elif clip:
                st.caption(f"Heard: {clip.tempo_bpm:.0f} BPM – your song goes on in time with it.")
            if clip or error:
                label, icon = "Back to the built-in clips", ":material/undo:"
                st.button(label, icon=icon, on_click=_clear_uploads, type="tertiary")


def microphone_allowed(url: str | None) -> bool:
    """Whether browsers allow the microphone on this page: on https and on localhost."""
    parts = urlsplit(url or "http://localhost")
    return parts.scheme == "https" or is_loopback(parts.hostname)


def _own_clip() -> tuple[SeedClip | None, str]:
    """The clip from the latest upload that is still there, or an error message."""
    last = st.session_state.get("last_upload")
    for kind in sorted((FILE, RECORDING), key=lambda kind: kind != last):
        if file := st.session_state.get(_key(kind)):
            return _analysed(file.file_id, file, "Your recording" if kind == RECORDING else file.name)
    return None, ""


@st.cache_resource(scope="session", max_entries=2, show_spinner="Listening…")
def _analysed(file_id: str, _file: BinaryIO, name: str) -> tuple[SeedClip | None, str]:
    _file.seek(0)
    try:
        return clip_from_file(_file, name), ""
    except KpopError as error:
        return None, f"{error}"


def _key(kind: str) -> str:
    """Of an upload widget, which is emptied by a new key."""
    return f"own_{kind}_{st.session_state.setdefault('upload_round', 0)}"


def _clear_uploads() -> None:
    st.session_state.upload_round += 1


def _uploaded(kind: str) -> None:
    """Callback of both widgets. A WAV file of ours sets the controls to its settings and is not used as a seed."""
    st.session_state.last_upload = kind
    file = st.session_state.get(_key(kind))
    settings = read_metadata(file.getvalue()) if file and kind == FILE else None
    if not settings:
        return
    sentences = [f"Restored: {song_title(settings)}."]
    if not clips.is_built_in(settings.clip):
        sentences.append(f"It began with a file of yours called {_plain(settings.clip)}: drop that in too.")
        settings = replace(settings, clip=st.session_state.get("clip") or Settings().clip)
    if settings.model not in available_models():
        sentences.append(f"Its voice, {_plain(settings.model)}, is not here, so another will sing.")
        settings = replace(settings, model=st.session_state.get("model") or Settings().model)
    set_controls(settings)
    st.session_state.restored = " ".join([*sentences, "Press Generate to hear it."])
    _clear_uploads()


def _plain(name: str) -> str:
    """A name from an untrusted file, without markup, links and folders."""
    stem, dot, suffix = re.sub(r"[^\w .'-]|_", " ", Path(name).name).rpartition(".")
    return " ".join(f"{stem.replace('.', ' ')}{dot}{suffix}".split())[:60] or "something"
