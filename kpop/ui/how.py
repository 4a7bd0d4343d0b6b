"""How does it work: the stages of synthesis, with the figures of the song on the page."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from kpop.constants import FRAMES_PER_STEP, N_BINS, STEPS_PER_BEAT, STEPS_PER_S
from kpop.model_info import checkpoint_path, header
from kpop.settings import Settings
from kpop.ui.assets import clock

if TYPE_CHECKING:
    from kpop.ui.song import PageSong

STAGES = (  # icon of Material Symbols, name, what it does
    ("music_note", "Seed clip", "A few seconds of music to start from."),
    ("hearing", "Codec", "It writes the sound down: {n_codes} numbers every {step_ms:.0f} ms."),
    (
        "psychology",
        "LSTM",
        "It remembers what came before, samples the next step, and goes on from there.",
    ),
    ("equalizer", "Codec again", "It turns the numbers back into a spectrogram: loud and soft frequencies."),
    ("waves", "Phase", "A spectrogram has no waves: those that fit it best are found."),
    ("volume_up", "Sound", "It is made as loud as a produced song, and sent while the rest is still generated."),
)
TIMED_STAGES = {"seed": "seed", "sampler": "LSTM", "render": "codec and phase", "spectrogram": "spectrogram"}
INVITATION = "Press Generate, and the figures of your own song will stand here."
CARD = '<li><span class="how-icon" aria-hidden="true">{}</span><h4>{}</h4><p>{}</p>{}</li>'


def how_it_works(song: "PageSong | None", settings: Settings) -> None:
    """Cards with the figures of the song; before there is one, with those of the settings."""
    settings = song.settings if song else settings
    with st.container(key="how"):
        times = times_bar(song.stages_s) if song else f'<p class="how-invitation">{INVITATION}</p>'
        words = {0: "it always takes the likeliest step", 1: "it takes chances just as often as it has learnt to"}
        usual = f"likely steps count {'more' if settings.temperature < 1 else 'less'} than it has learnt"
        meaning = f"Temperature {settings.temperature:.2f}: {words.get(settings.temperature, usual)}."
        knobs = f'<p class="how-knobs">{meaning}</p>'
        st.html(f'<div class="how-room"><ol class="how">{cards(song, settings)}</ol>{times}{knobs}</div>')


def cards(song: "PageSong | None", settings: Settings) -> str:
    """HTML of the stages, each with its figure if that is known."""
    checkpoint = header(checkpoint_path(settings.model))
    lstm, rate = checkpoint.get("lstm"), checkpoint.get("info", {}).get("metronome_rate", 1)
    step_s = song.beat.beat_s / STEPS_PER_BEAT * rate if song else 1 / STEPS_PER_S
    n_codes = len(lstm["codebook_sizes"]) - lstm["n_labels"] if lstm else 0
    size = f"{lstm['n_layers']} layers of {lstm['hidden']} cells" if lstm else ""
    chance, length = f"{settings.randomness:.0%} of the seed left to chance", clock(settings.length_s)
    n_steps = _count_steps(settings.length_s, step_s)
    steps, pictures, made = [f"{n_steps:,} steps", size], f"{N_BINS} frequencies", f"{length} of it"
    codes = waves = ""
    if song:
        n_seed_steps = _count_steps(song.seed_end_s, step_s)
        lstm_s, sound_s = (song.stages_s.get(stage, 0) for stage in ("sampler", "render"))
        chance = f"{song.seed_end_s:.1f} s at {song.beat.tempo_bpm:.0f} BPM · {chance}"
        codes = f"{n_seed_steps * n_codes:,} codes for the seed" if n_codes else ""
        rate = f"{n_steps / lstm_s:,.0f} a second" if lstm_s else ""
        steps[1:1] = f"{n_steps - n_seed_steps:,} of them its own", rate
        pictures = f"{n_steps * FRAMES_PER_STEP:,} frames of {pictures}"
        waves = f"{sound_s:.2f} s for codec and phase" if sound_s else ""
        if song.taken_s:
            speed = f"{settings.length_s / song.taken_s:,.0f} times as fast as it plays"
            made = f"{length} made in {song.taken_s:.2f} s: {speed}"
    html = ""
    figures = chance, codes, " · ".join(filter(None, steps)), pictures, waves, made
    for (icon, name, text), figure in zip(STAGES, figures, strict=True):
        text = text.format(n_codes=n_codes or "a few", step_ms=1000 * step_s)
        html += CARD.format(icon, name, text, f'<p class="how-figure">{figure}</p>' if figure else "")
    return html


def _count_steps(length_s: float, step_s: float) -> int:
    """A step that has begun counts."""
    return math.ceil(length_s / step_s - 1e-6)


def times_bar(stages_s: dict[str, float]) -> str:
    """A stacked bar of the wall-clock time of each stage, with a legend."""
    times_s = {label: stages_s[stage] for stage, label in TIMED_STAGES.items() if stages_s.get(stage)}
    if not times_s:
        return ""
    bar = "".join(f'<i style="flex:{1000 * seconds:.0f}"></i>' for seconds in times_s.values())
    legend = "".join(f"<li><i></i>{label} {seconds:.2f} s</li>" for label, seconds in times_s.items())
    head = '<p class="how-head">Where the time went (stages overlap)</p>'
    return f'{head}<div class="how-bar" aria-hidden="true">{bar}</div><ul class="how-time">{legend}</ul>'
