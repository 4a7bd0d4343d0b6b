"""Copies of training music are found in any key and at any tempo, new songs are not similar, and the page says so."""

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from kpop import model_info
from kpop.audio.io import read_audio, wav_bytes
from kpop.audio.phase import StreamingPhase
from kpop.audio.stft import stft
from kpop.constants import BAR_SAMPLES, HOP_LENGTH, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.corpus.compose import CORPUS_DATA, compose
from kpop.errors import KpopError
from kpop.settings import GRID_BEAT, Beat, GeneratedSong, Settings
from kpop.similarity import index as similarity
from kpop.similarity.build import AnalysedSong, analyse_song, build, reference
from kpop.similarity.index import SimilarityIndex, SimilarityResult, closest_moment
from kpop.training.data import TrainingSong, to_int16
from kpop.ui.similarity import meter

N_BARS, N_TRAINING, N_UNSEEN = 12, 24, 6
BAR_S = BAR_SAMPLES / SAMPLE_RATE_HZ
DATA = "my songs"
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
FAR = SimilarityResult(0.64, 23.7, "song 214", 41.2, 14, 0.62, 0.75, 0.91, wav_bytes(np.zeros(800)), 214)
NEAR = replace(FAR, similarity=0.94, song="b.mp3", number=None)


def tune(number: int, semitones: int = 0, n_bars: int = N_BARS) -> np.ndarray:
    """A bass note per bar, a melody in eighths, and drums of its own, float32."""
    rng, time_s = np.random.default_rng(number), np.arange(n_bars * BAR_SAMPLES) / SAMPLE_RATE_HZ

    def tone(midi: np.ndarray) -> np.ndarray:
        hz = np.repeat(librosa.midi_to_hz(midi + semitones), len(time_s) // len(midi))
        phase = np.cumsum(2 * np.pi * hz / SAMPLE_RATE_HZ)
        return np.sin(phase) + 0.4 * np.sin(2 * phase)

    melody = 60 + SCALE[rng.integers(0, 7, n_bars * 8)] + 12 * rng.integers(0, 2, n_bars * 8)
    bass = 36 + SCALE[rng.integers(0, 7, n_bars)]
    hits = np.repeat(rng.random(n_bars * 16) < 0.4, BAR_SAMPLES // 16)
    noise = rng.standard_normal(len(time_s)) * hits * np.exp(-(time_s % 0.12) * 30)
    return (0.1 * tone(melody) + 0.15 * tone(bass) + 0.1 * noise).astype(np.float32)


def bars_of(waveform: np.ndarray, first: int, n_bars: int = 2) -> np.ndarray:
    return waveform[first * BAR_SAMPLES : (first + n_bars) * BAR_SAMPLES]


def analysed(name: str, waveform: np.ndarray) -> AnalysedSong:
    samples = to_int16(waveform)
    n_steps = len(samples) // STEP_SAMPLES
    positions, labels = np.arange(n_steps, dtype=np.int16) % 256, np.zeros((n_steps, 4))
    return analyse_song(TrainingSong(name, samples, positions, labels))


@pytest.fixture(scope="module")
def index() -> SimilarityIndex:
    training = [analysed(f"song-{number:05d}", tune(number)) for number in range(N_TRAINING)]
    return build(training, [analysed("unseen", tune(1000 + number)) for number in range(N_UNSEEN)], DATA)


@pytest.fixture
def index_file(index, tmp_path, monkeypatch):
    """The index where the page looks for it."""
    monkeypatch.setattr(model_info, "MODELS_DIR", tmp_path)
    index.save(model_info.index_path("twice4life"))
    return model_info.index_path("twice4life")


def song(waveform: np.ndarray, seed_end_s: float = 0.0, beat: Beat = GRID_BEAT) -> GeneratedSong:
    return GeneratedSong(waveform, np.zeros(0), seed_end_s, Settings(), beat=beat)


def with_copy() -> np.ndarray:
    """Six bars of a new song, then bars 4 and 5 of training song 1."""
    return np.concatenate([tune(2000, n_bars=6), bars_of(tune(1), 4)])


def test_two_bars_of_every_training_song_are_found_where_they_are(index):
    for number in range(N_TRAINING):
        first = number % (N_BARS - 1)
        match = index.search(bars_of(tune(number), first))
        assert (match.song, match.start_s, match.song_start_s) == (
            f"song-{number:05d}",
            0,
            pytest.approx(first * BAR_S),
        )
        assert match.similarity > 0.95


@pytest.mark.parametrize("semitones", [-5, -1, 0, 3, 6])
def test_a_quiet_noisy_copy_in_any_key_is_found(index, semitones):
    noise = 0.005 * np.random.default_rng(0).standard_normal(2 * BAR_SAMPLES).astype(np.float32)
    match = index.search(0.5 * bars_of(tune(5, semitones), 4) + noise)
    assert (match.song, match.similarity > 0.75) == ("song-00005", True)


def test_new_songs_and_seams_between_training_songs_are_not_similar_and_short_or_silent_ones_match_nothing(index):
    assert max(index.search(tune(3000 + number)).similarity for number in range(4)) < 0.75
    seam = np.concatenate([bars_of(tune(0), N_BARS - 1, 1), bars_of(tune(1), 0, 1)])
    assert index.search(seam).similarity < 0.85
    for waveform in (tune(1)[:100], tune(1)[: 2 * BAR_SAMPLES - 1], np.zeros(8 * BAR_SAMPLES, np.float32)):
        assert index.search(waveform) is None


def test_an_index_survives_its_file_and_a_file_that_is_none_is_refused(index, index_file, tiny_model):
    loaded = SimilarityIndex.load(index_file)
    match, before = (each.search(tune(12)) for each in (loaded, index))
    assert (match.song, match.song_start_s) == (before.song, before.song_start_s)
    assert match.similarity == pytest.approx(before.similarity, abs=0.01)
    assert (loaded.data, loaded.names, loaded.bar_samples) == (DATA, index.names, BAR_SAMPLES)
    assert loaded.vectors.nbytes / len(loaded.vectors) < 80
    with pytest.raises(KpopError, match="no index"):
        SimilarityIndex.load(tiny_model)


def test_the_more_is_compared_the_more_similar_unseen_songs_are(index):
    rng = np.random.default_rng(0)
    index = replace(index, reference=reference([rng.random(70).astype(np.float32) for _ in range(8)]))
    medians = [index.quantile(0.5, n) for n in (1, 3, 14, 60, 150)]
    assert medians == sorted(medians)
    assert medians[0] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("hop", "data", "named"),
    [
        (180, DATA, ("song-00001", None)),  # only songs of the composed corpus can be rendered
        (HOP_LENGTH, DATA, ("song-00001", None)),
        (320, CORPUS_DATA, ("song 1", 1)),
    ],
)
def test_copied_bars_are_found_at_any_tempo_and_named_as_the_songs_of_their_corpus(index, index_file, hop, data, named):
    replace(index, data=data).save(index_file)
    stretch = hop / HOP_LENGTH
    waveform = StreamingPhase(1, 8, hop).push(np.abs(stft(with_copy())), last=True)
    found = closest_moment(song(waveform, beat=Beat(0.0, stretch * BAR_S / 4, 4)), data)
    assert (found.song, found.number) == named
    assert found.similarity > 0.8
    assert found.high >= found.usual >= found.low
    song_bar_s = BAR_S if found.number is None else compose(1).bar_samples / SAMPLE_RATE_HZ
    assert (found.start_s, found.song_start_s) == pytest.approx((6 * BAR_S * stretch, 4 * song_bar_s), abs=0.05)
    assert len(read_audio(io.BytesIO(found.here))) == pytest.approx(2 * BAR_S * stretch * SAMPLE_RATE_HZ, abs=2)


def test_what_is_compared_begins_with_the_first_bar_after_the_seed(index_file, monkeypatch):
    waveform, starts = np.concatenate([bars_of(tune(1), 0, 4), tune(2000, n_bars=6)]), []
    assert "close-new" in meter(closest_moment(song(waveform, seed_end_s=4 * BAR_S), DATA))
    assert "close-near" in meter(closest_moment(song(waveform), DATA))
    monkeypatch.setattr(SimilarityIndex, "search", lambda index, waveform, first, bar: starts.append((first, bar)))
    for seed_end_s in (3.0, 0.2):
        closest_moment(song(waveform, seed_end_s, Beat(0.5, BAR_S / 4, 4)), DATA)
    assert [first for first, _ in starts] == [round((0.5 + 2 * BAR_S) * SAMPLE_RATE_HZ), round(0.5 * SAMPLE_RATE_HZ)]
    assert [bar for _, bar in starts] == pytest.approx([BAR_SAMPLES] * 2)


def test_where_nothing_can_be_compared_there_is_no_result_and_the_page_shows_nothing(index_file):
    assert closest_moment(song(with_copy()), "other songs") is None
    assert closest_moment(song(tune(20, n_bars=1)), DATA) is None
    assert closest_moment(song(with_copy(), beat=Beat(0.0, 0.48, 3)), DATA) is None
    index_file.write_bytes(index_file.read_bytes()[:100])
    assert closest_moment(song(with_copy()), DATA) is None
    visited = AppTest.from_function(page, args=(None,)).run()
    assert len(visited.exception) == len(visited.expander) == len(visited.caption) == 0


def test_the_meter_shows_and_tells_the_song_and_the_usual_range():
    assert re.findall(r'class="close-(\w+)" style="([^"]+)"', meter(FAR)) == [
        ("range", "left:62%;right:calc(100% - 91%)"),
        ("usual", "left:75%"),
        ("fill", "width:64%"),
        ("song", "left:64%"),
    ]
    label = re.search(r'role="img" aria-label="([^"]+)"', meter(NEAR))[1]
    assert all(figure in label for figure in ("94%", "62%", "91%", "75%"))
    assert ">No closer to the training music" in meter(FAR)
    assert ">Closer to the training music" in meter(NEAR)


def page(result):
    from kpop.ui.similarity import show_similarity
    from kpop.ui.tasks import BackgroundTask

    show_similarity(BackgroundTask(lambda report: result))


@pytest.mark.parametrize(("result", "n_players"), [(FAR, 2), (NEAR, 1)])
def test_only_while_the_moments_are_open_the_training_song_is_rendered_once(monkeypatch, result, n_players):
    whole, rendered, result = tune(0, n_bars=24), [], replace(result)
    monkeypatch.setattr(similarity, "render", lambda score: rendered.append(score) or whole)
    visited = AppTest.from_function(page, args=(result,)).run()
    assert (len(visited.get("audio")), len(rendered)) == (0, 0)
    visited.session_state["novelty"] = True
    for _ in range(2):
        assert not visited.run().exception
        assert len(visited.get("audio")) == n_players
    captions = [each.value for each in visited.caption][:2]
    assert captions == ["Your song, 0:23", f"Training song, 0:41: {result.song}"]
    assert rendered == [compose(214)] * (n_players - 1)


@pytest.mark.parametrize(("start_s", "first"), [(20 * BAR_S, 20), (9999, 22)])
def test_the_excerpt_is_that_part_of_the_training_song(monkeypatch, start_s, first):
    whole = tune(0, n_bars=24)
    monkeypatch.setattr(similarity, "render", lambda score: whole)
    monkeypatch.setattr(similarity, "compose", lambda number: SimpleNamespace(bar_samples=BAR_SAMPLES))
    excerpt = read_audio(io.BytesIO(replace(FAR, song_start_s=start_s).there))
    assert excerpt[400:-400] == pytest.approx(bars_of(whole, first)[400:-400], abs=1e-4)
    assert abs(excerpt[0]) == abs(excerpt[-1]) == 0
