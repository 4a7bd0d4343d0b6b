"""The controls of a song: seed clip, sliders, the listener's own sound, model. A widget's key is the field of Settings.

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

from kpop.audio.io import from_pcm, pcm_bytes, read_audio
from kpop.constants import SAMPLE_RATE_HZ, TEMPO_BPM
from kpop.errors import KpopError
from kpop.generation import clips
from kpop.generation.clips import LONGEST_FILE_S, ClipInfo, SeedClip, clip_from_waveform
from kpop.generation.metadata import read_metadata
from kpop.generation.titles import song_title
from kpop.model_info import available_models, model_info
from kpop.server import clip_url
from kpop.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, TEMPO_RANGE_BPM, Settings
from kpop.ui.assets import STATIC_DIR, base_path, clock, cover_style, escape_markdown
from kpop.ui.session_state import OwnClip, get_session, set_controls
from kpop.ui.sharing import is_loopback, settings_from_query

DICE_SIDES = 10_000
MAX_SEED_NUMBER = 2**32 - 1
N_VARIATIONS = 4
UPLOAD = {"type": ("wav", "flac", "ogg", "mp3"), "max_upload_size": 20}  # MB
RECORDING = "Your recording"
TEMPO_FACTORS = {"× ¾": 3 / 4, "× 4⁄3": 4 / 3, "half": 1 / 2, "double": 2}  # how tempi are misheard
BOUND = {"bind": "query-params", "on_change": "ignore"}
CLIP_HELP = "The first seconds of your song. The machine goes on from there."
SEED_NUMBER_HELP = "Same settings, same number: the very same song. Another number, another song."
INVITATION = "Clap a beat or sing a line, four bars or about eight seconds"
NOT_SECURE = (
    "**Clap or sing it yourself?** Browsers lend a microphone to secure pages only, and this one is not secure: open "
    "it at `localhost` on its own computer, or serve it through https (`streamlit run app.py --server.sslCertFile …`)."
)
cover_buttons = st.components.v2.component(
    "covers", js=(STATIC_DIR / "covers.js").read_text(encoding="utf-8"), html="<div></div>", isolate_styles=False
)


def choose(first: DeltaGenerator, more: DeltaGenerator) -> Settings:
    """Draws all controls: the main ones in `first`, the rest in `more`."""
    for key, value in asdict(settings_from_query(st.query_params, Settings())).items():
        st.session_state.setdefault(key, value)  # instead of the widgets' own `value`, since callbacks set these too
    with more:
        choose_own_sound()
        with st.expander("More choices", icon=":material/tune:"):
            with st.container(horizontal=True, vertical_alignment="bottom"):
                st.number_input("Seed number", 0, MAX_SEED_NUMBER, key="seed_number", help=SEED_NUMBER_HELP, **BOUND)
                st.button("Roll", icon=":material/casino:", on_click=roll_dice, help="Take a number by chance")
            endless = st.toggle("Endless – the machine just goes on", key="endless", bind="query-params")
            st.toggle("Show the beat grid", key="grid")
            models = {name: model_info(name) for name in available_models()}
            if len(models) > 1:
                titles = {name: model.title for name, model in models.items()}
                name = st.selectbox("Voice", models, format_func=titles.get, key="model", bind="query-params")
                st.caption(models[name].about)
    with first:
        choose_clip()
        _slider("Seed randomness", "close to the clip", "ignore the clip", "randomness", *RANDOMNESS_RANGE, step=0.05)
        low_s, high_s = LENGTH_RANGE_S
        # a restored song may last a fraction of a second more
        lengths_s = sorted({*map(float, range(int(low_s), int(high_s) + 1)), st.session_state.length_s})
        length = {"kind": st.select_slider, "format_func": clock, "disabled": endless}
        _slider("Length", clock(low_s), clock(high_s), "length_s", lengths_s, **length)
        _slider("Temperature", "safe", "wild", "temperature", *TEMPERATURE_RANGE, step=0.05)
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
    """The controls' values, which callbacks have in session state too, and the listener's own clip if it is chosen."""
    values, own = {field.name: st.session_state[field.name] for field in fields(Settings)}, get_session().own
    values["clip"] = values["clip"] or Settings().clip  # None after "?clip="
    if values["model"] not in (models := available_models()):
        values["model"] = models[0] if models else Settings().model
    return Settings(**values), own.clip if own and own.clip.name == values["clip"] else None


def _slider(label: str, low: str, high: str, key: str, *span, kind=st.slider, **options) -> None:
    """A slider with words under its ends."""
    kind(label, *span, key=key, **options, **BOUND)
    st.html(f'<p class="ends"><span>{low}</span><span>{high}</span></p>')


def choose_clip() -> None:
    """Radio of the listener's own clip and the built-in ones. Session state holds the name, the query the title."""
    own, offered = get_session().own, clips.built_in_clips()
    if own:
        offered = (ClipInfo(own.clip.name, own.clip.title, f"your own sound, {_tempo(own.clip)}"), *offered)
    titles = {clip.name: clip.title for clip in offered}
    if st.session_state.get("clip") not in titles:  # for example an own one, after a reload
        st.session_state["clip"] = Settings().clip if Settings().clip in titles else next(iter(titles), Settings().clip)
    if not offered:
        return
    st.html(cover_style('.st-key-clip [role="radiogroup"] > :nth-child({}) label::before', offered))
    st.radio(
        "Seed clip",
        titles,
        index=None,  # a default would be left out of the query
        format_func=lambda name: escape_markdown(titles[name]) if own and name == own.clip.name else titles[name],
        captions=[escape_markdown(f"{clip.title} – {clip.story}") for clip in offered],
        key="clip",
        help=CLIP_HELP,
        horizontal=True,
        width="stretch",
        **BOUND,
    )
    urls = [clip_url(clip.name, base_path()) if clips.is_built_in(clip.name) else "" for clip in offered]
    cover_buttons(key="covers", data=[{"urls": urls, "titles": [*titles.values()]}])


def choose_own_sound() -> None:
    """File upload and microphone. The latest sound becomes a clip, and the chosen one."""
    with st.expander("Start from a song of your own", icon=":material/mic:"):
        turn = st.session_state.setdefault("upload_turn", 0)
        sound = st.file_uploader("Your own file", **UPLOAD, key=f"own_file_{turn}")
        name = sound.name if sound else RECORDING
        if microphone_allowed(st.context.url):
            sound = sound or st.audio_input(INVITATION, sample_rate=SAMPLE_RATE_HZ, key=f"own_voice_{turn}")
        else:
            st.markdown(NOT_SECURE)
        if sound:
            with st.spinner("Listening…"):
                st.session_state.heard = take_sound(sound, name)
            st.session_state.upload_turn += 1  # widgets with new keys are empty
            st.rerun()
        with st.container(key="own-news"):
            show_own_clip()


def microphone_allowed(url: str | None) -> bool:
    """Whether browsers allow the microphone on this page: on https and on localhost."""
    parts = urlsplit(url or "http://localhost")
    return parts.scheme == "https" or is_loopback(parts.hostname)


def take_sound(sound: BinaryIO, name: str) -> tuple[str, str]:
    """Makes a sound the chosen clip; a WAV file of ours sets the controls to its settings instead.

    Returns a sentence for the listener: an error and an empty string, or the other way round.
    """
    if settings := read_metadata(sound.read()):
        return "", _restore(settings)
    sound.seek(0)
    try:
        waveform = read_audio(sound, max_s=LONGEST_FILE_S)
        get_session().own = OwnClip(clip_from_waveform(waveform, name), pcm_bytes(waveform))
    except KpopError as error:
        return f"{error}", ""
    st.session_state.clip = name
    return "", ""


def show_own_clip() -> None:
    """What became of the latest sound, the tempo that was heard in it, and how to correct that."""
    own, (error, restored) = get_session().own, st.session_state.pop("heard", ("", ""))
    if error:
        st.error(escape_markdown(error), icon=":material/music_off:")
    if restored:
        st.success(restored, icon=":material/settings_backup_restore:")
    if not own:
        return
    tempo_bpm, title = own.clip.tempo_bpm, escape_markdown(own.clip.title)
    if tempo_bpm is None:
        st.caption(f"No clear beat heard in {title}: your song goes on at {TEMPO_BPM} BPM.")
    else:
        st.caption(f"Heard in {title}: {tempo_bpm:.0f} BPM. Your song goes on in time with it.")
    tempo_bpm = tempo_bpm or float(TEMPO_BPM)
    st.session_state.own_tempo = float(round(tempo_bpm))
    if own.pcm:
        low_bpm, high_bpm = TEMPO_RANGE_BPM
        with st.container(key="tempo", horizontal=True, vertical_alignment="bottom"):
            options = {"step": 1.0, "format": "%.0f", "key": "own_tempo", "width": 150}
            st.number_input("Not right? Type it, in BPM", *TEMPO_RANGE_BPM, **options, on_change=correct_tempo)
            for label, factor in TEMPO_FACTORS.items():
                out_of_range = not low_bpm <= factor * tempo_bpm <= high_bpm
                st.button(label, on_click=correct_tempo, args=(factor * tempo_bpm,), disabled=out_of_range)
    st.button("Remove it", icon=":material/delete:", on_click=remove_own_clip, type="tertiary")


def correct_tempo(tempo_bpm: float | None = None) -> None:
    """Cuts the own clip again at this tempo, by default the typed one. For callbacks."""
    own = get_session().own
    tempo_bpm = tempo_bpm or st.session_state.own_tempo
    get_session().own = replace(own, clip=clip_from_waveform(from_pcm(own.pcm), own.clip.name, tempo_bpm))


def remove_own_clip() -> None:
    """Back to the built-in clips. For callbacks."""
    get_session().own = None


def _restore(settings: Settings) -> str:
    """Sets the controls to the settings in a WAV file of ours; returns what to tell the listener."""
    sentences = [f"Restored: {song_title(settings)}."]
    if not clips.is_built_in(settings.clip):
        sentences.append(f"It began with a file of yours called {_plain(settings.clip)}: drop that in too.")
        settings = replace(settings, clip=st.session_state.get("clip") or Settings().clip)
    if settings.model not in available_models():
        sentences.append(f"Its voice, {_plain(settings.model)}, is not here, so another will sing.")
        settings = replace(settings, model=st.session_state.get("model") or Settings().model)
    set_controls(settings)
    return " ".join([*sentences, "Press Generate to hear it."])


def _tempo(clip: SeedClip) -> str:
    return f"{clip.tempo_bpm:.0f} BPM" if clip.tempo_bpm else "no clear beat"


def _plain(name: str) -> str:
    """A name from an untrusted file, without markup, links and folders."""
    stem, dot, suffix = re.sub(r"[^\w .'-]|_", " ", Path(name).name).rpartition(".")
    return " ".join(f"{stem.replace('.', ' ')}{dot}{suffix}".split())[:60] or "something"
