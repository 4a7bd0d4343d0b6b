"""What a listener chooses: every widget's key is the field of Settings that it sets.

The seed clips to choose from, each by its cover.

A sound of the listener's own to start from: a file, or what the microphone hears.
"""

import re
import secrets
from dataclasses import asdict, fields
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.constants import SAMPLE_RATE_HZ, TEMPO_BPM
from kpop.errors import KpopError
from kpop.generation import clips
from kpop.generation.clips import SeedClip, clip_from_file
from kpop.generation.titles import song_title
from kpop.model_info import available_models, voice
from kpop.server import is_served
from kpop.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.ui.assets import style
from kpop.ui.covers import cover_uri
from kpop.ui.metadata import restore, take_restored
from kpop.ui.requests import get_session
from kpop.ui.sharing import arrived_by_link, wanted

DICE_SIDES = 10_000
MAX_SEED_NUMBER = 2**32 - 1
QUIET = {"on_change": "ignore", "bind": "query-params"}  # no rerun while tweaking; the address remembers the wishes


class Choice(NamedTuple):
    """What a listener has chosen. own_clip: instead of the settings' built-in one; endless: never to end."""

    settings: Settings
    own_clip: SeedClip | None
    endless: bool


def choose(start: Settings, first: DeltaGenerator, more: DeltaGenerator) -> Choice:
    """The choices, those at first sight and those for whoever wants more. start: what is offered at first."""
    wishes = wanted(st.query_params, start)
    if "randomness" not in st.session_state and arrived_by_link(st.query_params):  # on the first run alone
        get_session().sent = song_title(wishes)
    for key, value in asdict(wishes).items():
        st.session_state.setdefault(key, value)  # not a widget's own `value`: callbacks set these too
    with more:
        own_clip = choose_own_clip()
        with st.expander("More choices", icon=":material/tune:"):
            seed_number, endless, model = choose_seed_number(), choose_endless(), choose_model()
    with first:
        built_in_name = choose_clip()
        randomness = slider("Seed randomness", "Kevin’s memory", "pure chance", "randomness", RANDOMNESS_RANGE, "%.2f")
        length_s = slider("Length", "a hook", "a whole song", "length_s", LENGTH_RANGE_S, "%d s", 1.0, endless)
        temperature = slider("Temperature", "safe", "wild", "temperature", TEMPERATURE_RANGE, "%.2f")
    clip = own_clip.name if own_clip else built_in_name
    return Choice(Settings(randomness, temperature, length_s, seed_number, clip, model), own_clip, endless)


def generate() -> None:
    """Asks for the song that is chosen now, or for another like it if that very song is here already. For callbacks."""
    visit, choice = get_session(), _chosen()
    if any(song.settings == choice.settings and song.own_clip is choice.own_clip for song in visit.performances):
        roll_dice()
        choice = _chosen()
    visit.wish(*choice)


def take_four() -> None:
    """Asks for four of it. For callbacks."""
    choice = _chosen()
    get_session().wish_takes(choice.settings, choice.own_clip)


def _chosen() -> Choice:
    """What the widgets say in a callback, before any of them is drawn."""
    values = {field.name: st.session_state[field.name] for field in fields(Settings)}
    own_clip = own_clip_now()
    if own_clip:
        values["clip"] = own_clip.name
    if values["model"] not in available_models():
        values["model"] = next(iter(available_models()), Settings().model)
    return Choice(Settings(**values), own_clip, bool(is_served() and st.session_state.get("endless")))


def slider(
    label: str,
    low_words: str,
    high_words: str,
    key: str,
    span: tuple[float, float],
    shape: str,
    step: float = 0.05,
    disabled: bool = False,
) -> float:
    """A slider with words a listener understands under its ends."""
    value = st.slider(label, *span, step=step, format=shape, key=key, disabled=disabled, **QUIET)
    st.html(f'<p class="ends"><span>{low_words}</span><span>{high_words}</span></p>')
    return value


def choose_endless() -> bool:
    """Whether the song is never to end, which only a page that sends sound as it is made can offer."""
    return is_served() and st.toggle("Endless – the machine just goes on", key="endless", bind="query-params")


def choose_seed_number() -> int:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        help_text = "Same settings, same number: the very same song. Another number, another song."
        number = st.number_input("Seed number", 0, MAX_SEED_NUMBER, key="seed_number", help=help_text, **QUIET)
        st.button("Roll", icon=":material/casino:", on_click=roll_dice, help="Take a number by chance")
    return number


def roll_dice() -> None:
    st.session_state.seed_number = secrets.randbelow(DICE_SIDES)


def choose_model() -> str:
    """The only voice there is, or the listener's choice of several."""
    voices = {name: voice(name) for name in available_models() or (Settings().model,)}
    if len(voices) == 1:
        return next(iter(voices))
    name = st.selectbox(
        "ModelInfo", voices, format_func=lambda name: voices[name].title, key="model", bind="query-params"
    )
    st.caption(voices[name].about)
    return name


HELP = "The first seconds of your song. The machine goes on from there."


def choose_clip() -> str:
    """Name of the built-in clip that the listener has chosen; the usual one where there is none to choose from.

    It is a radio that goes by the key "clip": session state holds the clip's name, and the address its title, as
    Streamlit binds what is shown and not the value (?clip=Neon+Rain).
    """
    offered = clips.built_in_clips()
    if not offered:
        return Settings().clip
    titles = {clip.name: clip.title for clip in offered}
    if st.session_state.get("clip") not in titles:
        st.session_state["clip"] = offered[0].name  # such as after a song from a file of the listener's own
    st.html(_looks(offered))
    chosen = st.radio(
        "Seed clip",
        titles,
        index=None,  # session state says what is chosen; a clip that was the default would get lost from the address
        format_func=titles.get,
        captions=[f"{clip.title} – {clip.story}" for clip in offered],
        key="clip",
        help=HELP,
        horizontal=True,
        width="stretch",
        on_change="ignore",
        bind="query-params",
    )
    return chosen or offered[0].name  # an address may say "?clip="


@lru_cache(maxsize=1)
def _looks(offered: tuple[clips.ClipInfo, ...]) -> str:
    """The style of the cards, and the cover of each."""
    cover = '.st-key-clip [role="radiogroup"] > :nth-child({}) label::before {{ background-image: url("{}"); }}'
    covers = "\n".join(cover.format(i + 1, cover_uri(clip)) for i, clip in enumerate(offered))
    return f"{style('clip_picker').removesuffix('</style>')}\n{covers}</style>"


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
