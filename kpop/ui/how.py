"""The path of sound, and what was measured along it in one song.

How does it work: the path of sound, with the figures of the song on the page.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from kpop.constants import FRAMES_PER_STEP, N_BINS, SAMPLE_RATE_HZ, STEPS_PER_BEAT, STEPS_PER_S
from kpop.lstm.model import LstmConfig
from kpop.model_info import checkpoint_path
from kpop.settings import GeneratedSong, Settings
from kpop.ui.assets import style

if TYPE_CHECKING:
    from kpop.ui.song import RenderedSong


@dataclass(frozen=True)
class SongFigures:
    """What is worth telling of how a song was made, without its sound.

    length_s: of the song; seed_end_s: where its seed ends; tempo_bpm: beats a minute
    step_s: how long each step of the LSTM sounds; n_steps: of them, the seed's n_seed_steps included
    taken_s: from the beginning to the finished song. stages_s: how long each kind of work took (keys as in
        GeneratedSong.seconds_taken); they overlap, so their sum may be more than taken_s
    """

    settings: Settings
    length_s: float
    seed_end_s: float
    tempo_bpm: float
    step_s: float
    n_steps: int
    n_seed_steps: int
    taken_s: float
    stages_s: dict[str, float]

    @property
    def n_own_steps(self) -> int:
        """Steps that the machine has dreamt up alone."""
        return self.n_steps - self.n_seed_steps

    @property
    def n_frames(self) -> int:
        """Frames of spectrum that its sound was made from."""
        return self.n_steps * FRAMES_PER_STEP

    @property
    def steps_per_s(self) -> float | None:
        """Steps of the LSTM in a second of its work; None if that was not timed."""
        dream_s = self.stages_s.get("dream", 0.0)
        return self.n_steps / dream_s if dream_s > 0 else None

    @property
    def times_real_time(self) -> float | None:
        """How many times faster than it plays the song was made; None if that was not timed."""
        return self.length_s / self.taken_s if self.taken_s > 0 else None


def figures_of(song: GeneratedSong) -> SongFigures:
    """What was measured while the song was made."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    step_s = song.beat.beat_s / STEPS_PER_BEAT * metronome_rate(song.settings.model)
    return SongFigures(
        settings=song.settings,
        length_s=length_s,
        seed_end_s=song.seed_end_s,
        tempo_bpm=song.beat.tempo_bpm,
        step_s=step_s,
        n_steps=steps_of(length_s, step_s),
        n_seed_steps=steps_of(song.seed_end_s, step_s),
        taken_s=song.taken_s,
        stages_s=dict(song.seconds_taken),
    )


def steps_of(length_s: float, step_s: float = 1 / STEPS_PER_S) -> int:
    """Steps of the LSTM that so much of a song takes; one that has begun counts."""
    return math.ceil(length_s / step_s - 1e-6)


def shape_of(model: str) -> LstmConfig | None:
    """The shape of a voice's LSTM; None where that cannot be read."""
    try:
        return LstmConfig(**_told(model)["lstm"])
    except (KeyError, TypeError):
        return None


def metronome_rate(model: str) -> float:
    """Slots of the metronome a step of the LSTM, in the tempo that the voice was trained at."""
    return _told(model).get("info", {}).get("metronome_rate", 1.0)


def _told(model: str) -> dict[str, dict]:
    """What a checkpoint says of itself, from its header alone; nothing where there is no readable one."""
    path = checkpoint_path(model)
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=16)
def _read(path: Path, _changed_ns: int) -> dict[str, dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        return {key: json.loads(metadata[key]) for key in ("lstm", "info") if key in metadata}
    except (SafetensorError, OSError, ValueError):
        return {}


ICONS = {  # names in Material Symbols, the font of Streamlit's own icons
    "Seed clip": "music_note",
    "Codec listens": "hearing",
    "LSTM dreams": "psychology",
    "Codec paints": "equalizer",
    "Phase": "waves",
    "Sound": "volume_up",
}
WORK = {"seed": "seed", "dream": "LSTM", "sound": "codec and phase", "master": "mastering"}
INVITATION = "Press Generate, and the figures of your own song will stand here."
LIKELIEST, AS_LEARNT = 0.0, 1.0


@dataclass(frozen=True)
class Stage:
    """A stage of the path. what: what happens there, in one sentence; figure: of this song, or of the one to come."""

    name: str
    what: str
    figure: str


def how_it_works(performance: "RenderedSong | None", settings: Settings) -> None:
    """The path of sound with this song's figures; before there is a song, what would be done with these settings."""
    st.html(style("how"))
    figures = performance.song_figures if performance else None
    settings = figures.settings if figures else settings
    with st.container(key="how"), st.expander("How does it work?", icon=":material/route:"):
        path = "".join(map(_card, stages(figures, settings, shape_of(settings.model))))
        told = _time(figures) if figures else f'<p class="how-invitation">{INVITATION}</p>'
        st.html(
            f'<div class="how-room"><ol class="how">{path}</ol>{told}<p class="how-knobs">{knobs(settings)}</p></div>'
        )


def stages(figures: SongFigures | None, settings: Settings, shape: LstmConfig | None) -> tuple[Stage, ...]:
    """The six stages. figures: None before there is a song; shape: None where the voice does not tell it."""
    chance = f"{settings.randomness:.0%} of the seed left to chance"
    n_codes = shape.n_codebooks - shape.n_labels if shape else None
    numbers = f"{n_codes} numbers" if n_codes else "a few numbers"
    memory = f"{shape.n_layers} layers of {shape.hidden} cells" if shape else ""
    n_steps = figures.n_steps if figures else steps_of(settings.length_s)
    pace = f"{figures.steps_per_s:,.0f} a second" if figures and figures.steps_per_s else ""
    seed = f"{figures.seed_end_s:.1f} s at {figures.tempo_bpm:.0f} BPM" if figures else ""
    step_ms = 1000 * (figures.step_s if figures else 1 / STEPS_PER_S)
    codes = f"{figures.n_seed_steps * n_codes:,} codes for the seed" if figures and n_codes else ""
    own = f"{figures.n_own_steps:,} of them its own" if figures else ""
    frames = f"{figures.n_frames:,} pictures of {N_BINS} frequencies" if figures else f"{N_BINS} frequencies"
    return (
        Stage("Seed clip", "A few seconds of music to start from.", _joined(seed, chance)),
        Stage("Codec listens", f"It writes the sound down: {numbers} every {step_ms:.0f} ms.", codes),
        Stage(
            "LSTM dreams",
            "It remembers what came before, guesses the next step, and goes on from its own guess.",
            _joined(f"{n_steps:,} steps", own, pace, memory),
        ),
        Stage("Codec paints", "It turns the numbers back into a picture of loud and soft frequencies.", frames),
        Stage("Phase", "A picture has no waves: those that fit it best are found.", _seconds(figures, "sound")),
        Stage(
            "Sound",
            "It is set as loud as a produced song, and sent while the rest is still dreamt.",
            _speed(figures, settings),
        ),
    )


def knobs(settings: Settings) -> str:
    """What this temperature means, in a sentence."""
    temperature = settings.temperature
    if temperature == LIKELIEST:
        meaning = "it always takes the likeliest step"
    elif temperature == AS_LEARNT:
        meaning = "it takes chances just as often as it has learnt to"
    else:
        meaning = f"likely steps count {'more' if temperature < AS_LEARNT else 'less'} than it has learnt"
    return f"Temperature {temperature:.2f}: {meaning}."


def _seconds(figures: SongFigures | None, work: str) -> str:
    took_s = figures.stages_s.get(work, 0.0) if figures else 0.0
    return f"{took_s:.2f} s for picture and waves" if took_s > 0 else ""


def _speed(figures: SongFigures | None, settings: Settings) -> str:
    if not figures:
        return f"{settings.length_s:.0f} s of it"
    if not figures.times_real_time:
        return f"{figures.length_s:.0f} s of it"
    faster = f"{figures.times_real_time:,.0f} times as fast as it plays"
    return f"{figures.length_s:.0f} s made in {figures.taken_s:.2f} s: {faster}"


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _card(stage: Stage) -> str:
    icon = f'<span class="how-icon" aria-hidden="true">{ICONS[stage.name]}</span>'
    figure = f'<p class="how-figure">{stage.figure}</p>' if stage.figure else ""
    return f"<li>{icon}<h4>{stage.name}</h4><p>{stage.what}</p>{figure}</li>"


def _time(figures: SongFigures) -> str:
    """Where the time went, as a bar in parts and in words."""
    timed = {WORK[work]: seconds for work, seconds in figures.stages_s.items() if work in WORK and seconds > 0}
    if not timed:
        return ""
    bar = "".join(f'<i style="flex:{1000 * seconds:.0f}"></i>' for seconds in timed.values())
    words = "".join(f"<li><i></i>{work} {seconds:.2f} s</li>" for work, seconds in timed.items())
    return (
        f'<p class="how-head">Where the time went (stages overlap)</p>'
        f'<div class="how-bar" aria-hidden="true">{bar}</div><ul class="how-time">{words}</ul>'
    )
