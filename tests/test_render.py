import time
from dataclasses import replace

import numpy as np
import pytest

from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES
from kpop.corpus.choir import performances
from kpop.corpus.collection import render_song, song_name, write_corpus
from kpop.corpus.render import render, stem
from kpop.corpus.score import Chord, Note, Score, Section
from kpop.corpus.synths import PATCHES, tone
from kpop.corpus.waves import midi_hz

PALETTES = tuple(PATCHES["bass"])
TUNE = ((0, 2, 69, "na"), (2, 2, 71, "yo"), (4, 6, 72, "wa"), (12, 2, 67, ""), (14, 2, 69, "hi"))


def a_score(palette="neon", n_bars=2):
    """A bar of everything, repeated."""
    c_major = Chord(0, "maj")
    return Score(
        number=0,
        palette=palette,
        sections=(Section("chorus", 0, n_bars, 0, "major"),),
        chords=((c_major, c_major),) * n_bars,
        tracks={
            track: tuple(shifted(a_bar(track), n_bars)) for track in ("kick", "snare", "hat", "bass", "pad", "lead")
        }
        | {
            "shout": (Note(12, 2),),
            "chop": (Note(4, 1, 76, 0.8, "a"),),
            "riser": (Note(0, 16),),
            "impact": (Note(16, 4),),
        },
    )


def a_bar(track):
    if track == "lead":
        return [Note(start, length, midi, 0.9, syllable) for start, length, midi, syllable in TUNE]
    if track == "pad":
        return [Note(0, 16, midi, 0.8) for midi in (60, 64, 67)]
    every = {"kick": 4, "snare": 8, "hat": 2, "bass": 2}[track]
    return [Note(start, every, 36) for start in range(0, 16, every)]


def shifted(notes, n_bars):
    return [replace(note, start_16th=note.start_16th + 16 * bar) for bar in range(n_bars) for note in notes]


def power_spectrum(waveform):
    n_fft = 1 << 18
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), n_fft)) ** 2
    return np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ), spectrum


def sung(syllable, midi, palette="neon", length=8):
    ((_, waveform),) = performances("harmony", palette, (Note(0, length, midi, 0.9, syllable),))
    return waveform


@pytest.mark.parametrize("palette", PALETTES)
def test_a_song_is_finite_not_clipped_and_as_long_as_its_bars(palette):
    song = render(a_score(palette))
    assert song.shape == (2 * BAR_SAMPLES,)
    assert song.dtype == np.float32
    assert np.isfinite(song).all()
    assert 0.3 < np.abs(song).max() <= 0.99


def test_the_same_score_gives_the_same_samples():
    assert np.array_equal(render(a_score()), render(a_score()))


@pytest.mark.parametrize("palette", PALETTES)
def test_a_song_has_no_offset(palette):
    song = render(a_score(palette))
    assert abs(song.mean()) < 1e-3 * song.std()


def test_kicks_are_the_same_samples_wherever_they_fall():
    kicks = stem("kick", "neon", (Note(0, 1), Note(8, 1)), BAR_SAMPLES)
    half = BAR_SAMPLES // 2
    assert np.array_equal(kicks[:half], kicks[half:])
    assert np.sum(kicks[: 4 * SIXTEENTH_SAMPLES] ** 2) > 100 * np.sum(kicks[4 * SIXTEENTH_SAMPLES : half] ** 2)


def test_the_same_phrase_is_sung_the_same_way_again():
    (_, first), (_, second) = performances("lead", "neon", (Note(2, 4, 69, 0.9, "na"), Note(34, 4, 69, 0.9, "na")))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("midi", [60, 69, 79])
@pytest.mark.parametrize("syllable", ["na", "i", "wo"])
def test_a_sung_note_has_the_pitch_asked_for(midi, syllable):
    middle = sung(syllable, midi, length=2)[1500:3800]  # before vibrato sets in
    frequency_hz, power = power_spectrum(middle)
    near = np.abs(frequency_hz / midi_hz(midi) - 1) < 0.2
    found_hz = frequency_hz[near][np.argmax(power[near])]
    assert abs(1200 * np.log2(found_hz / midi_hz(midi))) < 15


def test_the_vowel_moves_the_formants():
    def share(syllable, low_hz, high_hz):
        frequency_hz, power = power_spectrum(sung(syllable, 57))
        return power[(frequency_hz > low_hz) & (frequency_hz < high_hz)].sum() / power.sum()

    assert share("i", 2_300, 3_600) > 3 * share("u", 2_300, 3_600)
    assert share("a", 700, 1_600) > 3 * share("i", 700, 1_600)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("track", ["pad", "pluck", "stab"])
def test_a_high_note_does_not_alias(palette, track):
    midi = 91
    frequency_hz, power = power_spectrum(tone(track, palette, midi, 8 * SIXTEENTH_SAMPLES, 1.0)[4_000:])
    below = frequency_hz < 0.9 * midi_hz(midi)  # where only what folded back can lie
    assert power[below & (frequency_hz > 50)].sum() < 1e-5 * power.sum()


def test_every_note_starts_and_ends_without_a_click():
    for track, patches in PATCHES.items():
        for palette in patches:
            note = tone(track, palette, 48, SIXTEENTH_SAMPLES, 1.0)
            assert max(abs(note[0]), abs(note[-1])) < 0.02 * np.abs(note).max()


def test_a_corpus_has_the_same_bytes_whatever_the_number_of_jobs(tmp_path):
    ready = []
    write_corpus(tmp_path / "one", n_songs=2, n_jobs=1)
    write_corpus(tmp_path / "two", n_songs=2, n_jobs=2, on_song=ready.append)
    write_corpus(tmp_path / "alone", n_songs=1, first=1)
    assert sorted(ready) == [0, 1]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    for suffix in (".wav", ".json"):
        name = song_name(1) + suffix
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(list((tmp_path / "two").iterdir())) == 4


def test_a_song_renders_fifteen_times_faster_than_it_plays():
    render_song(0)  # compiles
    started_s = time.process_time()
    song, _ = render_song(3)
    assert len(song) / SAMPLE_RATE_HZ > 15 * (time.process_time() - started_s)
