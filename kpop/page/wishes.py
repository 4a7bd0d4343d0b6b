"""What a listener chooses: every widget's key is the field of Settings that it sets."""

import secrets
from dataclasses import asdict, fields
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kpop.generation.checkpoints import available_models, voice
from kpop.generation.clips import SeedClip
from kpop.generation.settings import LENGTH_RANGE_S, RANDOMNESS_RANGE, TEMPERATURE_RANGE, Settings
from kpop.generation.titles import song_title
from kpop.page.clip_picker import choose_clip
from kpop.page.own_clip import choose_own_clip, own_clip_now
from kpop.page.wishing import the_visit
from kpop.serve.lifespan import is_served
from kpop.show.links import arrived_by_link, wanted

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
        the_visit().sent = song_title(wishes)
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
    visit, choice = the_visit(), _chosen()
    if any(song.settings == choice.settings and song.own_clip is choice.own_clip for song in visit.performances):
        roll_dice()
        choice = _chosen()
    visit.wish(*choice)


def take_four() -> None:
    """Asks for four of it. For callbacks."""
    choice = _chosen()
    the_visit().wish_takes(choice.settings, choice.own_clip)


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
    name = st.selectbox("Voice", voices, format_func=lambda name: voices[name].title, key="model", bind="query-params")
    st.caption(voices[name].about)
    return name
