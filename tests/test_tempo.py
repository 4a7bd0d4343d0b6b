"""A listener's own sound is continued in time: its tempo and beat are heard, and the song keeps both.

`pytest -s tests/test_tempo.py` prints how well.
"""

import io
import time

import numpy as np
import pytest
import rhythms
import soundfile

from kpop.audio.beat import find_pulse
from kpop.audio.measures import log_mel_error_db
from kpop.constants import SAMPLE_RATE_HZ, STEPS_PER_BAR, STEPS_PER_BEAT, TEMPO_BPM
from kpop.engine import Engine, PipelineCache
from kpop.errors import KpopError
from kpop.generation.clips import SeedClip, clip_from_file
from kpop.generation.pipeline import Pipeline
from kpop.generation.session import GenerationSession, generate
from kpop.model_info import DEFAULT_MODEL, checkpoint_path
from kpop.settings import GRID_BEAT, Beat, GeneratedSong, Settings

N_TRIES = 25


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(checkpoint_path(DEFAULT_MODEL))


@pytest.fixture(scope="module")
def tiny(tiny_model) -> Pipeline:
    return Pipeline.load(tiny_model)


def heard(waveform: np.ndarray, rate: int = SAMPLE_RATE_HZ) -> SeedClip:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate, format="WAV")
    buffer.seek(0)
    return clip_from_file(buffer, "mine.wav")


def off_by(bpm: float, true_bpm: float) -> float:
    """Share by which a tempo is off, whatever the octave."""
    octaves = np.log2(bpm / true_bpm)
    return abs(2 ** (octaves - round(octaves)) - 1)


def late_ms(moment_s: float, bpm: float, beat_s: float) -> float:
    """How far a moment is from the nearest beat."""
    beats = (moment_s - beat_s) * bpm / 60
    return abs(beats - round(beats)) * 60_000 / bpm


KINDS = [(rhythms.claps, 20), (rhythms.humming, 25), (rhythms.tied, 40), (rhythms.counting, 25)]


@pytest.mark.parametrize(("kind", "latest_ms"), KINDS)
def test_tempo_and_beat_of_what_people_do_are_heard(kind, latest_ms):
    rng, right, late = np.random.default_rng(1), [], []
    for bpm in rng.uniform(80, 170, N_TRIES):
        pulse = find_pulse(kind(bpm, rng))
        right.append(pulse is not None and off_by(pulse.tempo_bpm, bpm) < 0.01)
        last_s = rhythms.START_S + int((7.5 - rhythms.START_S) * bpm / 60) * 60 / bpm
        late.append(late_ms(last_s, pulse.tempo_bpm, pulse.beat_s) if right[-1] else np.inf)
    print(f"{kind.__name__}: tempo within 1 % {np.mean(right):.0%}, beat at the end of the seed off by "
          f"{np.median(late):.0f} ms (p90 {np.quantile(late, 0.9):.0f} ms)")  # fmt: skip
    assert np.mean(right) >= 0.95
    assert np.median(late) < 20
    assert np.quantile(late, 0.9) < latest_ms


def test_tempo_of_songs_is_heard():
    rng = np.random.default_rng(1)
    tempi = rng.uniform(80, 170, N_TRIES)
    pulses = [find_pulse(rhythms.song(bpm, rng)[: 12 * SAMPLE_RATE_HZ]) for bpm in tempi]
    off = [off_by(pulse.tempo_bpm, bpm) if pulse else 1 for pulse, bpm in zip(pulses, tempi, strict=True)]
    print(f"songs: tempo within 1 % {np.mean(np.array(off) < 0.01):.0%}, median error {np.median(off):.2%}")
    assert np.mean(np.array(off) < 0.01) >= 0.95


@pytest.mark.parametrize("kind", [rhythms.long_note, rhythms.anyhow, rhythms.rustle])
def test_what_has_no_beat_is_not_given_one(kind):
    rng = np.random.default_rng(2)
    assert np.mean([heard(kind(rng)).tempo_bpm is None for _ in range(10)]) >= 0.9


def test_who_sings_a_long_note_gets_a_song_at_the_models_tempo(tiny):
    clip = heard(rhythms.long_note(np.random.default_rng(3)))
    song = generate(tiny, Settings(length_s=8, randomness=0.0), clip)
    assert clip.tempo_bpm is None
    assert song.beat.tempo_bpm == pytest.approx(TEMPO_BPM)


@pytest.mark.parametrize(
    ("clapped_bpm", "heard_bpm"), [(66, 132), (80, 160), (86, 172), (95, 95), (172, 172), (200, 100)]
)
def test_every_tempo_is_counted_at_the_octave_nearest_to_the_models(clapped_bpm, heard_bpm):
    clip = heard(rhythms.claps(clapped_bpm, np.random.default_rng(4)))
    assert clip.tempo_bpm == pytest.approx(heard_bpm, rel=0.01)


PERFORMANCES = [(rhythms.claps, 100), (rhythms.claps, 148), (rhythms.humming, 112), (rhythms.counting, 92)]


@pytest.mark.parametrize(("kind", "bpm"), PERFORMANCES)
def test_the_machine_goes_on_in_time(pipeline, kind, bpm):
    """What it dreams after the seed has the seed's tempo and lies on its beats, though nobody tells it the tempo."""
    clip = heard(kind(bpm, np.random.default_rng(5)))
    song = generate(pipeline, Settings(length_s=24, clip=clip.name), clip)
    dreamt = find_pulse(song.waveform[round(song.seed_end_s * SAMPLE_RATE_HZ) :][: 12 * SAMPLE_RATE_HZ])
    late = late_ms(dreamt.beat_s + song.seed_end_s, 2 * song.beat.tempo_bpm, song.beat.first_downbeat_s)
    print(f"{kind.__name__} at {bpm}: goes on at {dreamt.tempo_bpm:.2f} BPM, beats off by {late:.0f} ms")
    assert off_by(song.beat.tempo_bpm, bpm) < 0.01
    assert off_by(dreamt.tempo_bpm, song.beat.tempo_bpm) < 0.002
    assert late < 15


def test_the_first_sound_comes_within_a_second_of_the_file(pipeline):
    claps = rhythms.claps(100, np.random.default_rng(6))
    heard(claps)  # what is compiled or imported on the way has been by then
    started_s = time.monotonic()
    clip = heard(claps)
    dream, places = GenerationSession(pipeline, Settings(), clip), pipeline.places(1)
    while not dream.piece_ready:
        dream.take(places.run([dream.next_stride(places, 0)])[0], 0.0)
    assert dream.make_piece()
    taken_s = time.monotonic() - started_s
    print(f"from file to first sound {taken_s:.2f} s")
    assert taken_s < 1


@pytest.mark.parametrize("bpm", [93, 118.4, 170])
def test_a_clip_at_another_tempo_is_heard_as_it_is(tiny, bpm):
    """At the right pitch and in its own time: nothing of the seed is stretched by more than the ear could tell."""
    clip = heard(rhythms.song(bpm, np.random.default_rng(7)))
    song = generate(tiny, Settings(length_s=24, randomness=0.0), clip)
    n_samples = round(song.seed_end_s * SAMPLE_RATE_HZ) // 2  # so early a difference of 0.3 % has not grown
    played, wanted = song.waveform[:n_samples], clip.waveform[:n_samples]
    assert song.beat.tempo_bpm == pytest.approx(bpm, rel=0.004)
    assert log_mel_error_db(wanted, played * np.float32(np.std(wanted) / np.std(played))) < 2.0


def test_length_and_seed_are_counted_at_the_songs_own_tempo(tiny):
    clip = heard(rhythms.song(150, np.random.default_rng(8)))
    song = generate(tiny, Settings(length_s=11.11, randomness=0.0), clip)
    assert len(song.waveform) == round(11.11 * SAMPLE_RATE_HZ)
    n_beats = song.seed_end_s / song.beat.beat_s
    assert n_beats == pytest.approx(round(n_beats))
    assert 8 <= n_beats <= 16


def test_same_settings_and_clip_give_the_same_bytes_alone_and_in_a_crowd(tiny, tiny_model):
    clips = [heard(rhythms.claps(bpm, np.random.default_rng(9))) for bpm in (96, 131, 168)]
    engine = Engine(PipelineCache())
    try:
        wishes = [Settings(length_s=8, seed_number=n, model=str(tiny_model)) for n in (1, 2)]
        jobs = [engine.submit(settings, clip) for clip in clips for settings in wishes]
        crowd = [job.result().waveform.tobytes() for job in jobs]
    finally:
        engine.close()
    assert crowd == [generate(tiny, job.settings, job.clip).waveform.tobytes() for job in jobs]
    assert len(set(crowd)) == len(crowd)


def test_pure_chance_leaves_nothing_of_a_clips_tempo(tiny):
    clip = heard(rhythms.claps(100, np.random.default_rng(10)))
    assert generate(tiny, Settings(length_s=8, randomness=1.0), clip).beat == GRID_BEAT


def test_bars_are_where_the_metronome_says(tiny, beat):
    def beat_of(first_slot: int, tempo_bpm: float | None) -> Beat:
        clip = SeedClip("x", "X", beat[: 5 * SAMPLE_RATE_HZ], first_slot, None, tempo_bpm)
        return GenerationSession(tiny, Settings(), clip).beat

    assert beat_of(0, None) == GRID_BEAT
    assert beat_of(3 * STEPS_PER_BEAT, None).first_downbeat_s == pytest.approx(0.48)
    assert beat_of(STEPS_PER_BAR - 1, 100.0).first_downbeat_s == pytest.approx(0.6 / STEPS_PER_BEAT)
    assert beat_of(0, 100.0).beat_s == pytest.approx(0.6)


def recording(bpm: float = 104, gain: float = 0.03, offset: float = 0.02) -> np.ndarray:
    """As a phone hands it over: 48 kHz, soft, with a constant, and nothing for 2 s before and 3 s after."""
    claps = rhythms.claps(bpm, np.random.default_rng(11), start_s=0.0)
    room = rhythms.ROOM * np.random.default_rng(12).standard_normal(5 * SAMPLE_RATE_HZ)
    whole = gain * np.concatenate([room[: 2 * SAMPLE_RATE_HZ], claps, room[2 * SAMPLE_RATE_HZ :]]) + offset
    return np.interp(np.arange(0, 13, 1 / 48_000), np.arange(len(whole)) / SAMPLE_RATE_HZ, whole)


def test_a_soft_recording_is_heard_from_its_first_clap_to_its_last():
    clip = heard(recording(), 48_000)
    assert clip.tempo_bpm == pytest.approx(104, rel=0.01)
    assert abs(clip.waveform.mean()) < 1e-3
    assert np.abs(clip.waveform[: SAMPLE_RATE_HZ // 10]).max() > 0.1
    assert len(clip.waveform) / SAMPLE_RATE_HZ == pytest.approx(8, abs=0.6)
    assert (clip.first_slot + 1) % STEPS_PER_BAR <= 2, "who begins to clap begins a bar"


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (recording()[: 3 * 48_000], "holds only"),
        (1e-5 * recording(), "silent"),
        (np.full(48_000 * 4, 0.02), "silent"),
        (recording()[:48_000], "lasts only"),
    ],
)
def test_too_short_or_silent_is_one_clear_sentence(waveform, words):
    with pytest.raises(KpopError, match=words) as error:
        heard(waveform, 48_000)
    assert str(error.value).count(".wav") == 1


def test_a_finished_song_says_where_its_beats_are():
    song = GeneratedSong(np.zeros(0, np.float32), np.zeros((0, 128)), np.zeros(128), 0.0, Settings())
    assert song.beat == GRID_BEAT
    assert song.beat.tempo_bpm == pytest.approx(TEMPO_BPM)
