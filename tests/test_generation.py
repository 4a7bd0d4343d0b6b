"""Settings do what they say: on a tiny model, whose music is bad but which follows the same rules as the shipped."""

import io
from itertools import combinations, pairwise

import numpy as np
import pytest

from kpop.audio.io import wav_bytes
from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.audio.stft import log_mel_spectrogram
from kpop.constants import (
    CLIP_SAMPLES,
    CLIP_STEPS,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    LABEL_SIZES,
    N_BINS,
    N_METRE_POSITIONS,
    N_SECTION_CLASSES,
    SAMPLE_RATE_HZ,
    STEP_SAMPLES,
    STEPS_PER_BAR,
    STEPS_PER_BEAT,
    TEMPO_BPM,
)
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, built_in_clip, built_in_clips, clip_from_file, find_clip
from kpop.generation.labels import MASK, OUTRO, SECTION_CONSTRAINTS, LabelTrack, constraint_ids
from kpop.generation.pipeline import Pipeline, invert
from kpop.generation.seed import Seed, clip_hop, random_mask, song_grid
from kpop.generation.session import CHUNK_STEPS, N_DISPLAY_MELS, GenerationSession, generate
from kpop.lstm.model import recalled_steps
from kpop.lstm.sampler import SAMPLED
from kpop.settings import Settings


@pytest.fixture(scope="module")
def pipeline(tiny_model) -> Pipeline:
    return Pipeline.load(tiny_model)


def make(pipeline: Pipeline, clip: SeedClip, **changes):
    return generate(pipeline, Settings(**({"length_s": 16.0} | changes)), clip)


def seed_of(pipeline: Pipeline, clip: SeedClip, **changes) -> Seed:
    """The seed of a song of 30 s, with its random part sampled."""
    session, state = GenerationSession(pipeline, Settings(**changes), clip), pipeline.batch_state(1)
    for _ in range(session.grid.n_seed_steps // CHUNK_STEPS if session.seed.token_mask.any() else 0):
        session.take(pipeline.sampler.run(state, [session.next_chunk(state, 0)])[0], 0.0)
    return session.seed


def mel_error_db(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(log_mel_spectrogram(one) - log_mel_spectrogram(other)).mean())


def test_randomness_zero_keeps_the_clip_as_it_is(pipeline, clip):
    played = make(pipeline, clip, randomness=0.0).waveform[: 7 * SAMPLE_RATE_HZ]
    gain = np.sqrt(np.mean(clip.waveform[: len(played)] ** 2) / np.mean(played**2))
    assert mel_error_db(clip.waveform[: len(played)], played * gain) < 1.5


def test_randomness_one_leaves_nothing_of_the_clip(pipeline, clip):
    time_s = np.arange(CLIP_SAMPLES) / SAMPLE_RATE_HZ
    sweep = 0.3 * np.sin(2 * np.pi * (300 * time_s + 40 * time_s**2)) * (time_s % 0.24 < 0.12)
    others = SeedClip("sweep", "Sweep", sweep.astype(np.float32)), SeedClip("s", "S", clip.waveform[:40_000], 17)
    songs = {make(pipeline, each, randomness=1.0).waveform.tobytes() for each in (clip, *others)}
    assert len(songs) == 1
    assert make(pipeline, clip, randomness=0.9).waveform.tobytes() not in songs


def test_the_seed_moves_steadily_away_from_the_clip(pipeline, clip):
    def share_changed(randomness: float) -> float:
        seeds = [seed_of(pipeline, clip, randomness=randomness, seed_number=n) for n in range(3)]
        first = pipeline.n_labels
        return float(np.mean([seed.tokens[:, first:] != untouched.tokens[:, first:] for seed in seeds]))

    untouched = seed_of(pipeline, clip, randomness=0)
    shares = [share_changed(randomness) for randomness in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert shares[0] == 0
    assert np.allclose(np.diff(shares), shares[-1] / 4, atol=0.06)
    assert shares[-1] > 0.5


def test_songs_of_other_seed_numbers_differ_the_more_the_higher_the_temperature(pipeline, clip):
    def spread_db(temperature: float) -> float:
        changes = {"temperature": temperature, "randomness": 0.0, "length_s": 12}
        songs = [make(pipeline, clip, seed_number=n, **changes).log_mel_db for n in range(4)]
        return np.mean([np.abs(a - b)[600:].mean() for a, b in combinations(songs, 2)])

    at_zero, at_one = spread_db(0.0), spread_db(1.0)
    assert 0 < at_zero < 2, "only random phases differ"
    assert at_one > 1
    assert at_zero < spread_db(0.01) < at_one


def test_a_finished_song_is_at_level(pipeline, clip):
    song = make(pipeline, clip)
    assert song.waveform.dtype == np.float32
    assert abs(integrated_loudness(song.waveform) + 14) < 1
    assert true_peak_db(song.waveform) < -1
    assert song.log_mel_db.max() == 0
    assert song.log_mel_db.shape[1] == N_DISPLAY_MELS


@pytest.mark.parametrize(
    "wrong",
    [{"randomness": 1.1}, {"randomness": -0.1}, {"temperature": 2.5}, {"temperature": float("nan")}, {"length_s": 3}],
)
def test_settings_out_of_range_are_one_clear_sentence(wrong):
    with pytest.raises(KpopError, match="must be between"):
        Settings(**wrong)


def test_a_silent_frame_between_sounds_stays_silent():
    spectrum = np.full((101, N_BINS), np.log(1e-4), np.float32)
    spectrum[:40, 30] = spectrum[60:, 30] = np.log(0.3)
    assert np.abs(invert(spectrum, 24_000, seed=0)[11_000:13_000]).max() < 0.01


def test_there_are_clips_to_choose_from():
    clips = built_in_clips()
    assert len({info.title for info in clips}) == len(clips) == 12
    made = [built_in_clip(info.name) for info in clips]
    assert len({clip.tempo_bpm for clip in made}) >= 8
    for clip in made:
        assert len(clip.waveform) == CLIP_STEPS * FRAMES_PER_STEP * round(clip_hop(clip))
        assert abs(integrated_loudness(clip.waveform) + 14) < 4
        assert clip.labels.shape == (CLIP_STEPS, len(LABEL_SIZES))
        tune = clip.labels[:, -1] > 0
        assert tune[: STEPS_PER_BAR // 4 + 1].any(), "a singer begins in the first beat"
        assert tune.mean() > 0.5
    with pytest.raises(KpopError, match="no seed clip nothing"):
        find_clip("nothing")


def test_a_file_is_brought_to_level_from_its_first_sound_on(beat):
    clip = clip_from_file(io.BytesIO(wav_bytes(np.concatenate([np.zeros(32_000), 0.05 * beat]))), "mine.wav")
    assert len(clip.waveform) == pytest.approx(CLIP_SAMPLES, rel=0.001)
    assert clip.tempo_bpm == pytest.approx(TEMPO_BPM, rel=0.001)
    assert abs(integrated_loudness(clip.waveform) + 14) < 1
    assert np.abs(clip.waveform[:800]).max() > 0.01


def test_the_end_of_a_short_seed_is_no_cut(pipeline, clip):
    """A shorter seed is encoded with the clip's own continuation, not with silence after it."""
    rng = np.random.default_rng(0)
    short, whole = (pipeline.seed(Settings(randomness=0), clip, n_steps, rng) for n_steps in (64, 128))
    silence = np.zeros((256, N_BINS), np.float32)
    assert np.array_equal(short.restore_clip(0, silence.copy())[:128], whole.restore_clip(0, silence.copy())[:128])
    assert np.array_equal(short.tokens, whole.tokens[:64])


def test_all_chunks_follow_the_metre_of_the_clip(pipeline, clip):
    late = SeedClip("late", "Late", clip.waveform, metre_position=37)
    session, state, positions = GenerationSession(pipeline, Settings(randomness=0.5), late), pipeline.batch_state(1), []
    while not session.steps_done:
        chunk = session.next_chunk(state, 0)
        positions.extend(chunk.metre_positions)
        session.take(pipeline.sampler.run(state, [chunk])[0], 0.0)
    n_seed = session.grid.n_seed_steps
    for part in (positions[:n_seed], positions[n_seed:]):  # the seed's random part; the seed and the song
        assert np.array_equal(part, (37 + np.arange(len(part))) % 256)


def test_randomness_is_the_share_of_beats_by_layers_that_are_random_and_more_only_adds_to_them():
    shares = np.linspace(0, 1, 21)
    masks = [random_mask(256, 5, randomness, np.random.default_rng(5)) for randomness in shares]
    np.testing.assert_allclose([mask.mean() for mask in masks], shares, atol=0.02)
    for less, more in pairwise(masks):
        cells = more.reshape(-1, STEPS_PER_BEAT, 5)
        assert (cells == cells[:, :1]).all()
        assert not (less & ~more).any()
    assert (random_mask(256, 5, 0.5, np.random.default_rng(6)) != masks[10]).any()


@pytest.mark.parametrize(
    ("randomness", "tempo_bpm", "hop"),
    [(0.3, None, HOP_LENGTH), (0.3, 100.0, 300), (0.3, 104.0, 288), (1, 100.0, HOP_LENGTH)],
)
def test_a_clips_tempo_sets_the_hop_length_unless_nothing_of_it_remains(randomness, tempo_bpm, hop):
    clip = SeedClip("x", "X", np.zeros(9, np.float32), tempo_bpm=tempo_bpm)
    assert song_grid(Settings(randomness), clip).hop == hop


@pytest.mark.parametrize(
    ("n_steps", "n_clip_steps", "randomness", "expected"),
    [(9_999, 300, 0.3, 256), (None, 300, 0.3, 256), (9_999, 100, 0.3, 96), (9_999, 100, 1, 256), (140, 300, 0.3, 64)],
)
def test_a_seed_is_four_bars_but_no_more_than_the_clip_or_half_the_song(n_steps, n_clip_steps, randomness, expected):
    settings = Settings(randomness, length_s=(n_steps or 0) * STEP_SAMPLES / SAMPLE_RATE_HZ or 30.0)
    clip = SeedClip("x", "X", np.zeros(n_clip_steps * STEP_SAMPLES, np.float32))
    grid = song_grid(settings, clip, endless=n_steps is None)
    assert (grid.n_steps, grid.n_seed_steps) == (n_steps, expected)


WITHIN_FOUR_BARS, END_OF_FOUR_BARS = np.array([3, 4]), np.array([255, 0])
NO_LABELS = np.empty((0, 5), int)
SECTIONS, OUTROS = set(range(N_SECTION_CLASSES)), set(OUTRO)


@pytest.mark.parametrize(
    ("last", "positions", "n_steps_left", "allowed"),
    [
        (5, WITHIN_FOUR_BARS, 9_999, {5}),
        (5, END_OF_FOUR_BARS, 9_999, SECTIONS - {5} - OUTROS),
        (5, END_OF_FOUR_BARS, 1, SECTIONS - {5}),
        (3, END_OF_FOUR_BARS, 513, SECTIONS - {3} - OUTROS),
        (3, END_OF_FOUR_BARS, 512, SECTIONS - {3}),
        (3, END_OF_FOUR_BARS, None, SECTIONS - {3} - OUTROS),
        (N_SECTION_CLASSES, WITHIN_FOUR_BARS, 9_999, SECTIONS - OUTROS),
    ],
)
def test_sections_change_every_four_bars_and_outros_come_at_the_end(last, positions, n_steps_left, allowed):
    constraint = SECTION_CONSTRAINTS[constraint_ids(positions, n_steps_left, 512)[0]]
    assert set(np.flatnonzero(constraint[last]).tolist()) == allowed
    assert SECTION_CONSTRAINTS[0].all()
    assert SECTION_CONSTRAINTS.any(2).all(), "something is always allowed"


def label_track(pipeline: Pipeline, metre_position: int = 0, known: np.ndarray = NO_LABELS) -> LabelTrack:
    return LabelTrack(pipeline.score, known, metre_position, 2_000, 1.0, np.random.default_rng(0))


@pytest.mark.parametrize("metre_position", [0, 37])
def test_labels_are_the_same_in_pieces_and_change_sections_every_four_bars(pipeline, metre_position):
    whole, pieces = label_track(pipeline, metre_position), label_track(pipeline, metre_position)
    labels = whole.rows(-1, 1_000)  # a row is of the step after
    assert np.array_equal(np.concatenate([pieces.rows(i - 1, i + 15) for i in range(0, 992, 16)]), labels[:992])
    changes = np.flatnonzero(np.diff(labels[:, 0])) + 1
    assert len(changes) >= 3
    assert not ((changes + metre_position) % N_METRE_POSITIONS).any()
    assert np.array_equal(whole.recalled(500, 900), recalled_steps(labels[:, 0])[500:900])


def test_known_labels_stay_and_others_are_sampled_and_a_note_begins_once(pipeline):
    labels = np.tile([7, 3, 3, 5, 9], (32, 1))  # a new note on every sixteenth
    known = np.where(np.arange(32)[:, None] < 16, labels, SAMPLED)
    rows = label_track(pipeline, known=known).rows(0, 128)
    assert (rows[:63, :3] == [7, 3, 3]).all()
    assert rows[:63, 3].tolist() == ([6, 6, 6, 5] * 16)[:63]
    assert (rows[64:] >= 0).all()
    assert (rows[64:, 1:] != labels[0, 1:]).any()


def test_of_a_clip_of_unknown_score_the_lstm_samples_the_first_labels(pipeline, clip):
    assert not make(pipeline, clip, randomness=0.0).sections[:256].any()
    track = label_track(pipeline, known=np.tile(MASK, (64, 1)))
    track.append(np.array([7, 3, 3, 0, 0]))
    rows = track.rows(0, 600)
    assert (rows[:255] == MASK).all()
    assert (rows[255:258, 0] == 7).all()
    assert (rows[300:] < MASK).all()
