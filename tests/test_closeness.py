"""How close a song comes to the training music: which moment is found, and what the page says of it."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from kpop import model_info
from kpop.audio.io import read_audio, wav_bytes
from kpop.audio.phase import StreamingPhase
from kpop.audio.stft import stft
from kpop.constants import HOP_LENGTH, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.settings import GRID_BEAT, Beat, GeneratedSong, Settings
from kpop.similarity.build import build, described
from kpop.similarity.index import SimilarityIndex
from kpop.similarity.match import SimilarityResult, closest_moment, first_bar_after_seed
from kpop.training.data import Song, no_labels, to_int16
from kpop.ui.similarity import meter

BAR_S = 1.92
DATA = "my songs"
WAV = wav_bytes(np.zeros(800, np.float32))
FAR = SimilarityResult(0.64, 0.62, 0.75, 0.91, "song 214", 41.2, 23.7, WAV, WAV)
NEAR = SimilarityResult(0.94, 0.62, 0.75, 0.91, "b.mp3", 41.2, 23.7, WAV, None)


def melody(seed: int, n_bars: int) -> np.ndarray:
    """Eight notes a bar."""
    midi = np.random.default_rng(seed).integers(60, 80, n_bars * 8)
    hz = np.repeat(440 * 2 ** ((midi - 69) / 12), round(BAR_S * SAMPLE_RATE_HZ / 8))
    return (0.5 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)).astype(np.float32)


def heard(name: str, waveform: np.ndarray):
    n_steps = len(waveform) // STEP_SAMPLES
    slots = (np.arange(n_steps) % 256).astype(np.int16)
    return described(Song(name, to_int16(waveform), slots, no_labels(n_steps)))


@pytest.fixture(scope="module")
def built() -> SimilarityIndex:
    """The index of three training songs, beside which three others stay unheard."""
    training = [heard(f"{name}.mp3", melody(seed, 12)) for seed, name in enumerate("abc")]
    return build(training, [heard(f"unheard {seed}", melody(seed, 12)) for seed in (10, 11, 12)], DATA)


@pytest.fixture
def index(built, tmp_path, monkeypatch) -> Path:
    """The file of the index, where the page looks for it."""
    monkeypatch.setattr(model_info, "MODELS_DIR", tmp_path)
    path = model_info.index_path("twice4life")
    built.save(path)
    return path


def song(waveform: np.ndarray, seed_end_s: float = 0.0, beat: Beat = GRID_BEAT) -> GeneratedSong:
    nothing = np.zeros(0, np.float32)
    return GeneratedSong(waveform, nothing, nothing, seed_end_s, Settings(), beat=beat)


def compare(each: GeneratedSong, data: str = DATA) -> SimilarityResult | None:
    return closest_moment(each, data, lambda share, words: None)


def with_copy() -> np.ndarray:
    """Six bars of a new song, then bars 4 and 5 of training song b."""
    n = round(BAR_S * SAMPLE_RATE_HZ)
    return np.concatenate([melody(20, 6), melody(1, 12)[4 * n : 6 * n]])


def test_copied_bars_are_found_at_both_places_and_called_near(index):
    found = compare(song(with_copy()))
    assert found.song == "b.mp3"
    assert found.song_start_s == pytest.approx(4 * BAR_S, abs=0.03)
    assert found.start_s == pytest.approx(6 * BAR_S)
    assert found.similarity > 0.95 > found.high >= found.usual >= found.low
    assert not found.as_new_as_songs_go
    assert found.there is None  # a song that only its owner can play


@pytest.mark.parametrize("hop", [180, 320])
def test_a_copy_is_found_at_another_tempo(index, hop):
    slower = hop / HOP_LENGTH
    waveform = StreamingPhase(1, 8, hop).push(
        np.abs(stft(with_copy())), last=True
    )  # as songs of another tempo are made
    found = compare(song(waveform, beat=Beat(0.0, slower * BAR_S / 4, 4)))
    assert found.song == "b.mp3"
    assert found.similarity > 0.9
    assert (found.start_s, found.song_start_s) == pytest.approx((6 * BAR_S * slower, 4 * BAR_S), abs=0.05)
    assert len(read_audio(io.BytesIO(found.here))) == pytest.approx(2 * BAR_S * slower * SAMPLE_RATE_HZ, abs=2)


def test_what_the_seed_brought_along_is_no_copy_of_the_machine(index):
    waveform = np.concatenate([melody(1, 12)[: round(4 * BAR_S * SAMPLE_RATE_HZ)], melody(20, 6)])
    assert compare(song(waveform, seed_end_s=4 * BAR_S)).as_new_as_songs_go


@pytest.mark.parametrize(
    ("each", "data"),
    [
        (song(melody(20, 6)), "other songs"),
        (song(melody(20, 1)), DATA),
        (song(melody(20, 6), beat=Beat(0.0, 0.48, 3)), DATA),
    ],
    ids=["another model's index", "too short", "three beats a bar"],
)
def test_nothing_is_said_where_nothing_can_be_compared(index, each, data):
    assert compare(each, data) is None


def test_a_damaged_index_is_as_none(index):
    index.write_bytes(index.read_bytes()[:100])
    assert compare(song(with_copy())) is None


def test_the_comparison_begins_at_the_first_bar_after_the_seed():
    begins = first_bar_after_seed
    beat = Beat(0.5, 0.48, 4)
    assert begins(song(np.zeros(0), 3.0, beat)) == round((0.5 + 2 * BAR_S) * SAMPLE_RATE_HZ)
    assert begins(song(np.zeros(0), 0.2, beat)) == round(0.5 * SAMPLE_RATE_HZ)
    assert begins(song(np.zeros(0), 2 * BAR_S, GRID_BEAT)) == round(2 * BAR_S * SAMPLE_RATE_HZ)


def test_the_meter_marks_the_song_and_the_usual_range():
    drawn = meter(FAR)
    assert re.findall(r'class="close-(\w+)" style="([^"]+)"', drawn) == [
        ("range", "left:62%;right:calc(100% - 91%)"),
        ("usual", "left:75%"),
        ("fill", "width:64%"),
        ("song", "left:64%"),
    ]


def test_the_meter_can_be_read_without_seeing_it():
    told = re.search(r'role="img" aria-label="([^"]+)"', meter(NEAR))[1]
    assert [figure in told for figure in ("94%", "62%", "91%", "75%")] == [True] * 4


def test_the_verdict_is_in_words_and_its_colour_follows_it():
    assert "New: no closer" in meter(FAR)
    assert "close-new" in meter(FAR)
    assert "listen to both" in meter(NEAR)
    assert "close-near" in meter(NEAR)


def page(closeness):
    import streamlit as st

    from kpop.ui.similarity import show_closeness
    from kpop.ui.tasks import BackgroundTask

    show_closeness(BackgroundTask(lambda report: closeness), st.container())


@pytest.mark.parametrize(("closeness", "n_players"), [(FAR, 2), (NEAR, 1), (None, 0)])
def test_the_page_plays_what_moments_there_are(closeness, n_players):
    visited = AppTest.from_function(page, args=(closeness,)).run()
    assert not visited.exception
    assert len(visited.get("audio")) == n_players
    assert ("at 0:23 of your song" in " ".join(each.value for each in visited.caption)) is (n_players > 0)
