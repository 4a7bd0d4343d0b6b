"""Twice4Life: the page. Run with `streamlit run app.py`."""

import html
import random
import secrets
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.errors import KpopError
from kpop.generation.checkpoints import available_models, checkpoint_path, voice
from kpop.generation.clips import SeedClip, built_in_clips, clip_from_file
from kpop.generation.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.show.background import BackgroundTask, Report
from kpop.show.closeness import Closeness
from kpop.show.performance import Performance, perform

DEFAULTS = Settings()
LOOKS = Path(__file__).parent / ".streamlit"
AUDIO_TYPES = ("wav", "flac", "ogg", "mp3")
MAX_UPLOAD_MB = 20
DICE_SIDES = 10_000
MAX_SEED_NUMBER = 2**32 - 1
POLL_S = 0.1
HEAD_START_S = 1.0  # the page reaches the browser first: importing torch holds the interpreter's lock
N_BARS = 36
STILL = {"displayModeBar": False, "scrollZoom": False}  # a picture to point at, which lets a finger scroll past
QUIET = {"on_change": "ignore", "bind": "query-params"}  # no rerun while tweaking; the address remembers the wishes

WELCOME = """
<section class="welcome">
  <h2>Kevin needs new songs.</h2>
  <p>He knows every real one by heart. Pick the first few seconds, decide how much of them the machine may forget,
  press <b>Generate</b> &ndash; and it dreams up the rest of a song that nobody has ever heard.</p>
  <div class="bars" aria-hidden="true">{bars}</div>
</section>
"""


def page() -> None:
    st.set_page_config("Twice4Life", page_icon=str(LOOKS / "icon.svg"), layout="wide")
    st.html(LOOKS / "page.css")
    st.html('<h1 class="wordmark">twice<b>4</b>life</h1><p class="tagline">K-pop that never existed, until now.</p>')
    wishes, stage = st.columns([5, 8], gap="large")
    with wishes:
        settings, own_clip = choose_settings()
        pressed = st.button("Generate", type="primary", width="stretch", icon=":material/auto_awesome:")
        news = st.empty()
    with stage:
        performance = st.session_state.get("performance")
        place = show_performance(performance)
    comparing = performance and performance.closeness
    known = comparing and comparing.finished
    if known:
        show_closeness(comparing, place)
    loading = start_loading(settings.model)
    if pressed:
        start_performance(loading, settings, own_clip)
    if "job" in st.session_state:
        finish_performance(st.session_state.job, news)
    elif follow(loading, news) and "performance" in st.session_state:
        news.html('<a class="jump" href="#song">Your song is ready &darr;</a>')
    if comparing and not known:
        show_closeness(comparing, place)


def choose_settings() -> tuple[Settings, SeedClip | None]:
    built_in_name, own_clip = choose_clip()
    settings = Settings(
        randomness=slider("Seed randomness", "Kevin’s memory", "pure chance", "randomness", RANDOMNESS_RANGE, "%.2f"),
        length_s=slider("Length", "a hook", "a whole song", "length_s", LENGTH_RANGE_S, "%d s", step=1.0),
        temperature=slider("Temperature", "safe", "wild", "temperature", TEMPERATURE_RANGE, "%.2f"),
        seed_number=choose_seed_number(),
        clip=own_clip.name if own_clip else built_in_name,
        model=choose_model(),
    )
    return settings, own_clip


def choose_clip() -> tuple[str, SeedClip | None]:
    labels = {clip.name: f"{clip.title} – {clip.story}" for clip in built_in_clips()}
    help_text = "The first seconds of your song. The machine goes on from there."
    name = st.selectbox("Seed clip", labels, format_func=labels.get, key="clip", help=help_text, **QUIET)
    with st.expander("Start from a song of your own", icon=":material/upload_file:"):
        return name or DEFAULTS.clip, choose_own_clip()


def choose_own_clip() -> SeedClip | None:
    file = st.file_uploader("Your own file", type=AUDIO_TYPES, max_upload_size=MAX_UPLOAD_MB)
    if not file:
        return None
    try:
        clip = read_clip(file, file.file_id)
    except KpopError as error:
        st.error(f"{error}", icon=":material/music_off:")
        st.caption("Until then, your song starts from the seed clip above.")
        return None
    st.caption("Your song starts from this file.")
    return clip


@st.cache_data(max_entries=8, show_spinner="Listening to your file…")
def read_clip(_file: BinaryIO, file_id: str) -> SeedClip:
    """Read once: file_id tells files apart, and the leading underscore keeps Streamlit from hashing the content."""
    return clip_from_file(_file, _file.name)


def slider(
    label: str, low_words: str, high_words: str, key: str, span: tuple[float, float], shape: str, step: float = 0.05
) -> float:
    """A slider with words a listener understands under its ends."""
    value = st.slider(label, *span, getattr(DEFAULTS, key), step, shape, key=key, **QUIET)
    st.html(f'<p class="ends"><span>{low_words}</span><span>{high_words}</span></p>')
    return value


def choose_seed_number() -> int:
    st.session_state.setdefault("seed_number", DEFAULTS.seed_number)  # not `value`: the dice sets it too
    with st.container(horizontal=True, vertical_alignment="bottom"):
        help_text = "Same settings, same number: the very same song. Another number, another song."
        number = st.number_input("Seed number", 0, MAX_SEED_NUMBER, key="seed_number", help=help_text, **QUIET)
        st.button("Roll", icon=":material/casino:", on_click=roll_dice, help="Take a number by chance")
    return number


def roll_dice() -> None:
    st.session_state.seed_number = secrets.randbelow(DICE_SIDES)


def choose_model() -> str:
    """The only voice there is, or the listener's choice of several."""
    voices = {name: voice(name) for name in available_models() or (DEFAULTS.model,)}
    if len(voices) == 1:
        return next(iter(voices))
    name = st.selectbox("Voice", voices, format_func=lambda name: voices[name].title, key="model", bind="query-params")
    st.caption(voices[name].about)
    return name


def start_loading(model: str) -> BackgroundTask:
    """Loads the weights in the background, once a process; again when their file has changed."""
    checkpoint = checkpoint_path(model)
    changed_at_ns = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
    loading = load_in_background(checkpoint, changed_at_ns)
    if loading.error:
        load_in_background.clear()  # the next run tries again: what was wrong may have been put right
    return loading


@st.cache_resource(max_entries=2, show_spinner=False)
def load_in_background(checkpoint: Path, changed_at_ns: int | None) -> BackgroundTask:
    def load(report: Report) -> object:
        report(0.0, "Warming up")
        time.sleep(HEAD_START_S)
        from kpop.generation.instrument import Instrument  # brings torch: the page must not wait for it

        return Instrument.load(checkpoint)

    return BackgroundTask(load)


def start_performance(loading: BackgroundTask, settings: Settings, own_clip: SeedClip | None) -> None:
    if "job" in st.session_state:
        st.session_state.job.cancel()
    st.session_state.job = BackgroundTask(partial(perform, loading, settings, own_clip))


def show_performance(performance: Performance | None) -> DeltaGenerator | None:
    """Shows the song, if there is one, and returns the place below it."""
    if not performance:
        st.html(WELCOME.format(bars=dancing_bars()))
        return None
    title = html.escape(performance.title)
    st.html(f'<h2 class="now" id="song">{title}</h2><p class="facts">{performance.facts}</p>')
    st.plotly_chart(performance.figure, config=STILL, key="spectrogram", alt=f"Spectrogram of {performance.title}")
    st.audio(performance.wav, alt=performance.title)
    st.download_button("Download WAV", performance.wav, performance.file_name, "audio/wav", on_click="ignore")
    return st.container()


def show_closeness(comparing: BackgroundTask[Closeness | None], place: DeltaGenerator) -> None:
    """How new the song is, and both moments to listen to, as soon as that is known; nothing where it cannot be."""
    progress = place.empty()
    while not comparing.wait(POLL_S):
        progress.caption("Comparing with the training music…")
    progress.empty()
    closeness = None if comparing.error else comparing.result()
    if not closeness:
        return
    place.caption(closeness.words)
    with place.expander("Hear both moments", icon=":material/compare_arrows:"):
        here, there = st.columns(2)
        here.caption("Here, in your song")
        here.audio(closeness.here)
        if closeness.there:
            there.caption("There, in the training song")
            there.audio(closeness.there)
        else:
            there.caption("The training song itself is not here.")


def dancing_bars() -> str:
    """Bars as on an old hi-fi, each swaying at its own moment."""
    chance = random.Random(4)
    bar = '<i style="height:{:.0f}%;--d:-{:.1f}s"></i>'
    return "".join(bar.format(chance.uniform(15, 95), chance.uniform(0, 5)) for _ in range(N_BARS))


def finish_performance(job: BackgroundTask[Performance], news: DeltaGenerator) -> None:
    """Shows the new song once it is there; until then, and if it fails, the old one stays."""
    if not follow(job, news):
        return
    st.session_state.performance = job.result()
    del st.session_state.job
    st.rerun()


def follow(task: BackgroundTask, news: DeltaGenerator) -> bool:
    """Progress until the task is done, then one sentence if it failed; True if it went well.

    A rerun cuts this short, and the next run comes back to it: the task itself goes on.
    """
    while not task.wait(POLL_S):
        if task.fraction:
            news.progress(task.fraction, task.words)
        else:
            news.caption(f"{task.words}…")
    if task.error:
        news.error(f"{task.error}", icon=":material/error:")
    return not task.error


page()
