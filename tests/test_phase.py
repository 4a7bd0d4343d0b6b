"""The phase fits the magnitudes: nearer than librosa's Griffin-Lim, always the same, without made-up impulses."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kpop.audio import phase
from kpop.audio.phase import reconstruct
from kpop.audio.stft import frame_count, stft
from kpop.constants import BAR_SAMPLES, N_BINS, SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES
from kpop.evaluation.fidelity import compare_with_griffin_lim, crest_factor_db, spectral_convergence_db


def band() -> np.ndarray:
    """Two bars of bass, chords with harmonics, kick and hat."""
    t = np.arange(2 * BAR_SAMPLES) / SAMPLE_RATE_HZ
    notes_hz = [(55, 0.2), (261.6, 0.06), (329.6, 0.06), (392, 0.06)]
    sound = sum(g / k * np.sin(2 * np.pi * hz * k * t) for hz, g in notes_hz for k in range(1, 9))
    decay = np.arange(SIXTEENTH_SAMPLES) / SAMPLE_RATE_HZ
    kick = 0.5 * np.sin(2 * np.pi * 60 * decay + 8 * (1 - np.exp(-decay * 60))) * np.exp(-decay * 30)
    generator = np.random.default_rng(2)
    for i, start in enumerate(range(0, t.size, SIXTEENTH_SAMPLES)):
        hat = 0.1 * generator.standard_normal(decay.size) * np.exp(-decay * 80)
        sound[start : start + decay.size] += hat + (kick if i % 4 == 0 else 0)
    return sound.astype(np.float32)


def test_reconstruction_is_nearer_than_librosas_griffin_lim():
    figures = compare_with_griffin_lim(band())
    assert figures["ours_db"] < -26
    assert figures["ours_db"] <= figures["librosa_db"] - 3.5
    assert abs(figures["ours_crest_db"] - figures["original_crest_db"]) < 1.5


def test_heap_integration_alone_knows_where_a_drum_hit_falls():
    sound = np.zeros(8000, np.float32)
    sound[4100:4300] = np.sin(np.arange(200) * 0.3) * np.exp(-np.arange(200) / 40)
    tries = [reconstruct(np.abs(stft(sound)), sound.size, seed, n_iterations=0) for seed in range(9)]
    assert all(abs(int(np.abs(rebuilt).argmax()) - int(np.abs(sound).argmax())) < 40 for rebuilt in tries)
    assert np.median([np.sum(rebuilt[4000:4400] ** 2) / np.sum(rebuilt**2) for rebuilt in tries]) > 0.89


def test_more_iterations_come_closer():
    sound = band()
    magnitude = np.abs(stft(sound))
    errors_db = [spectral_convergence_db(magnitude, reconstruct(magnitude, sound.size, 0, n)) for n in (0, 4, 16)]
    assert errors_db == sorted(errors_db, reverse=True)
    assert errors_db[0] < -12


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    magnitude = np.abs(stft(band()[:SAMPLE_RATE_HZ]))
    first, again, other = (reconstruct(magnitude, SAMPLE_RATE_HZ, seed).tobytes() for seed in (5, 5, 6))
    assert first == again != other


def test_smooth_noise_bursts_do_not_become_impulses(monkeypatch):
    generator, bursts = np.random.default_rng(3), np.zeros(4 * SAMPLE_RATE_HZ)
    for start in range(8000, 60_000, 8000):
        bursts[start : start + 2400] = generator.standard_normal(2400) * np.exp(-np.arange(2400) / 600)
    # What a decoder makes of snare hits: the noise's envelope without its roughness.
    magnitude = np.sqrt(gaussian_filter(np.abs(stft(bursts)) ** 2, (0.7, 8))).astype(np.float32)
    crest_db = crest_factor_db(reconstruct(magnitude, bursts.size))
    monkeypatch.setattr(phase, "FLATNESS", 2.0)  # heap integration everywhere
    assert crest_db < crest_factor_db(reconstruct(magnitude, bursts.size)) - 3


def test_silence_stays_silent():
    assert not reconstruct(np.zeros((frame_count(100_000), N_BINS), np.float32), 100_000).any()


@pytest.mark.parametrize(("n_frames", "value"), [(5, np.nan), (5, np.inf), (5, -1.0), (7, 1.0)])
def test_magnitudes_that_cannot_be_are_refused(n_frames, value):
    with pytest.raises(ValueError, match=r"finite and not negative|1000 samples have 5 x 481"):
        reconstruct(np.full((n_frames, N_BINS), value, np.float32), 1000)
