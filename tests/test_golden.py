"""Songs made once and kept: whatever is moved, merged or renamed, the same settings give the same tokens and samples.

`PYTHONPATH=. python tests/test_golden.py` writes tests/golden/songs.json anew. Do that only when sound or sampler are
meant to change, in a commit that says why.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qsl

import numpy as np
import pytest

from kpop.audio.io import pcm_bytes
from kpop.audio.loudness import integrated_loudness
from kpop.audio.stft import log_mel_db, stft
from kpop.corpus.compose import compose, step_labels
from kpop.corpus.mix import render
from kpop.generation.clips import SeedClip, built_in_clip
from kpop.generation.metadata import read_metadata
from kpop.generation.pipeline import Pipeline
from kpop.generation.session import GenerationSession, generate
from kpop.model_info import checkpoint_path
from kpop.settings import Settings
from kpop.ui.sharing import link, settings_from_query

GOLDEN = Path(__file__).parent / "golden"
SONGS = {
    "default": Settings(length_s=12.0),
    "kept clip, cold": Settings(0.0, 0.0, 10.0, 1, "neon-rain"),
    "all chance, wild": Settings(1.0, 1.6, 10.0, 3, "sugar-rush"),
    "own tempo": Settings(0.2, 0.8, 11.0, 11, "slow-honey"),
    "second model": Settings(0.5, 1.0, 9.0, 5, "midnight-taxi", "everything-is-free"),
}
SEED_TEMPI_BPM = {"own tempo": 100.0}
CORPUS_NUMBERS = (7, 1_000_003)
LINK_SETTINGS = Settings(0.45, 1.25, 61.0, 4711, "black-mirror-ball", "everything-is-free")
MEL_MARGIN_DB = 1.5


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads((GOLDEN / "songs.json").read_text(encoding="utf-8"))


@cache
def pipeline(model: str) -> Pipeline:
    return Pipeline.load(checkpoint_path(model))


def made(name: str) -> dict:
    """What is kept of a song: tokens by hash, samples by hash and coarsely, so that another processor can be told from
    another song."""
    settings = SONGS[name]
    clip = built_in_clip(settings.clip)
    if name in SEED_TEMPI_BPM:
        clip = SeedClip(clip.name, clip.title, clip.waveform, clip.metre_position, clip.labels, SEED_TEMPI_BPM[name])
    player = pipeline(settings.model)
    tokens, take = [], GenerationSession._take_steps
    with mock.patch.object(GenerationSession, "_take_steps", lambda self: tokens.append(take(self)) or tokens[-1]):
        song = generate(player, settings, clip)
    pcm, all_tokens = pcm_bytes(song.waveform), np.concatenate(tokens)
    return {
        "tokens": sha256(all_tokens.astype("<i8").tobytes()),
        "n_steps": len(all_tokens),
        "pcm": sha256(pcm),
        "n_samples": len(song.waveform),
        "loudness_lufs": round(integrated_loudness(song.waveform), 2),
        "mel_db": mel_by_second(song.waveform),
    }


def mel_by_second(waveform: np.ndarray) -> list[list[float]]:
    """Mean level of 16 mel bands in whole dB, second by second."""
    level = log_mel_db(np.abs(stft(waveform)), 16)
    return [np.rint(part.mean(0)).astype(int).tolist() for part in np.array_split(level, len(waveform) // 16_000)]


def composed(number: int) -> dict:
    """A song of the corpus: labels by hash, samples by hash after rounding to a thousandth."""
    score = compose(number)
    rounded = np.rint(np.asarray(render(score), np.float64) * 1000).astype("<i2")
    return {"labels": sha256(step_labels(score).astype(np.uint8).tobytes()), "rounded_pcm": sha256(rounded.tobytes())}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", SONGS)
def test_the_same_settings_give_the_same_song_as_ever(name, golden):
    now, then = made(name), golden["songs"][name]
    assert now["tokens"] == then["tokens"]
    assert (now["n_steps"], now["n_samples"]) == (then["n_steps"], then["n_samples"])
    if now["pcm"] != then["pcm"]:  # float32 products on another processor
        np.testing.assert_allclose(now["mel_db"], then["mel_db"], atol=MEL_MARGIN_DB)
        assert golden["processor"] != processor(), "the samples have changed"


@pytest.mark.parametrize("number", CORPUS_NUMBERS)
def test_the_composer_plays_the_same_songs_as_ever(number, golden):
    assert composed(number) == golden["corpus"][str(number)]


def test_a_wav_made_long_ago_brings_its_settings_back():
    assert read_metadata((GOLDEN / "song.wav").read_bytes()) == Settings(0.3, 1.0, 4.0, 7, "first-snow", "twice4life")


def test_a_link_made_long_ago_brings_its_settings_back(golden):
    query = golden["link"].partition("?")[2]
    sent = dict(parse_qsl(query))
    assert sent["song"] == "1"
    assert settings_from_query(sent, Settings()) == LINK_SETTINGS


def processor() -> str:
    """Name and vector extensions of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    wanted_lines = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "flags"))]
    return sha256(" ".join(wanted_lines[:2]).encode())[:16]


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    content = {
        "processor": processor(),
        "songs": {name: made(name) for name in SONGS},
        "corpus": {str(number): composed(number) for number in CORPUS_NUMBERS},
        "link": link(LINK_SETTINGS, "http://localhost:8501/"),
    }
    (GOLDEN / "songs.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
