"""Our songs sound like produced ones: spectrum, dynamics and pulse; and what their labels say can be heard in them."""

from collections import defaultdict

import librosa
import numpy as np
import pytest

from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR, TEMPO_BPM
from kpop.corpus.compose import compose
from kpop.corpus.labels import chord_classes
from kpop.corpus.render import render
from kpop.corpus.synths import PATCHES
from kpop.evaluation.music import onset_rate_hz, pulse_clarity

# Of the six mixes of "everything is free" (CC0), at -14 LUFS: mean level of each band in dB relative to the whole.
BANDS_HZ = [(c / 2**0.5, c * 2**0.5) for c in (63, 125, 250, 500, 1_000, 2_000, 4_000)] + [(4_000, 8_000)]
CC0_BANDS_DB = np.array((-4.8, -10.5, -11.1, -10.7, -13.3, -17.0, -19.9, -19.9))
CC0_ONSETS_HZ = (3.21, 5.42)  # least and most
CC0_LEAST_PULSE = 0.30
CC0_CREST_DB = 11.3

SONGS = (0, 1, 4, 11)  # one of each palette
# Krumhansl & Kessler (1982), "Tracing the dynamic changes in perceived tonal organization".
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


@pytest.fixture(scope="module")
def songs():
    return [(score, render(score)) for score in map(compose, SONGS)]


@pytest.fixture(scope="module")
def chromas(songs):
    """12 pitch classes of each half bar of each song, (n_half_bars, 12)."""
    return [chroma_of_half_bars(waveform) for _, waveform in songs]


def chroma_of_half_bars(waveform):
    hop = BAR_SAMPLES // 30  # 1024 samples, fifteen to half a bar
    chroma = librosa.feature.chroma_cqt(y=waveform, sr=SAMPLE_RATE_HZ, hop_length=hop)
    n_half_bars = len(waveform) * 2 // BAR_SAMPLES
    return chroma[:, : n_half_bars * 15].reshape(12, n_half_bars, 15).mean(2).T


def band_levels_db(waveform):
    frames = waveform[: len(waveform) // 4096 * 4096].reshape(-1, 4096) * np.hanning(4096)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(0)
    hz = np.fft.rfftfreq(4096, 1 / SAMPLE_RATE_HZ)
    return np.array([10 * np.log10(power[(hz >= low) & (hz < high)].sum() / power.sum()) for low, high in BANDS_HZ])


def heard_key(chroma):
    """Tonic and mode whose profile agrees best with the chroma."""
    fits = {
        (tonic, mode): np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]
        for mode, profile in PROFILES.items()
        for tonic in range(12)
    }
    return max(fits, key=fits.get)


def heard_chords(chroma):
    """Class 1 to 24 of the triad that agrees best with each half bar."""
    major, minor = np.zeros(12), np.zeros(12)
    major[[0, 4, 7]] = minor[[0, 3, 7]] = 1
    templates = np.array([np.roll(triad, root) for triad in (major, minor) for root in range(12)])
    return np.argmax(chroma @ templates.T, axis=1) + 1


def test_every_group_has_the_spectrum_of_produced_songs(songs):
    for score, waveform in songs:
        assert np.abs(band_levels_db(waveform) - CC0_BANDS_DB).max() < 4, score.palette
    mean_db = np.mean([band_levels_db(waveform) for _, waveform in songs], axis=0)
    assert np.abs(mean_db - CC0_BANDS_DB).max() < 4


def test_songs_are_as_loud_and_as_peaky_as_produced_ones(songs):
    for _, waveform in songs:
        assert integrated_loudness(waveform) == pytest.approx(-14, abs=0.3)
        assert true_peak_db(waveform) < -1
        crest_db = 20 * np.log10(np.abs(waveform).max() / waveform.std())
        assert crest_db == pytest.approx(CC0_CREST_DB, abs=1.5)


def test_songs_have_a_pulse_and_as_many_onsets_as_produced_ones(songs):
    for _, waveform in songs:
        assert pulse_clarity(waveform) > CC0_LEAST_PULSE
        assert CC0_ONSETS_HZ[0] <= onset_rate_hz(waveform) <= CC0_ONSETS_HZ[1]


def test_choruses_lift_above_verses_and_bridges_step_back(songs):
    lufs = defaultdict(list)
    for score, waveform in songs:
        for section in score.sections:
            first = section.first_bar * BAR_SAMPLES
            part = waveform[first : first + section.n_bars * BAR_SAMPLES]
            lufs[section.kind].append(integrated_loudness(part))
    mean = {kind: np.mean(values) for kind, values in lufs.items()}
    assert 2 <= mean["chorus"] - mean["verse"] <= 4
    assert mean["bridge"] < mean["verse"]
    assert mean["verse"] < mean["prechorus"] < mean["chorus"]


def test_stacked_oscillators_are_few_and_close_so_that_they_do_not_beat_like_noise():
    for patch in (patch for patches in PATCHES.values() for patch in patches.values()):
        assert patch.n_voices <= 5
        assert patch.detune_cents <= 10


def test_a_beat_tracker_hears_the_tempo(songs):
    for _, waveform in songs:
        tempo_bpm = float(np.ravel(librosa.beat.beat_track(y=waveform[: 20 * BAR_SAMPLES], sr=SAMPLE_RATE_HZ)[0])[0])
        assert min(abs(tempo_bpm * ratio / TEMPO_BPM - 1) for ratio in (0.5, 1, 2)) < 0.04


def test_the_key_of_most_songs_or_its_relative_can_be_heard(songs, chromas):
    right = 0
    for (score, _), chroma in zip(songs, chromas, strict=True):
        tonic, mode = score.sections[0].tonic, score.sections[0].mode
        relative = ((tonic + 3) % 12, "major") if mode == "minor" else ((tonic + 9) % 12, "minor")
        n_home = 2 * sum(section.n_bars for section in score.sections if section.tonic == tonic)
        right += heard_key(chroma[:n_home].mean(0)) in ((tonic, mode), relative)
    assert right > len(songs) / 2


def test_the_chords_of_the_labels_can_be_heard(songs, chromas):
    agreed = [
        np.mean(heard_chords(chroma) == chord_classes(score)[:: SIXTEENTHS_PER_BAR // 2])
        for (score, _), chroma in zip(songs, chromas, strict=True)
    ]
    assert np.mean(agreed) > 0.6
