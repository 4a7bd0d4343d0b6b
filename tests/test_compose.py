"""Songs of the corpus: on the grid, in key, with a form that returns, and heard as their labels say."""

import time
from collections import defaultdict
from dataclasses import replace
from itertools import combinations, pairwise

import librosa
import numpy as np
import pytest
from scipy.signal import periodogram

from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.constants import (
    BAR_SAMPLES,
    HIGHEST_TUNE_MIDI,
    LABEL_SIZES,
    LOWEST_TUNE_MIDI,
    N_TUNE_CLASSES,
    SAMPLE_RATE_HZ,
    SIXTEENTH_SAMPLES,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_SIXTEENTH,
    TEMPO_BPM,
)
from kpop.corpus.compose import compose, labels, song_name, step_labels, tune_class, write_corpus
from kpop.corpus.instruments import PATCHES, midi_hz, tone
from kpop.corpus.mix import render, stem
from kpop.corpus.score import DRUM_TRACKS, PALETTES, TRACKS, VOICE_TRACKS, Chord, Note, Score, Section
from kpop.corpus.theory import SCALES, TONICS, chord_at, chord_class, chord_tones
from kpop.corpus.voice import LEADS, sing

SCORES = [compose(number) for number in range(20)]
RANGES = {"lead": (60, 79), "harmony2": (48, 84), "adlib": (55, 84), "chop": (55, 84)}
RANGES |= {"bass": (28, 50), "pad": (52, 76), "pluck": (64, 88)}


def notes_in(score: Score, track: str, section: Section) -> list[Note]:
    """The notes of a track that start in a section, timed from its start."""
    first_16th, length_16ths = section.first_bar * SIXTEENTHS_PER_BAR, section.n_bars * SIXTEENTHS_PER_BAR
    shifted = (replace(note, start_16th=note.start_16th - first_16th) for note in score.tracks[track])
    return [note for note in shifted if 0 <= note.start_16th < length_16ths]


def sounding(*notes: Note) -> set[float]:
    """The half sixteenths during which any of the notes sounds."""
    return {note.start_16th + i / 2 for note in notes for i in range(int(2 * note.length_16ths))}


def test_songs_differ_in_tune_palette_and_form():
    assert len({tuple(score.tracks["lead"]) for score in SCORES}) == len(SCORES)
    assert len({score.palette for score in SCORES}) == 4
    assert len({tuple(section.kind for section in score.sections) for score in SCORES}) >= 4


def test_a_song_has_the_form_of_a_song_in_blocks_of_four_bars():
    for score in SCORES:
        kinds, n_bars = zip(*((section.kind, section.n_bars) for section in score.sections), strict=True)
        assert [section.first_bar for section in score.sections] == [0, *np.cumsum(n_bars)[:-1]]
        assert set(n_bars) <= {4, 8}
        assert 64 <= sum(n_bars) == score.n_bars <= 88
        assert {"intro", "prechorus", "outro"} <= set(kinds)
        assert {"bridge", "dance"} & set(kinds)
        assert (kinds.count("verse"), kinds.count("chorus") >= 3) == (2, True)


def test_palettes_keep_to_keys_of_their_own_and_most_last_choruses_are_raised_by_one_or_two_semitones():
    raised = [(score.sections[-1].tonic - score.sections[0].tonic) % 12 for score in SCORES]
    assert set(raised) == {0, 1, 2}
    assert raised.count(0) < len(raised) / 2
    assert all(score.sections[0].tonic in TONICS[score.palette] for score in SCORES)
    assert {tonic for tonics in TONICS.values() for tonic in tonics} == set(range(12))
    assert all(len(set(one) & set(other)) <= 2 for one, other in combinations(TONICS.values(), 2))


@pytest.mark.parametrize("track", TRACKS)
def test_notes_are_in_order_and_range_on_half_sixteenths_inside_the_song_at_three_velocities(track):
    low, high = RANGES.get(track, (0, 127))
    for score in SCORES:
        notes = score.tracks[track]
        assert [note.start_16th for note in notes] == sorted(note.start_16th for note in notes)
        for note in notes:
            assert 0 <= note.start_16th < note.end_16th <= score.n_bars * SIXTEENTHS_PER_BAR
            assert (note.start_16th * 2) % 1 == (note.length_16ths * 2) % 1 == 0
            assert low <= note.midi <= high
            assert note.velocity in (0.6, 0.8, 1.0)
        for before, after in pairwise(notes if track in (*VOICE_TRACKS, "bass") else ()):
            assert before.end_16th <= after.start_16th, "monophonic"
            assert track == "bass" or after.syllable or before.end_16th == after.start_16th, "a melisma after a rest"


def test_the_lead_keeps_to_key_and_chords_moves_mostly_by_steps_and_thirds_and_rests_at_least_every_four_bars():
    in_key, leaps = [], []
    for score in SCORES:
        lead = score.tracks["lead"]
        for section in score.sections:
            in_key += [(n.midi - section.tonic) % 12 in SCALES[section.mode] for n in notes_in(score, "lead", section)]
        for note in lead:
            assert note.start_16th % 8 or note.midi % 12 in chord_tones(chord_at(score.chords, note.start_16th))
        leaps.extend(np.abs(np.diff([note.midi for note in lead])))
        rests = set(np.arange(0, score.n_bars * SIXTEENTHS_PER_BAR, 0.5)) - sounding(*lead)
        assert np.diff(sorted(rests)).max() <= 4 * SIXTEENTHS_PER_BAR + 0.5
    assert np.mean(in_key) > 0.97
    assert np.mean(np.array(leaps) <= 4) > 0.75
    assert np.mean(np.array(leaps) > 7) < 0.03


def test_choruses_return_and_the_second_verse_differs_only_in_its_last_bar():
    for score in SCORES:
        tunes = {"verse": set(), "chorus": set()}
        for section in (each for each in score.sections if each.kind in tunes and each.n_bars == 8):
            end_16th = (8 if section.kind == "chorus" else 7) * SIXTEENTHS_PER_BAR
            up = (section.tonic - score.sections[0].tonic) % 12
            lead = [replace(note, midi=note.midi - up) for note in notes_in(score, "lead", section)]
            tunes[section.kind].add(tuple(note for note in lead if note.start_16th < end_16th))
        ((verse,), (chorus,)) = tunes.values()
        assert np.mean([note.midi for note in chorus]) > np.mean([note.midi for note in verse]) + 2


def test_choruses_have_a_third_below_the_lead_and_the_last_one_a_third_part_on_chord_tones_and_ad_libs_in_its_rests():
    for score in SCORES:
        last = [section for section in score.sections if section.kind == "chorus"][-1]
        for section in score.sections:
            lead, second, third = (notes_in(score, track, section) for track in ("lead", "harmony", "harmony2"))
            pitches = {note.start_16th: note.midi for note in lead}
            assert section.kind != "chorus" or all(3 <= pitches[n.start_16th] - n.midi <= 6 for n in second)
            assert len(third) == (len(lead) if section == last or section.kind == "postchorus" else 0)
            for a, b, c in zip(lead, second, third, strict=bool(third)):
                assert 3 <= c.midi - a.midi <= 7 or 7 <= a.midi - c.midi <= 12
                assert c.midi != b.midi
            assert section == last or section.kind == "outro" or not notes_in(score, "adlib", section)
        for note in score.tracks["harmony2"]:
            assert note.midi % 12 in chord_tones(chord_at(score.chords, note.start_16th))
        assert score.tracks["adlib"]
        assert not sounding(*score.tracks["lead"]) & sounding(*score.tracks["adlib"])


def test_every_bar_has_a_pulse_and_a_harmony_and_choruses_a_backbeat_an_impact_after_a_riser_and_fuller_sound():
    for score in SCORES:
        impacts = [note.start_16th for note in score.tracks["impact"]]
        assert impacts == [s.first_bar * SIXTEENTHS_PER_BAR for s in score.sections if s.kind == "chorus"]
        assert {note.end_16th for note in score.tracks["riser"]} == set(impacts) - {0}
        kicks, claps = ({note.start_16th for note in score.tracks[drum]} for drum in ("kick", "clap"))
        assert all(first in kicks and {first + 4, first + 12} <= claps for first in impacts)
        for tracks in (DRUM_TRACKS, ("bass", "pad")):
            halves = sounding(*(note for track in tracks for note in score.tracks[track]))
            assert {half // SIXTEENTHS_PER_BAR for half in halves} == set(range(score.n_bars))
        verse, *_ = (s for s in score.sections if s.kind == "verse")
        first, *_, last = (s for s in score.sections if s.kind == "chorus" and s.n_bars == 8)
        n_notes = [sum(len(notes_in(score, track, s)) for track in TRACKS) for s in (verse, first, last)]
        assert n_notes[0] < n_notes[1] < n_notes[2]


def test_labels_follow_sections_keys_and_chords_to_the_end_of_the_song():
    chords = (Chord(0, "sus4"), Chord(11, "add9"), Chord(0, "min7"), Chord(11, "dim"))
    assert [chord_class(chord) for chord in chords] == [1, 12, 13, 24], "major, then minor"
    for score in SCORES:
        content, steps = labels(score), step_labels(score)
        assert content["tempo_bpm"] == 125
        assert content["sections"][-1]["end_s"] == pytest.approx(score.n_bars * 1.92)
        assert (len(content["chords"]), len(content["lead"])) == (score.n_bars, len(score.tracks["lead"]))
        assert steps.shape == (score.n_bars * STEPS_PER_BAR, len(LABEL_SIZES))
        assert (steps < np.array(LABEL_SIZES)).all()
        classes = steps[::STEPS_PER_SIXTEENTH, 2]
        assert classes.tolist() == [chord_class(chord_at(score.chords, i)) for i in range(len(classes))]
        for section in score.sections:
            first = section.first_bar * STEPS_PER_BAR
            assert steps[first, 1] % 12 == (1 + section.tonic) % 12
            assert first == 0 or steps[first, 0] != steps[first - 1, 0]
            assert section.n_bars == 4 or steps[first + 4 * STEPS_PER_BAR, 0] == steps[first, 0] + 1
        assert steps[:, :3].all(), "section, key and chord are always known"


def test_tune_labels_tell_pitches_apart_and_where_a_note_begins():
    lead = (Note(0, 4, 60, 1.0, "na"), Note(4, 2, 60, 1.0, "na"))
    tune = step_labels(replace(SCORES[1], tracks=SCORES[1].tracks | {"lead": lead}))[:, 3]
    begins, goes_on = tune_class(60, begins=True), tune_class(60, begins=False)
    assert tune[:25].tolist() == [begins, *[goes_on] * 15, begins, *[goes_on] * 7, 0]
    pitches = range(LOWEST_TUNE_MIDI, HIGHEST_TUNE_MIDI + 1)
    assert {tune_class(midi, begins) for midi in pitches for begins in (True, False)} == set(range(1, N_TUNE_CLASSES))
    assert tune_class(20, begins=True) == tune_class(LOWEST_TUNE_MIDI, begins=True)


# Of the six mixes of "everything is free" (CC0) at -14 LUFS: mean level of octave bands in dB relative to the whole.
BANDS_HZ = [(c / 2**0.5, c * 2**0.5) for c in (63, 125, 250, 500, 1_000, 2_000, 4_000)] + [(4_000, 8_000)]
CC0_BANDS_DB = np.array((-4.8, -10.5, -11.1, -10.7, -13.3, -17.0, -19.9, -19.9))
CC0_CREST_DB = 11.3
TRIADS = np.array([np.isin(np.arange(12), np.add(t, root) % 12) for t in ((0, 4, 7), (0, 3, 7)) for root in range(12)])


@pytest.fixture(scope="module")
def songs():
    return [(score, render(score)) for score in map(compose, (0, 1, 4, 11))]  # one of each palette


def band_share(waveform, low_hz, high_hz):
    hz, power = periodogram(waveform, SAMPLE_RATE_HZ, "hann", detrend=False)
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
            part = waveform[section.first_bar * BAR_SAMPLES :][: section.n_bars * BAR_SAMPLES]
            lufs[section.kind].append(integrated_loudness(part))
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
    sung = sing(LEADS["neon"], (Note(0, 2, midi, 0.8, syllable),))[1_500:3_800]
    hz = librosa.yin(sung, fmin=0.8 * midi_hz(midi), fmax=1.2 * midi_hz(midi), sr=SAMPLE_RATE_HZ, center=False)
    assert abs(1200 * np.log2(np.median(hz) / midi_hz(midi))) < 15


def test_the_vowel_moves_the_formants():
    i, u, a = (sing(LEADS["neon"], (Note(0, 8, 57, 0.8, vowel),)) for vowel in "iua")
    assert band_share(i, 2_300, 3_600) > 3 * band_share(u, 2_300, 3_600)
    assert band_share(a, 700, 1_600) > 3 * band_share(i, 700, 1_600)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("track", PATCHES)
def test_notes_do_not_alias_or_click(track, palette):
    high = tone(track, palette, 91, 8 * SIXTEENTH_SAMPLES, 1.0)[4_000:]
    assert track == "bass" or band_share(high, 50, 0.9 * midi_hz(91)) < 1e-5
    low = tone(track, palette, 48, SIXTEENTH_SAMPLES, 1.0)
    assert max(abs(low[0]), abs(low[-1])) < 0.02 * np.abs(low).max()


def test_a_corpus_has_the_same_bytes_for_any_number_of_processes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert list(write_corpus(one, n_songs=2)) == [0, 1]
    assert list(write_corpus(two, n_songs=1, first=1, n_jobs=2)) == [1]
    assert sorted(path.name for path in two.iterdir()) == [f"{song_name(1)}{suffix}" for suffix in (".json", ".wav")]
    assert all(path.read_bytes() == (one / path.name).read_bytes() for path in two.iterdir())


def test_a_song_renders_fifteen_times_faster_than_it_plays(songs):
    started_s = time.process_time()
    waveform = render(compose(3))
    assert len(waveform) / SAMPLE_RATE_HZ > 15 * (time.process_time() - started_s)
