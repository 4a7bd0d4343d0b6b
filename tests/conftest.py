"""A tiny model, trained once for all tests, sounds that the tests make themselves, and a browser to visit the page."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import LAPTOP, Visit, launched, serve

from kpop.codec.model import CodecConfig
from kpop.constants import CLIP_SAMPLES, N_BINS, SAMPLE_RATE_HZ
from kpop.engine import Engine, Job
from kpop.generation.clips import SeedClip
from kpop.ui import session_state

os.environ["TWICE4LIFE_FEEDBACK"] = "off"  # also for the servers that tests start: earlier votes change nothing
TINY_CODEC = CodecConfig(
    band_edges_bins=(0, 40, N_BINS),
    codebook_sizes=((32, 32), (32,)),
    encoder_width=32,
    decoder_width=32,
    encoder_blocks=1,
    step_blocks=1,
    frame_blocks=1,
)
TINY_LSTM = {"embed": 32, "hidden": 48, "head_width": 32, "dropout": 0.0}


@pytest.fixture(scope="session")
def beat() -> np.ndarray:
    """20 s of a made-up band: kicks on the beat at 125 BPM, and a chord that changes every bar. float32, 16 kHz."""
    time_s = np.arange(20 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    since_beat_s = time_s % 0.48
    kick = np.sin(2 * np.pi * (50 * since_beat_s + 8 * (1 - np.exp(-since_beat_s * 30)))) * np.exp(-since_beat_s * 12)
    roots_hz = np.array([220.0, 174.6, 261.6, 196.0])[(time_s // 1.92).astype(int) % 4]
    chord = sum(np.sin(2 * np.pi * np.cumsum(roots_hz * ratio) / SAMPLE_RATE_HZ) for ratio in (1, 1.25, 1.5))
    return (0.5 * kick + 0.1 * chord).astype(np.float32)


@pytest.fixture(scope="session")
def clip(beat: np.ndarray) -> SeedClip:
    """Its first bars as a seed clip of unknown score."""
    return SeedClip("beat", "Beat", beat[:CLIP_SAMPLES])


@pytest.fixture(scope="session")
def songs_folder(tmp_path_factory: pytest.TempPathFactory, beat: np.ndarray) -> Path:
    """A folder with four short songs."""
    import soundfile

    folder = tmp_path_factory.mktemp("songs")
    for index, rate in enumerate((16_000, 22_050, 44_100, 48_000)):
        song = np.interp(np.arange(0, 20, 1 / rate) * SAMPLE_RATE_HZ, np.arange(len(beat)), beat)
        soundfile.write(folder / f"song {index}.wav", np.stack([song, song * 0.8**index], 1), rate)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model: our corpus, a few steps of both stages."""
    from kpop.training.train import Plan, run

    out = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    tiny = {"n_songs": 2, "n_scores": 2, "codec_config": TINY_CODEC, "lstm_shape": TINY_LSTM}
    run(Plan(out=out, codec_steps=12, score_steps=1, lstm_steps=8, **tiny), print)
    return out


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's test runner leaves its script as the main module, which processes spawned later would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def jobs(monkeypatch) -> list[Job]:
    """What is submitted to the engine; songs are made with the shipped model, and not compared with its corpus."""
    submitted, submit = [], Engine.submit

    def note(self, *request, **options) -> Job:
        submitted.append(submit(self, *request, **options))
        return submitted[-1]

    monkeypatch.setattr(Engine, "submit", note)
    monkeypatch.setattr(session_state, "start_comparing", lambda engine, song: None)
    return submitted


@pytest.fixture(scope="module")
def chromium():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of the page with the shipped weights."""
    with serve() as address:
        yield address


@pytest.fixture
def visit(chromium, address) -> Iterator[Callable[..., Visit]]:
    """Opens tabs; at the end no tab may have logged an error or called another server."""
    visits = []

    def start(query: str = "", **device) -> Visit:
        visits.append(Visit(chromium, address, **(device or LAPTOP)))
        return visits[-1].open(query)

    yield start
    for each in visits:
        each.context.close()
        assert each.complaints == []
        assert each.strangers == []


@pytest.fixture
def warm(visit) -> Visit:
    """A tab on a server whose model is loaded."""
    return visit().rest()
