"""How near a song comes to the training music: copies are found, in any key, and new songs lie well below."""

import numpy as np
import pytest

from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, STEP_SAMPLES, STEPS_PER_BAR
from kpop.corpus.compose import compose
from kpop.corpus.render import render
from kpop.errors import KpopError
from kpop.similarity.build import build, described, excerpt, training_moment
from kpop.similarity.features import bar_edges, describe, regular_edges
from kpop.similarity.index import Reference, SimilarityIndex
from kpop.training.data import Song, no_labels, to_int16

N_BARS, N_TRAINING, N_UNHEARD = 12, 24, 6
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])


def tune(number: int, semitones: int = 0, n_bars: int = N_BARS) -> np.ndarray:
    """A made-up song (n_bars * BAR_SAMPLES,) float32: a bass a bar, a tune in eighths, and drums of its own."""
    chance = np.random.default_rng(number)
    eighth = BAR_SAMPLES // 8
    time_s = np.arange(n_bars * BAR_SAMPLES) / SAMPLE_RATE_HZ

    def tone(midi: np.ndarray, samples_each: int) -> np.ndarray:
        midi = np.repeat(midi + semitones, samples_each)
        phase = np.cumsum(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) / SAMPLE_RATE_HZ)
        return np.sin(phase) + 0.4 * np.sin(2 * phase)

    melody = 60 + SCALE[chance.integers(0, 7, n_bars * 8)] + 12 * chance.integers(0, 2, n_bars * 8)
    bass = 36 + SCALE[chance.integers(0, 7, n_bars)]
    hits = np.repeat(chance.random(n_bars * 16) < 0.4, eighth // 2)
    noise = chance.standard_normal(len(time_s)) * hits * np.exp(-(time_s % 0.12) * 30)
    return (0.1 * tone(melody, eighth) + 0.15 * tone(bass, BAR_SAMPLES) + 0.1 * noise).astype(np.float32)


def song(name: str, waveform: np.ndarray) -> Song:
    samples = to_int16(waveform)
    n_steps = len(samples) // STEP_SAMPLES
    return Song(name, samples, (np.arange(n_steps) % 256).astype(np.int16), no_labels(n_steps))


@pytest.fixture(scope="module")
def index() -> SimilarityIndex:
    training = [described(song(f"song-{number:05d}", tune(number))) for number in range(N_TRAINING)]
    unheard = [described(song(f"unheard {number}", tune(1000 + number))) for number in range(N_UNHEARD)]
    return build(training, unheard, "made up")


def bars_of(waveform: np.ndarray, first: int, n_bars: int = 2) -> np.ndarray:
    return waveform[first * BAR_SAMPLES : (first + n_bars) * BAR_SAMPLES]


def test_two_bars_of_a_training_song_are_found_as_that_song_and_moment(index):
    for number in range(N_TRAINING):
        first = number % (N_BARS - 1)
        match = index.nearest(bars_of(tune(number), first))
        assert (match.song, match.semitones, match.start_s) == (f"song-{number:05d}", 0, 0.0)
        assert match.song_start_s == pytest.approx(first * BAR_SAMPLES / SAMPLE_RATE_HZ)
        assert match.similarity > 0.95


@pytest.mark.parametrize("semitones", [-5, -1, 3, 6])
def test_a_copy_in_another_key_is_a_copy(index, semitones):
    match = index.nearest(bars_of(tune(5, -semitones), 4))
    assert (match.song, match.semitones) == ("song-00005", semitones)
    assert match.similarity > 0.75


def test_a_noisy_quiet_copy_is_a_copy(index):
    copy = bars_of(tune(9), 3) * 0.5
    copy = copy + 0.005 * np.random.default_rng(0).standard_normal(len(copy)).astype(np.float32)
    match = index.nearest(copy)
    assert match.song == "song-00009"
    assert match.similarity > 0.85


def test_new_songs_lie_well_below_copies(index):
    new = [index.nearest(tune(5000 + number)) for number in range(8)]
    assert max(match.similarity for match in new) < 0.75
    assert index.nearest(tune(3)).percentile == 1
    assert 0 < np.mean([match.percentile for match in new]) < 1


def test_the_one_copied_moment_of_a_new_song_is_pointed_at(index):
    new = tune(7777)
    new[6 * BAR_SAMPLES : 8 * BAR_SAMPLES] = bars_of(tune(2), 1)
    match = index.nearest(new)
    assert match.start_s == pytest.approx(6 * BAR_SAMPLES / SAMPLE_RATE_HZ)
    assert (match.song, match.n_windows) == ("song-00002", N_BARS - 1)


def test_what_comes_before_the_first_sample_is_left_out(index):
    seed_then_new = np.concatenate([bars_of(tune(4), 0, 4), tune(8888, n_bars=4)])
    assert index.nearest(seed_then_new).similarity > 0.95
    match = index.nearest(seed_then_new, 4 * BAR_SAMPLES)
    assert match.similarity < 0.75
    assert match.start_s >= 4 * BAR_SAMPLES / SAMPLE_RATE_HZ


@pytest.mark.parametrize("n_samples", [0, 100, 2 * BAR_SAMPLES - 1])
def test_less_than_two_bars_are_not_judged(index, n_samples):
    assert index.nearest(tune(1)[:n_samples]) is None


def test_silence_is_like_nothing(index):
    assert index.nearest(np.zeros(8 * BAR_SAMPLES, np.float32)) is None


def test_two_bars_never_lie_across_two_songs(index):
    seam = np.concatenate([bars_of(tune(0), N_BARS - 1, 1), bars_of(tune(1), 0, 1)])
    assert index.nearest(seam).similarity < 0.85


def test_an_index_survives_its_file(index, tmp_path):
    index.save(tmp_path / "a.index.safetensors")
    again = SimilarityIndex.load(tmp_path / "a.index.safetensors")
    match, before = (each.nearest(tune(12)) for each in (again, index))
    assert (match.song, match.song_start_s) == (before.song, before.song_start_s)
    assert match.similarity == pytest.approx(before.similarity, abs=0.01)
    assert (again.data, again.names, again.bar_samples) == ("made up", index.names, BAR_SAMPLES)
    assert len(index.vectors.tobytes()) / len(index.vectors) < 80  # bytes a bar


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00not json"])
def test_a_damaged_index_is_one_sentence(tmp_path, content):
    (tmp_path / "a.index.safetensors").write_bytes(content)
    with pytest.raises(KpopError):
        SimilarityIndex.load(tmp_path / "a.index.safetensors")


def test_a_checkpoint_is_no_index(tiny_model):
    with pytest.raises(KpopError, match="no index"):
        SimilarityIndex.load(tiny_model)


def test_the_more_is_compared_the_nearer_unheard_songs_come():
    chance = np.random.default_rng(0)
    reference = Reference.of([chance.random(70).astype(np.float32) for _ in range(8)])
    medians = [reference.quantile(0.5, n) for n in (1, 3, 14, 60, 150)]
    assert medians == sorted(medians)
    assert medians[0] == pytest.approx(0.5, abs=0.06)
    assert reference.percentile(medians[2], 14) == pytest.approx(0.5, abs=0.02)
    assert (reference.percentile(-1, 5), reference.percentile(2, 5)) == (0, 1)


def test_bars_begin_where_the_metronome_says():
    slots = (np.arange(40, 40 + 300) % 256).astype(np.int16)
    assert bar_edges(slots).tolist() == [(24 + bar * STEPS_PER_BAR) * STEP_SAMPLES for bar in range(5)]
    slow = (np.floor(np.arange(320) * 0.8).astype(int) % 256).astype(np.int16)
    assert np.diff(bar_edges(slow)) == pytest.approx(80 * STEP_SAMPLES, rel=0.02)


def test_a_silent_or_shortened_song_is_described_without_complaint():
    bars = describe(np.zeros(BAR_SAMPLES // 2, np.float32), regular_edges(BAR_SAMPLES // 2, 0, BAR_SAMPLES))
    assert len(bars) == 0
    assert np.isfinite(describe(np.zeros(BAR_SAMPLES * 2, np.float32), np.arange(3) * BAR_SAMPLES).rhythm).all()


def test_a_training_moment_sounds_as_it_did_in_its_song(index):
    number, bar = 3, 20
    whole = render(compose(number))
    moment = training_moment("song-00003", bar * BAR_SAMPLES / SAMPLE_RATE_HZ)
    assert len(moment) == 2 * BAR_SAMPLES
    assert abs(moment[0]) == abs(moment[-1]) == 0
    there = [index.projection.project(describe(x, np.arange(3) * BAR_SAMPLES)) for x in (moment, bars_of(whole, bar))]
    assert (there[0] * there[1]).sum(-1).min() > 0.9


def test_the_end_of_a_training_song_can_be_heard():
    score = compose(3)
    last_s = (score.n_bars - 2) * BAR_SAMPLES / SAMPLE_RATE_HZ
    assert len(training_moment("song-00003", last_s)) == len(training_moment("song-00003", 9999)) == 2 * BAR_SAMPLES


def test_an_excerpt_holds_its_bars_and_their_sections():
    part = excerpt(compose(3), 6, 13)
    assert part.n_bars == sum(section.n_bars for section in part.sections) == 7
    assert all(0 <= note.start_16th < 7 * 16 for notes in part.tracks.values() for note in notes)


@pytest.mark.parametrize("name", ["my demo.wav", "song-3", "../song-00003", "song-00003.mp3"])
def test_songs_of_others_cannot_be_played_again(name):
    with pytest.raises(KpopError):
        training_moment(name, 0)
