"""What the same seed sounded like at ten moments of a model's training: from noise to music, to be heard and seen.

Hear it learn: ten moments of a voice's training, from noise to music.
"""

import json
import struct
import time
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from kpop.audio.io import wav_bytes
from kpop.constants import STEP_SAMPLES, STEPS_PER_S
from kpop.errors import KpopError
from kpop.model_info import BESIDE_A_MODEL, SUFFIX, checkpoint_path
from kpop.ui.assets import style
from kpop.ui.progress import POLL_S
from kpop.ui.tasks import BackgroundTask, Report, quiet_line, warming

if TYPE_CHECKING:
    from kpop.generation.pipeline import Pipeline


SNAPSHOTS_SUFFIX = BESIDE_A_MODEL[1]
CODES = "codes."  # and the training step: what a snapshot's tensor is called
N_COLUMNS, N_BANDS = 384, 96  # of each picture
N_SHADES = 64  # more cannot be told apart, and make the picture larger

_HERE = Path(__file__).parent / "static"
HTML, JS = ((_HERE / name).read_text(encoding="utf-8") for name in ("learning.html", "learning.js"))


@dataclass(frozen=True)
class Stop:
    """A moment of the training. step: how often the weights had been changed.

    minutes: of training by then; bits: what a step of songs it has never heard still cost; None where not known
    """

    step: int
    minutes: float | None
    bits: float | None


@dataclass(frozen=True)
class Lesson:
    """A training to be heard: its stops, each seconds long.

    wav: the stops' sounds, one after the other; picture: their spectrograms as a PNG, one above the other
    curve: (training step, bits a step of unheard songs), of the whole training; empty where not known
    """

    stops: tuple[Stop, ...]
    seconds: float
    wav: bytes
    picture: bytes
    curve: tuple[tuple[int, float], ...]

    def told(self) -> dict:
        """What the player in the browser is told: see learning.js. Along the axis each stop is as far as the next."""
        steps, places = [stop.step for stop in self.stops], range(len(self.stops))
        curve = [[float(np.interp(step, steps, places)), round(bits, 1)] for step, bits in self.curve]
        stops = [{"name": f"Step {stop.step:,}", "facts": _facts(stop)} for stop in self.stops]
        return {"stops": stops, "seconds": self.seconds, "curve": curve}


def snapshots_path(model: str) -> Path:
    """The file of a checkpoint's snapshots, there or not. model: as for checkpoint_path()."""
    path = checkpoint_path(model)
    return path.with_name(path.name.removesuffix(SUFFIX) + SNAPSHOTS_SUFFIX)


_lessons: dict[tuple[Path, int], BackgroundTask[Lesson]] = {}


def lesson(model: str) -> BackgroundTask[Lesson]:
    """The model's lesson, made once a process when there is time, and again if it failed before."""
    path = snapshots_path(model)
    key = path, path.stat().st_mtime_ns if path.exists() else 0
    known = _lessons.get(key)
    if known is None or known.error:
        _lessons[key] = BackgroundTask(partial(_learn, model), quiet_line())
    return _lessons[key]


def _learn(model: str, report: Report) -> Lesson:
    report(0.0, "Waiting for the voice")
    return make_lesson(warming().result().voices.get(model).result(), snapshots_path(model), report)


def make_lesson(pipeline: "Pipeline", path: Path, report: Report) -> Lesson:
    """Every snapshot, played on the pipeline. KpopError when the file is missing, damaged or another model's."""
    from kpop.audio.stft import log_mel_spectrogram  # scipy, torch and plotly: the page must not wait for them
    from kpop.ui.spectrogram import shrink

    snapshots = read_snapshots(path, pipeline.codec.config.flat_codebook_sizes)
    sounds, pictures = [], []
    for number, codes in enumerate(snapshots.values()):
        report(number / len(snapshots), "Bringing back how it sounded then")
        sounds.append(_sound(pipeline, codes))
        level_db = log_mel_spectrogram(sounds[-1], N_BANDS)
        pictures.append(shrink(level_db - level_db.max(), N_COLUMNS, N_BANDS).T[::-1])  # high notes on top
    bits, minutes = (_along_training(pipeline.info, key) for key in ("held_out", "minutes"))
    stops = tuple(Stop(step, _read(minutes, step, from_start=True), _read(bits, step)) for step in snapshots)
    seconds = len(codes) / STEPS_PER_S
    return Lesson(stops, seconds, wav_bytes(np.concatenate(sounds)), png(np.concatenate(pictures)), tuple(bits))


def read_snapshots(path: Path, codebook_sizes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Codes (n_steps, n_codes) int64 by training step, earliest first. codebook_sizes: how many values each code has."""
    from kpop.checkpoint import read_tensors

    tensors, metadata = read_tensors(path)
    try:
        steps = sorted(json.loads(metadata["steps"]))
        snapshots = {step: tensors[f"{CODES}{step}"].numpy().astype(np.int64) for step in steps}
        if len({codes.shape for codes in snapshots.values()}) != 1:
            raise ValueError("snapshots of different length")
        every = np.concatenate(list(snapshots.values()))
        if every.shape[1] != len(codebook_sizes) or (every < 0).any() or (every >= codebook_sizes).any():
            raise ValueError("codes of another model")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise KpopError(f"{path.name} does not belong to this voice: train it again to hear it learn.") from error
    return snapshots


def _sound(pipeline: "Pipeline", codes: np.ndarray) -> np.ndarray:
    """Waveform (n_steps * STEP_SAMPLES,) float32 at 16 kHz."""
    import torch

    from kpop.generation import pipeline
    from kpop.generation.session import one_thread

    with torch.inference_mode(), one_thread():
        log_magnitudes = pipeline.decode(pipeline.codec, codes)
        return pipeline.master(pipeline.sound(log_magnitudes, len(codes) * STEP_SAMPLES, seed=0))


def _along_training(info: dict, key: str) -> list[tuple[int, float]]:
    """(training step, value) of the LSTM's training, as its checkpoint remembers it."""
    return [(point["step"], point[key]) for point in info.get("lstm_curve", ()) if key in point]


def _read(curve: list[tuple[int, float]], step: int, from_start: bool = False) -> float | None:
    """The curve's value at a step; None where it does not reach. from_start: it begins with 0 at step 0."""
    points = [(0, 0.0), *curve] if from_start and curve else curve
    if not points or not points[0][0] <= step <= points[-1][0]:
        return None
    return float(np.interp(step, *zip(*points, strict=True)))


def _facts(stop: Stop) -> str:
    """A line about a moment of the training."""
    facts = []
    if stop.minutes is not None:
        minutes = round(stop.minutes)
        facts.append("before the first lesson" if stop.step == 0 else f"after {_counted(minutes)} of training")
    if stop.bits is not None:
        facts.append(f"{stop.bits:.0f} bits of surprise")
    return " · ".join(facts)


def _counted(minutes: int) -> str:
    return "less than a minute" if minutes < 1 else f"{minutes} minute{'s' if minutes > 1 else ''}"


def png(level_db: np.ndarray) -> bytes:
    """A PNG file (ISO/IEC 15948) in the page's colours of levels (height, width): dB, the picture's floor to 0."""
    from kpop.ui.spectrogram import FLOOR_DB

    height, width = level_db.shape
    indices = np.rint((1 - level_db / FLOOR_DB) * (N_SHADES - 1)).astype(np.uint8)
    rows = np.pad(indices, ((0, 0), (1, 0))).tobytes()  # (height, 1 + width): each begins with 0, "no filter"
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # eight bits a pixel, of a palette
    chunks = ((b"IHDR", header), (b"PLTE", _palette().tobytes()), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, chunks))


def _chunk(named: tuple[bytes, bytes]) -> bytes:
    name, content = named
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _palette() -> np.ndarray:
    """(N_SHADES, 3) uint8, the spectrogram's colours from dark to bright."""
    from kpop.ui.spectrogram import COLOURS

    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS])
    places = np.linspace(0, len(colours) - 1, N_SHADES)
    return np.stack([np.interp(places, range(len(colours)), column) for column in colours.T], 1).astype(np.uint8)


ASKED = "learning_asked"  # by this listener: what was asked for and when, by voice
INVITATION = (
    "The same dream at ten moments of the training. At first it knows nothing, and you hear noise; an hour later it "
    "plays in time and in tune. Move the slider while it plays."
)


def hear_it_learn(model: str) -> None:
    """The training of a voice, to be scrubbed through; nothing where no snapshots are beside it.

    Nothing is made before the listener asks, and then in the background. model: name of the checkpoint.
    """
    place = st.container(key="learning")
    if not snapshots_path(model).exists():
        return
    st.html(style("learning"))
    with place.expander("Hear it learn", icon=":material/school:"):
        st.markdown(INVITATION)
        task, asked_at_s = st.session_state.get(ASKED, {}).get(model, (None, None))
        with st.container(key="learning-lesson"):
            if task is None or task.error:
                _offer(model, task)
            elif not task.finished:
                _wait(task)
            else:
                _show(task.result(), asked_at_s)


def _offer(model: str, failed: BackgroundTask[Lesson] | None) -> None:
    if failed:
        st.error(f"{failed.error}", icon=":material/music_off:")
    st.button("Play it from the beginning", icon=":material/play_arrow:", on_click=_ask, args=(model,))


def _ask(model: str) -> None:
    st.session_state.setdefault(ASKED, {})[model] = lesson(model), time.time()


@st.fragment(run_every=POLL_S)
def _wait(task: BackgroundTask[Lesson]) -> None:
    if task.finished:
        st.rerun()
    st.progress(task.fraction, f"{task.words}…")


def _show(shown: Lesson, asked_at_s: float) -> None:
    """The sounds and pictures, hidden, and the player that finds them there: nothing of it needs another run."""
    st.container(key="learning-sound").audio(shown.wav)
    st.container(key="learning-picture").image(shown.picture)
    player = st.components.v2.component("hear_it_learn", html=HTML, js=JS, isolate_styles=False)
    player(key="learning-player", data=shown.told() | {"begin": asked_at_s})
