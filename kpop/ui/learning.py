"""Hear it learn: the same seed continued by a model at ten moments of its training, as tracks of one player."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import streamlit as st

from kpop.audio.io import pcm_bytes
from kpop.constants import SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.engine import PcmBuffer, get_engine
from kpop.errors import KpopError
from kpop.model_info import snapshots_path
from kpop.server import SongFile
from kpop.ui.assets import base_path
from kpop.ui.player import show_player
from kpop.ui.tasks import POLL_S, BackgroundTask, Report

if TYPE_CHECKING:
    from kpop.generation.pipeline import Pipeline

TOKENS = "codes."  # name of a snapshot's tensor, followed by the training step
N_COLUMNS = 384  # of each picture
TOUR_S = 3.84  # two bars of each moment
INVITATION = (
    "The same song at ten moments of the training. At first the model knows nothing, and you hear noise; in the end it "
    "plays in time and in tune. Move the slider while it plays."
)
CURVE = """<p class="facts">How much new songs surprise it</p>
<div class="learning-curve" style="clip-path: polygon({points}, 100% 100%)"></div>"""

Curve = Sequence[dict[str, float]]  # step, minutes since the start, held_out: cross-entropy of a step in bits


class Moment(NamedTuple):
    """A moment of the training. facts: a line for the listener; image: spectrogram of the sound, a data: URI."""

    step: int
    facts: str
    file: SongFile
    image: str


class Training(NamedTuple):
    """moments: earliest first; curve: as in the checkpoint's header, empty if unknown."""

    moments: list[Moment]
    curve: Curve


@cache
def training(model: str) -> BackgroundTask[Training]:
    """The model's training, decoded once a process when the processor is idle."""

    def work(report: Report) -> Training:
        report(0.0, "Waiting for the voice")
        return decode_training(get_engine().pipelines.get(model).result(), snapshots_path(model), report)

    return BackgroundTask(work, idle=True)


def decode_training(pipeline: "Pipeline", path: Path, report: Report) -> Training:
    """Decode every snapshot. Raises KpopError if the file is missing, damaged or another model's."""
    import torch  # these imports are slow: the page must not wait for them

    from kpop.audio.loudness import normalise
    from kpop.audio.stft import log_mel_spectrogram
    from kpop.generation.pipeline import decode, invert
    from kpop.generation.session import single_thread
    from kpop.ui.spectrogram import N_BANDS, png_uri, shrink

    snapshots = read_snapshots(path, pipeline.codec.config.flat_codebook_sizes)
    curve, moments = pipeline.info.get("lstm_curve", ()), []
    for step, tokens in snapshots.items():
        report(len(moments) / len(snapshots), "Bringing back how it sounded then")
        with torch.inference_mode(), single_thread():
            waveform = normalise(invert(decode(pipeline.codec, tokens), len(tokens) * STEP_SAMPLES, seed=0))
        pcm = PcmBuffer(len(waveform))
        pcm.append(pcm_bytes(waveform), last=True)
        file = SongFile(pcm, f"twice4life-step-{step}.wav", {"INAM": f"Step {step:,}"}, lambda: None)
        level_db = log_mel_spectrogram(waveform, N_BANDS)
        image = png_uri(shrink(level_db - level_db.max(), N_COLUMNS))
        moments.append(Moment(step, moment_facts(curve, step), file, image))
    return Training(moments, curve)


def read_snapshots(path: Path, codebook_sizes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Tokens (n_steps, n_codebooks) int64 by training step, earliest first."""
    from kpop.checkpoint import read_tensors

    tensors, metadata = read_tensors(path)
    try:
        steps = sorted(json.loads(metadata["steps"]))
        tokens = np.stack([tensors[f"{TOKENS}{step}"].numpy() for step in steps]).astype(np.int64)
        if tokens.shape[2] != len(codebook_sizes) or (tokens < 0).any() or (tokens >= codebook_sizes).any():
            raise ValueError("tokens of another model")
    except (KeyError, TypeError, ValueError, IndexError) as error:  # also if they differ in length
        raise KpopError(f"{path.name} does not belong to this voice: train it again to hear it learn.") from error
    return dict(zip(steps, tokens, strict=True))


def moment_facts(curve: Curve, step: int) -> str:
    """A line for the listener, interpolated in the curve; a figure that lies outside it is left out."""
    steps, minutes, bits = ([point[key] for point in curve] for key in ("step", "minutes", "held_out"))
    if not steps or step > steps[-1]:
        return ""
    n_minutes = round(np.interp(step, [0, *steps], [0, *minutes]))
    spent = f"{n_minutes} minute{'s' if n_minutes > 1 else ''}" if n_minutes else "less than a minute"
    facts = f"after {spent} of training" if step else "before the first lesson"
    return f"{facts} · {np.interp(step, steps, bits):.0f} bits of surprise" if step >= steps[0] else facts


def hear_it_learn(model: str) -> None:
    """The training of a model that has snapshots, decoded when the listener requests it."""
    requested = st.session_state.setdefault("learning_requested", {})  # tasks by model
    with st.container(key="learning"):
        st.markdown(INVITATION)
        task = requested.get(model)
        if task and task.error:
            st.error(f"{task.error}", icon=":material/music_off:")
        if not task or task.error:
            if st.button("Play it from the beginning", icon=":material/play_arrow:"):
                if task:
                    training.cache_clear()  # another try
                requested[model] = training(model)
                st.rerun()
        elif not task.finished:
            show_progress(task)
        else:
            show_training(task.result())


@st.fragment(run_every=POLL_S)
def show_progress(task: BackgroundTask[Training]) -> None:
    if task.finished:
        st.rerun()
    st.progress(task.fraction, f"{task.status}…")


def show_training(shown: Training) -> None:
    """The curve of the training, and the player, whose slider chooses the moment."""
    if shown.curve:
        st.html(CURVE.format(points=curve_points(shown)))
    tracks = [
        {"url": moment.file.url(base_path()), "title": f"Step {moment.step:,}", "facts": moment.facts}
        | {"length_s": moment.file.pcm.n_samples / SAMPLE_RATE_HZ, "image": moment.image}
        for moment in shown.moments
    ]
    show_player(key="learning-player", data=[{"tracks": tracks, "play": tracks[0]["url"], "tour_s": TOUR_S}])


def curve_points(shown: Training) -> str:
    """CSS points of an area below the curve; the moments are equally far apart."""
    steps, bits = ([point[key] for point in shown.curve] for key in ("step", "held_out"))
    x = np.interp(steps, [moment.step for moment in shown.moments], np.linspace(0, 100, len(shown.moments)))
    y = np.interp(bits, (min(bits), max(bits)), (94, 6))
    return f"{x[0]:.1f}% 100%, " + ", ".join(f"{a:.1f}% {b:.1f}%" for a, b in zip(x, y, strict=True))
