"""A song that arrives in pieces is mastered like a whole one, and while it arrives nearly so, without a click."""

import tracemalloc

import numpy as np
import pytest

from kpop.audio import loudness
from kpop.audio.loudness import (
    FADE_SAMPLES,
    LiveMaster,
    Meter,
    SongMaster,
    finished_master,
    integrated_loudness,
    normalise,
    true_peak_db,
)
from kpop.constants import SAMPLE_RATE_HZ


def song(seconds: float, gain: float = 1.0) -> np.ndarray:
    """Chords under drum hits, with a quiet middle; about -14 LUFS."""
    rng, t = np.random.default_rng(4), np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    chords = sum(np.sin(2 * np.pi * hz * t) for hz in (110, 277.2, 329.6, 440)) * 0.12
    hits = rng.standard_normal(t.size) * np.exp(-(t % 0.48) * 25) * 0.2
    quiet = np.where((t > seconds * 0.4) & (t < seconds * 0.5), 0.2, 1.0)
    return (gain * quiet * (chords + hits)).astype(np.float32)


def cut(waveform: np.ndarray, n_samples: int) -> list[np.ndarray]:
    return [waveform[i : i + n_samples] for i in range(0, max(len(waveform), 1), n_samples)]


def live(waveform: np.ndarray, n_samples: int) -> list[np.ndarray]:
    master, pieces = LiveMaster(), cut(waveform, n_samples)
    return [master.push(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces)]


@pytest.mark.parametrize("n_samples", [0, 1, 15, 16, 17, 5000, 48_123])
@pytest.mark.parametrize("size", [7, 480, 1 << 20])
def test_a_meter_reads_pieces_as_it_reads_the_whole(n_samples, size):
    waveform = song(4)[:n_samples]
    meter, pieces = Meter(), cut(waveform, size)
    read = [meter.push(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces)]
    powers, peaks = (np.concatenate(values) for values in zip(*read, strict=True))
    np.testing.assert_allclose(powers, loudness._chunk_powers(waveform), rtol=1e-9)
    np.testing.assert_allclose(peaks, loudness._chunk_peaks(waveform), atol=1e-6)


@pytest.mark.parametrize("gain", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("n_samples", [1, 300, FADE_SAMPLES + 1, 20_001, 160_000])
@pytest.mark.parametrize("size", [480, 30_720])
def test_the_finished_master_of_pieces_is_that_of_the_whole(gain, n_samples, size):
    waveform = song(10, gain)[:n_samples]
    faded, n_fade = waveform.copy(), min(n_samples, FADE_SAMPLES)
    faded[n_samples - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    assert np.abs(finished_master(cut(waveform, size)) - normalise(faded)).max() < 1e-6


def test_silence_and_nothing_can_be_mastered():
    assert not finished_master([np.zeros(5000, np.float32)]).any()
    assert finished_master([]).size == 0
    assert not np.concatenate(live(np.zeros(5000, np.float32), 480)).any()
    assert LiveMaster().push(np.zeros(0, np.float32), last=True).size == 0


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        finished_master([np.full(5000, np.nan, np.float32)])


@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_the_live_master_never_leaves_the_ceiling(gain):
    mastered = np.concatenate(live(song(20, gain), 7680))
    assert true_peak_db(mastered) < -0.9
    assert np.abs(mastered).max() <= 1


def test_the_live_master_comes_to_the_target_in_time():
    raw = song(90, 0.6)
    mastered = np.concatenate(live(raw, 30_720))
    assert abs(integrated_loudness(raw) - loudness.TARGET_LUFS) > 3
    assert abs(integrated_loudness(mastered[60 * SAMPLE_RATE_HZ :]) - loudness.TARGET_LUFS) < 1


def test_the_live_master_leaves_a_song_at_the_target_nearly_as_it_is():
    raw = song(20)
    raw *= np.float32(10 ** ((loudness.TARGET_LUFS - integrated_loudness(raw)) / 20))
    assert abs(integrated_loudness(np.concatenate(live(raw, 7680))) - loudness.TARGET_LUFS) < 0.5


def test_the_live_gain_moves_slowly():
    """A steady tone, far too quiet: its envelope rises by no more than a decibel a second."""
    tone = 0.01 * np.sin(2 * np.pi * 1000 * np.arange(12 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
    mastered = np.concatenate(live(tone, 7680))
    peaks_db = 20 * np.log10(np.abs(mastered[: 11 * SAMPLE_RATE_HZ]).reshape(11, -1).max(1))
    assert (np.diff(peaks_db) < 1.01).all()
    assert peaks_db[-1] - peaks_db[0] > 4


def test_pieces_of_any_size_give_the_same_live_master():
    raw = song(5, 2.0)
    as_one = np.concatenate(live(raw, raw.size))
    for size in (100, 480, 7681):
        assert np.array_equal(np.concatenate(live(raw, size)), as_one)
    assert as_one.size == raw.size


def test_the_live_master_gives_samples_out_within_twenty_milliseconds():
    master = LiveMaster()
    assert len(master.push(song(1)[:7680])) > 7680 - 0.02 * SAMPLE_RATE_HZ


def test_mastering_takes_little_more_memory_than_the_song():
    def peak_bytes(seconds: int) -> int:
        piece = song(2)
        tracemalloc.start()
        master = SongMaster()
        for _ in range(seconds // 2):
            master.push(piece.copy())
        master.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    song_bytes = 100 * SAMPLE_RATE_HZ * 4
    assert peak_bytes(200) - peak_bytes(100) < 3.5 * song_bytes
