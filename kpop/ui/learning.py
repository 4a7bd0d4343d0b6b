"""Hear it learn: the same seed continued by a model at ten moments of its training, as tracks of one player."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from kpop.audio.io import pcm_bytes
from kpop.constants import SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.engine import PcmBuffer, get_engine
from kpop.errors import KpopError
from kpop.model_info import snapshots_path
from kpop.server import SongFile
from kpop.ui.player import show_player
from kpop.ui.tasks import POLL_S, BackgroundTask, Report

if TYPE_CHECKING:
    from kpop.generation.pipeline import Pipeline

TOKENS = "codes."  # name of a snapshot's tensor, followed by the training step
N_COLUMNS = 384  # of each picture
TOUR_S = 3.84  # two bars of each moment
REQUESTED = "learning_requested"  # key of session state: task by model
INVITATION = (
    "The same dream at ten moments of the training. At first it knows nothing, and you hear noise; an hour later it "
    "plays in time and in tune. Move the slider while it plays."
)
CURVE = """<p class="facts">How much new songs surprise it</p>
<div class="learning-curve" style="clip-path: polygon({points}, 100% 100%)"></div>"""


@dataclass(frozen=True, eq=False)
class Moment:
    """A moment of the training. minutes: of training until then, None if unknown; bits: cross-entropy of a step of
    held-out songs, None if unknown; file: the sound; image: its spectrogram, a data: URI."""

    step: int
    minutes: float | None
    bits: float | None
    file: SongFile
    image: str

    @property
    def facts(self) -> str:
        """A line for the listener."""
        facts = []
        if self.minutes is not None:
            n = round(self.minutes)
            spent = "less than a minute" if n < 1 else f"{n} minute{'s' if n > 1 else ''}"
            facts.append("before the first lesson" if self.step == 0 else f"after {spent} of training")
        if self.bits is not None:
            facts.append(f"{self.bits:.0f} bits of surprise")
        return " · ".join(facts)


@dataclass(frozen=True, eq=False)
class Training:
    """moments: earliest first; curve: (training step, bits as in Moment), empty if unknown."""

    moments: tuple[Moment, ...]
    curve: tuple[tuple[int, float], ...]


_trainings: dict[tuple[Path, int], BackgroundTask[Training]] = {}


def training(model: str) -> BackgroundTask[Training]:
    """The model's training, decoded once a process when the processor is idle, and again if that has failed."""
    path = snapshots_path(model)
    key = path, path.stat().st_mtime_ns if path.exists() else 0
    if key not in _trainings or _trainings[key].error:
        _trainings[key] = BackgroundTask(partial(_decode, model), idle=True)
    return _trainings[key]


def _decode(model: str, report: Report) -> Training:
    report(0.0, "Waiting for the voice")
    return decode_training(get_engine().pipelines.get(model).result(), snapshots_path(model), report)


def decode_training(pipeline: "Pipeline", path: Path, report: Report) -> Training:
    """Decode every snapshot. Raises KpopError if the file is missing, damaged or another model's."""
    snapshots = read_snapshots(path, pipeline.codec.config.flat_codebook_sizes)
    curves = {
        key: [(point["step"], point[key]) for point in pipeline.info.get("lstm_curve", ()) if key in point]
        for key in ("minutes", "held_out")
    }
    minutes = [(0, 0.0), *curves["minutes"]] if curves["minutes"] else []
    moments = []
    for step, tokens in snapshots.items():
        report(len(moments) / len(snapshots), "Bringing back how it sounded then")
        known = _interpolate(minutes, step), _interpolate(curves["held_out"], step)
        moments.append(Moment(step, *known, *_sound_and_image(pipeline, step, tokens)))
    return Training(tuple(moments), tuple(curves["held_out"]))


def read_snapshots(path: Path, codebook_sizes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Tokens (n_steps, n_codebooks) int64 by training step, earliest first."""
    from kpop.checkpoint import read_tensors

    tensors, metadata = read_tensors(path)
    try:
        steps = sorted(json.loads(metadata["steps"]))
        snapshots = {step: tensors[f"{TOKENS}{step}"].numpy().astype(np.int64) for step in steps}
        tokens = np.stack(list(snapshots.values()))  # ValueError if they differ in length
        if tokens.shape[2] != len(codebook_sizes) or (tokens < 0).any() or (tokens >= codebook_sizes).any():
            raise ValueError("tokens of another model")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise KpopError(f"{path.name} does not belong to this voice: train it again to hear it learn.") from error
    return snapshots


def _sound_and_image(pipeline: "Pipeline", step: int, tokens: np.ndarray) -> tuple[SongFile, str]:
    import torch  # these imports are slow: the page must not wait for them

    from kpop.audio.loudness import normalise
    from kpop.audio.stft import log_mel_spectrogram
    from kpop.generation.pipeline import decode, invert
    from kpop.generation.session import single_thread
    from kpop.ui.growth import png_uri
    from kpop.ui.spectrogram import N_BANDS, shrink

    with torch.inference_mode(), single_thread():
        waveform = invert(decode(pipeline.codec, tokens), len(tokens) * STEP_SAMPLES, seed=0)
        waveform = normalise(waveform)
    pcm = PcmBuffer(len(waveform))
    pcm.append(pcm_bytes(waveform), last=True)
    level_db = log_mel_spectrogram(waveform, N_BANDS)
    image = png_uri(shrink(level_db - level_db.max(), N_COLUMNS))
    return SongFile(pcm, f"twice4life-step-{step}.wav", {"INAM": f"Step {step:,}"}, lambda: None), image


def _interpolate(curve: list[tuple[int, float]], step: int) -> float | None:
    """The curve's value at a step; None outside its range."""
    if not curve or not curve[0][0] <= step <= curve[-1][0]:
        return None
    return float(np.interp(step, *zip(*curve, strict=True)))


def hear_it_learn(model: str, base_path: str) -> None:
    """The training of a model, decoded when the listener requests it; nothing for a model without snapshots."""
    if not snapshots_path(model).exists():
        return
    with st.expander("Hear it learn", icon=":material/school:"), st.container(key="learning"):
        st.markdown(INVITATION)
        task = st.session_state.get(REQUESTED, {}).get(model)
        if task is None or task.error:
            if task:
                st.error(f"{task.error}", icon=":material/music_off:")
            label, icon = "Play it from the beginning", ":material/play_arrow:"
            st.button(label, icon=icon, on_click=_request, args=(model,))
        elif not task.finished:
            _wait(task)
        else:
            show_training(task.result(), base_path)


def _request(model: str) -> None:
    st.session_state.setdefault(REQUESTED, {})[model] = training(model)


@st.fragment(run_every=POLL_S)
def _wait(task: BackgroundTask[Training]) -> None:
    if task.finished:
        st.rerun()
    st.progress(task.fraction, f"{task.status}…")


def show_training(shown: Training, base_path: str) -> None:
    """The curve of the training, and the player, whose slider chooses the moment."""
    if shown.curve:
        st.html(CURVE.format(points=curve_points(shown)))
    tracks = [
        {
            "url": moment.file.url(base_path),
            "title": f"Step {moment.step:,}",
            "facts": moment.facts,
            "length_s": moment.file.pcm.n_samples / SAMPLE_RATE_HZ,
            "image": moment.image,
        }
        for moment in shown.moments
    ]
    show_player(key="learning-player", data=[{"tracks": tracks, "play": tracks[0]["url"], "tour_s": TOUR_S}])


def curve_points(shown: Training) -> str:
    """CSS points of an area below the curve; the moments are equally far apart."""
    steps, bits = zip(*shown.curve, strict=True)
    x = np.interp(steps, [moment.step for moment in shown.moments], np.linspace(0, 100, len(shown.moments)))
    y = np.interp(bits, (min(bits), max(bits)), (94, 6))
    return f"{x[0]:.1f}% 100%, " + ", ".join(f"{a:.1f}% {b:.1f}%" for a, b in zip(x, y, strict=True))
