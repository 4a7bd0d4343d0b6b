"""Twice4Life: the page, and the server of its sound. Run with `streamlit run app.py`."""

import html
import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.errors import KpopError
from kpop.generation.checkpoints import available_models, voice
from kpop.generation.clips import SeedClip, built_in_clips, clip_from_file
from kpop.generation.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.serve.audience import audience
from kpop.serve.lifespan import is_served, lifespan
from kpop.serve.live import live_route, state_route
from kpop.show import player
from kpop.show.background import BackgroundTask
from kpop.show.closeness import Closeness
from kpop.show.visit import Visit
from kpop.show.warming import engine_state, find_job, warming

if TYPE_CHECKING:
    from kpop.engine.job import Job
    from kpop.engine.voices import Loading

DEFAULTS = Settings()
LOOKS = Path(__file__).parent / ".streamlit"
AUDIO_TYPES = ("wav", "flac", "ogg", "mp3")
MAX_UPLOAD_MB = 20
DICE_SIDES = 10_000
MAX_SEED_NUMBER = 2**32 - 1
POLL_S = 0.25
N_BARS = 36
STILL = {"displayModeBar": False, "scrollZoom": False}  # a picture to point at, which lets a finger scroll past
QUIET = {"on_change": "ignore", "bind": "query-params"}  # no rerun while tweaking; the address remembers the wishes


def page() -> None:
    st.set_page_config("Twice4Life", page_icon=str(LOOKS / "icon.svg"), layout="wide")
    st.html(LOOKS / "page.css")
    st.html('<h1 class="wordmark">twice<b>4</b>life</h1><p class="tagline">K-pop that never existed, until now.</p>')
    wishes, stage = st.columns([5, 8], gap="large")
    live = stage.container(key="live")
    with wishes:
        settings, own_clip, endless = choose_settings()
        pressed = st.button("Generate", type="primary", width="stretch", icon=":material/auto_awesome:")
        news = st.empty()
    visit = st.session_state.setdefault("visit", Visit())
    if pressed:
        visit.wish(settings, own_clip, endless)
    warmed = warming()
    asked = warmed.finished and not warmed.error and visit.ask(warmed.result(), base_path())
    if asked:
        if is_served():
            audience().expect(visit.job)  # it may be done before its listener is there
        show_live(visit, live)  # before all else: its sound is on the way already
    with stage:
        place = show_performance(visit)
    if not asked:
        show_live(visit, live)  # after the song's own player, which may have to take over
    follow_up(visit, settings.model, place, news)


def show_live(visit: Visit, live: DeltaGenerator) -> None:
    """The live player, on every run at the same place: taken away, it would fall silent."""
    if is_served():
        with live:
            parts = {"html": player.HTML, "css": player.CSS, "js": player.JS, "isolate_styles": False}
            st.components.v2.component("live_player", **parts)(key="player", data=visit.live)


def follow_up(visit: Visit, model: str, place: DeltaGenerator | None, news: DeltaGenerator) -> None:
    """What comes after the page is drawn: waiting, with news for whoever waits."""
    comparing = visit.performance and visit.performance.closeness
    known = comparing and comparing.finished
    if known:
        show_closeness(comparing, place)
    if visit.sentence:
        news.error(visit.sentence, icon=":material/error:")
        visit.sentence = None
    elif performing := visit.performing:
        follow(performing, visit.job or performing, visit, news)
        let_a_rerun_in()
        visit.end_waiting(performing)
        st.rerun()
    elif visit.job:
        follow_endless(visit, news)
    elif warm_up(visit, model, news) and visit.performance:
        news.html('<a class="jump" href="#song">Your song is ready &darr;</a>')
    if comparing and not known:
        show_closeness(comparing, place)


def warm_up(visit: Visit, model: str, news: DeltaGenerator) -> bool:
    """Waits for the engine, which a wish may wait for as well, and the voice; True once they are there."""
    warmed = warming()
    follow(warmed, warmed, visit, news)
    if visit.wishes and not warmed.error:
        st.rerun()
    loading = warmed if warmed.error else warmed.result().voices.get(model)
    follow(loading, loading, visit, news)
    if loading.error:
        news.error(f"{loading.error}", icon=":material/error:")
    return not loading.error


def choose_settings() -> tuple[Settings, SeedClip | None, bool]:
    """The settings, the listener's own clip, and whether the song is never to end."""
    built_in_name, own_clip = choose_clip()
    randomness = slider("Seed randomness", "Kevin’s memory", "pure chance", "randomness", RANDOMNESS_RANGE, "%.2f")
    length_s, endless = choose_length()
    settings = Settings(
        randomness=randomness,
        length_s=length_s,
        temperature=slider("Temperature", "safe", "wild", "temperature", TEMPERATURE_RANGE, "%.2f"),
        seed_number=choose_seed_number(),
        clip=own_clip.name if own_clip else built_in_name,
        model=choose_model(),
    )
    return settings, own_clip, endless


def choose_length() -> tuple[float, bool]:
    """Seconds, and whether the song is never to end, which only a page that sends sound as it is made can offer."""
    length = st.container()
    endless = is_served() and st.toggle("Endless – the machine just goes on", key="endless", bind="query-params")
    with length:
        return slider("Length", "a hook", "a whole song", "length_s", LENGTH_RANGE_S, "%d s", 1.0, endless), endless


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
        read = st.cache_data(read_clip, max_entries=8, show_spinner="Listening to your file…")
        clip = read(file, file.file_id)
    except KpopError as error:
        st.error(f"{error}", icon=":material/music_off:")
        st.caption("Until then, your song starts from the seed clip above.")
        return None
    st.caption("Your song starts from this file.")
    return clip


def read_clip(_file: BinaryIO, file_id: str) -> SeedClip:
    """Read once: file_id tells files apart, and the leading underscore keeps Streamlit from hashing the content."""
    return clip_from_file(_file, _file.name)


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
    value = st.slider(label, *span, getattr(DEFAULTS, key), step, shape, key=key, disabled=disabled, **QUIET)
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


def show_performance(visit: Visit) -> DeltaGenerator | None:
    """Shows the song, if there is one, and returns the place below it."""
    performance = visit.performance
    if not performance:
        place = st.empty()
        if not visit.live or not is_served():
            welcome = (LOOKS / "welcome.html").read_text(encoding="utf-8")
            place.html(welcome.format(bars=dancing_bars()))
        return None
    title = html.escape(performance.title)
    st.html(f'<h2 class="now" id="song">{title}</h2><p class="facts">{performance.facts}</p>')
    st.plotly_chart(performance.figure, config=STILL, key="spectrogram", alt=f"Spectrogram of {performance.title}")
    st.container(key="song").audio(performance.wav, alt=performance.title)
    st.download_button("Download WAV", performance.wav, performance.file_name, "audio/wav", on_click="ignore")
    return st.container()


def show_closeness(comparing: BackgroundTask[Closeness | None], place: DeltaGenerator) -> None:
    """How new the song is, and both moments to listen to, as soon as that is known; nothing where it cannot be."""
    progress = place.empty()
    if not comparing.finished:
        progress.caption("Comparing with the training music…")
    while not comparing.wait(POLL_S):
        let_a_rerun_in()
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


def follow_endless(visit: Visit, news: DeltaGenerator) -> None:
    """News until the first notes of a song that never ends; the rest is between the live player and the engine."""
    job, told = visit.job, None
    while not job.finished and not job.pieces(0):
        told = tell(job, visit, news, told)
        job.wait(POLL_S)
        let_a_rerun_in()
    news.empty()
    if job.error and not job.cancelled:
        visit.live = None
        news.error(f"{job.error}", icon=":material/error:")


def follow(
    task: "BackgroundTask | Loading", teller: "BackgroundTask | Loading | Job", visit: Visit, news: DeltaGenerator
) -> None:
    """Progress, as the teller has it, until the task is done.

    A rerun cuts this short, and the next run comes back to it: the task itself goes on.
    """
    told = None
    while not task.wait(POLL_S):
        told = tell(teller, visit, news, told)
        let_a_rerun_in()
    if told:
        news.empty()


def tell(
    teller: "BackgroundTask | Loading | Job", visit: Visit, news: DeltaGenerator, told: tuple | None
) -> tuple[str, int]:
    """Sends what is going on, if that is something new: many listeners may be waiting. Returns what was told."""
    live = is_served() and visit.live
    now = (teller.words, 0 if live else round(100 * teller.fraction))
    if now == told:
        return told
    words = html.escape(teller.words)
    if live:
        news.html(f'<p class="live-news">{words}…</p>')  # the live player shows it, and its own progress
    elif teller.fraction:
        news.progress(teller.fraction, words)
    else:
        news.caption(f"{words}…")
    return now


def let_a_rerun_in() -> None:
    """Streamlit ends a run that is out of date only when it is spoken to."""
    st.session_state.get("visit")


def base_path() -> str:
    """Where the page lives on its server: "" for the root."""
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def address() -> str | None:
    """Of the page, for the listener's browser; None where there is no screen."""
    if st.get_option("server.headless"):
        return None
    return f"http://localhost:{st.get_option('server.port')}{base_path()}"


if __name__ == "__main__":
    page()
else:  # `streamlit run` finds this by reading, and serves it; the page itself it runs for each visitor, as above
    routes = [state_route(engine_state, base_path()), live_route(find_job, audience(), base_path())]
    app = st.App(Path(__file__), routes=routes, lifespan=lifespan(audience(), address))
