"""Songs of the corpus sound like produced ones, and what their labels say can be measured in them."""

import time
from collections import defaultdict

import librosa
import numpy as np
import pytest

from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES, STEPS_PER_BAR, TEMPO_BPM
from kpop.corpus.compose import compose, song_name, step_labels, write_corpus
from kpop.corpus.instruments import PATCHES, midi_hz, tone
from kpop.corpus.mix import render, stem
from kpop.corpus.score import PALETTES, Note
from kpop.corpus.voice import LEADS, sing

# Of the six mixes of "everything is free" (CC0) at -14 LUFS: mean level of octave bands in dB relative to the whole.
BANDS_HZ = [(c / 2**0.5, c * 2**0.5) for c in (63, 125, 250, 500, 1_000, 2_000, 4_000)] + [(4_000, 8_000)]
CC0_BANDS_DB = np.array((-4.8, -10.5, -11.1, -10.7, -13.3, -17.0, -19.9, -19.9))
CC0_CREST_DB = 11.3
TRIADS = np.array([np.isin(np.arange(12), np.add(t, root) % 12) for t in ((0, 4, 7), (0, 3, 7)) for root in range(12)])


@pytest.fixture(scope="module")
def songs():
    return [(score, render(score)) for score in map(compose, (0, 1, 4, 11))]  # one of each palette


def power_spectrum(waveform, n_fft=1 << 18):
    spectrum = np.fft.rfft(waveform * np.hanning(len(waveform)), n_fft)
    return np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ), np.abs(spectrum) ** 2


def band_share(waveform, low_hz, high_hz):
    hz, power = power_spectrum(waveform, max(len(waveform), 1 << 18))
    return power[(hz >= low_hz) & (hz < high_hz)].sum() / power.sum()


def test_songs_of_every_palette_have_level_crest_and_spectrum_of_produced_ones(songs):
    for score, waveform in songs:
        assert (waveform.shape, waveform.dtype) == ((score.n_bars * BAR_SAMPLES,), np.float32)
        assert np.abs(waveform.mean()) < 1e-3 * waveform.std()
        assert integrated_loudness(waveform) == pytest.approx(-14, abs=0.3)
        assert true_peak_db(waveform) < -1
        assert 20 * np.log10(np.abs(waveform).max() / waveform.std()) == pytest.approx(CC0_CREST_DB, abs=1.5)
        levels_db = [10 * np.log10(band_share(waveform, *band_hz)) for band_hz in BANDS_HZ]
        assert np.abs(levels_db - CC0_BANDS_DB).max() < 4, score.palette


def test_choruses_lift_above_verses_and_bridges_step_back(songs):
    lufs = defaultdict(list)
    for score, waveform in songs:
        for section in score.sections:
            first = section.first_bar * BAR_SAMPLES
            lufs[section.kind].append(integrated_loudness(waveform[first : first + section.n_bars * BAR_SAMPLES]))
    mean = {kind: np.mean(values) for kind, values in lufs.items()}
    assert 2 <= mean["chorus"] - mean["verse"] <= 4
    assert mean["bridge"] < mean["verse"] < mean["prechorus"] < mean["chorus"]


def test_tempo_and_chords_of_the_labels_can_be_measured(songs):
    agreed = []
    for score, waveform in songs:
        tempo_bpm = float(np.ravel(librosa.beat.beat_track(y=waveform[: 20 * BAR_SAMPLES], sr=SAMPLE_RATE_HZ)[0])[0])
        assert min(abs(tempo_bpm * ratio / TEMPO_BPM - 1) for ratio in (0.5, 1, 2)) < 0.04
        chroma = librosa.feature.chroma_cqt(y=waveform, sr=SAMPLE_RATE_HZ, hop_length=BAR_SAMPLES // 30)
        half_bars = chroma[:, : score.n_bars * 30].reshape(12, -1, 15).mean(2)
        agreed.append(np.mean((TRIADS @ half_bars).argmax(0) + 1 == step_labels(score)[:: STEPS_PER_BAR // 2, 2]))
    assert np.mean(agreed) > 0.6


def test_the_same_hits_and_phrases_are_the_same_samples_wherever_they_fall():
    for track, note in (("kick", {}), ("lead", {"midi": 69, "syllable": "na"})):
        notes = tuple(Note(start, 2, **note) for start in (2, 18))
        first, second = stem(track, "neon", notes, 2 * BAR_SAMPLES).reshape(2, -1)
        assert first.any()
        assert np.array_equal(first, second)


@pytest.mark.parametrize("midi", [60, 69, 79])
@pytest.mark.parametrize("syllable", ["na", "i", "wo"])
def test_a_sung_note_has_its_pitch(midi, syllable):
    hz, power = power_spectrum(sing(LEADS["neon"], (Note(0, 2, midi, 0.8, syllable),))[1_500:3_800])
    near = np.abs(hz / midi_hz(midi) - 1) < 0.2
    assert abs(1200 * np.log2(hz[near][np.argmax(power[near])] / midi_hz(midi))) < 15


def test_the_vowel_moves_the_formants():
    i, u, a = (sing(LEADS["neon"], (Note(0, 8, 57, 0.8, vowel),)) for vowel in "iua")
    assert band_share(i, 2_300, 3_600) > 3 * band_share(u, 2_300, 3_600)
    assert band_share(a, 700, 1_600) > 3 * band_share(i, 700, 1_600)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("track", PATCHES)
def test_notes_do_not_alias_or_click_and_oscillators_do_not_beat_like_noise(track, palette):
    high = tone(track, palette, 91, 8 * SIXTEENTH_SAMPLES, 1.0)[4_000:]
    assert track == "bass" or band_share(high, 50, 0.9 * midi_hz(91)) < 1e-5
    low = tone(track, palette, 48, SIXTEENTH_SAMPLES, 1.0)
    assert max(abs(low[0]), abs(low[-1])) < 0.02 * np.abs(low).max()
    assert PATCHES[track][palette].n_voices <= 5
    assert PATCHES[track][palette].detune_cents <= 10


def test_a_corpus_has_the_same_bytes_for_any_number_of_processes(tmp_path):
    assert list(write_corpus(tmp_path / "one", n_songs=2)) == [0, 1]
    assert list(write_corpus(tmp_path / "two", n_songs=1, first=1, n_jobs=2)) == [1]
    names = [f"{song_name(1)}{suffix}" for suffix in (".json", ".wav")]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    for path in (tmp_path / "two").iterdir():
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()


def test_a_song_renders_fifteen_times_faster_than_it_plays(songs):
    started_s = time.process_time()
    waveform = render(compose(3))
    assert len(waveform) / SAMPLE_RATE_HZ > 15 * (time.process_time() - started_s)
