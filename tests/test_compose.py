"""The composer writes songs: the same for a number, on the grid, in key, with a form that returns; and their labels."""

import json
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from kpop.constants import (
    HIGHEST_TUNE_MIDI,
    LABEL_SIZES,
    LOWEST_TUNE_MIDI,
    N_TUNE_CLASSES,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_SIXTEENTH,
)
from kpop.corpus.compose import compose, labels, step_labels, tune_class
from kpop.corpus.score import DRUM_TRACKS, TRACKS, VOICE_TRACKS, Chord, Note, Score, Section
from kpop.corpus.theory import SCALES, TONICS, chord_at, chord_class, chord_tones

SCORES = [compose(number) for number in range(20)]
RANGES = {"lead": (60, 79), "harmony2": (48, 84), "adlib": (55, 84), "chop": (55, 84)}
RANGES |= {"bass": (28, 50), "pad": (52, 76), "pluck": (64, 88)}


def notes_in(score: Score, track: str, section: Section) -> list[Note]:
    """The notes of a track that start in a section, timed from its start."""
    first_16th, length_16ths = section.first_bar * SIXTEENTHS_PER_BAR, section.n_bars * SIXTEENTHS_PER_BAR
    shifted = (replace(note, start_16th=note.start_16th - first_16th) for note in score.tracks[track])
    return [note for note in shifted if 0 <= note.start_16th < length_16ths]


def sounding(notes: list[Note]) -> set[float]:
    """The half sixteenths during which any of the notes sounds."""
    return {note.start_16th + i / 2 for note in notes for i in range(int(2 * note.length_16ths))}


def test_a_number_gives_the_same_song_and_another_number_another():
    assert [compose(number) for number in range(len(SCORES))] == SCORES
    assert len({tuple(score.tracks["lead"]) for score in SCORES}) == len(SCORES)
    assert len({score.palette for score in SCORES}) == 4
    assert len({tuple(section.kind for section in score.sections) for score in SCORES}) >= 4


def test_a_song_has_the_form_of_a_song_in_blocks_of_four_bars():
    for score in SCORES:
        kinds = [section.kind for section in score.sections]
        ends = [section.first_bar + section.n_bars for section in score.sections]
        assert [section.first_bar for section in score.sections] == [0, *ends[:-1]]
        assert {section.n_bars for section in score.sections} <= {4, 8}
        assert ends[-1] == score.n_bars
        assert 64 <= score.n_bars <= 88
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


def test_the_lead_keeps_to_the_key_and_to_chord_tones_on_strong_beats():
    in_key = []
    for score in SCORES:
        for section in score.sections:
            in_key += [(n.midi - section.tonic) % 12 in SCALES[section.mode] for n in notes_in(score, "lead", section)]
        for note in score.tracks["lead"]:
            assert note.start_16th % 8 or note.midi % 12 in chord_tones(chord_at(score.chords, note.start_16th))
    assert np.mean(in_key) > 0.97


def test_the_lead_moves_mostly_by_steps_and_thirds_and_rests_at_least_every_four_bars():
    leaps = np.concatenate([abs(np.diff([note.midi for note in score.tracks["lead"]])) for score in SCORES])
    assert np.mean(leaps <= 4) > 0.75
    assert np.mean(leaps > 7) < 0.03
    for score in SCORES:
        rests = set(np.arange(0, score.n_bars * SIXTEENTHS_PER_BAR, 0.5)) - sounding(score.tracks["lead"])
        assert max(b - a for a, b in pairwise(sorted(rests))) <= 4 * SIXTEENTHS_PER_BAR + 0.5


def test_choruses_return_and_the_second_verse_differs_only_in_its_last_bar():
    for score in SCORES:

        def tunes(kind, n_bars, score=score):
            for section in (s for s in score.sections if s.kind == kind and s.n_bars == 8):
                up = (section.tonic - score.sections[0].tonic) % 12
                lead = [replace(note, midi=note.midi - up) for note in notes_in(score, "lead", section)]
                yield tuple(note for note in lead if note.start_16th < n_bars * SIXTEENTHS_PER_BAR)

        assert len(set(tunes("chorus", 8))) == len(set(tunes("verse", 7))) == 1
        height = {kind: np.mean([n.midi for tune in tunes(kind, 8) for n in tune]) for kind in ("verse", "chorus")}
        assert height["chorus"] > height["verse"] + 2


def test_choruses_have_a_third_below_the_lead_and_the_last_one_a_third_part_on_chord_tones():
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
        for note in score.tracks["harmony2"]:
            assert note.midi % 12 in chord_tones(chord_at(score.chords, note.start_16th))


def test_ad_libs_fill_rests_of_the_lead_in_the_last_chorus_and_the_outro():
    for score in SCORES:
        last = [section for section in score.sections if section.kind == "chorus"][-1]
        assert score.tracks["adlib"]
        assert not sounding(score.tracks["lead"]) & sounding(score.tracks["adlib"])
        for section in score.sections:
            assert section == last or section.kind == "outro" or not notes_in(score, "adlib", section)


def test_choruses_have_a_backbeat_and_an_impact_to_which_a_riser_leads():
    for score in SCORES:
        impacts = [note.start_16th for note in score.tracks["impact"]]
        assert impacts == [s.first_bar * SIXTEENTHS_PER_BAR for s in score.sections if s.kind == "chorus"]
        assert {note.end_16th for note in score.tracks["riser"]} == set(impacts) - {0}
        kicks, claps = ({note.start_16th for note in score.tracks[drum]} for drum in ("kick", "clap"))
        assert all(first in kicks and {first + 4, first + 12} <= claps for first in impacts)


def test_every_bar_has_a_pulse_and_a_harmony_and_choruses_are_fuller_than_the_verse():
    for score in SCORES:
        for tracks in (DRUM_TRACKS, ("bass", "pad")):
            halves = sounding([note for track in tracks for note in score.tracks[track]])
            assert {half // SIXTEENTHS_PER_BAR for half in halves} == set(range(score.n_bars))
        verse, *_ = (s for s in score.sections if s.kind == "verse")
        first, *_, last = (s for s in score.sections if s.kind == "chorus" and s.n_bars == 8)
        n_notes = [sum(len(notes_in(score, track, s)) for track in TRACKS) for s in (verse, first, last)]
        assert n_notes[0] < n_notes[1] < n_notes[2]


def test_labels_survive_json_and_last_as_long_as_the_song():
    for score in SCORES:
        content = labels(score)
        assert json.loads(json.dumps(content)) == content
        assert content["tempo_bpm"] == 125
        assert content["sections"][-1]["end_s"] == pytest.approx(score.n_bars * 1.92)
        assert (len(content["chords"]), len(content["lead"])) == (score.n_bars, len(score.tracks["lead"]))


def test_step_labels_follow_sections_keys_and_chords():
    chords = (Chord(0, "sus4"), Chord(11, "add9"), Chord(0, "min7"), Chord(11, "dim"))
    assert [chord_class(chord) for chord in chords] == [1, 12, 13, 24], "major, then minor"
    for score in SCORES:
        steps = step_labels(score)
        assert steps.shape == (score.n_bars * STEPS_PER_BAR, len(LABEL_SIZES))
        assert (steps < np.array(LABEL_SIZES)).all()
        assert steps[:, :3].all(), "section, key and chord are always known"
        classes = steps[::STEPS_PER_SIXTEENTH, 2]
        assert classes.tolist() == [chord_class(chord_at(score.chords, i)) for i in range(len(classes))]
        for section in score.sections:
            first = section.first_bar * STEPS_PER_BAR
            assert steps[first, 1] % 12 == (1 + section.tonic) % 12
            assert first == 0 or steps[first, 0] != steps[first - 1, 0]
            assert section.n_bars == 4 or steps[first + 4 * STEPS_PER_BAR, 0] == steps[first, 0] + 1


def test_tune_labels_tell_pitches_apart_and_where_a_note_begins():
    lead = (Note(0, 4, 60, 1.0, "na"), Note(4, 2, 60, 1.0, "na"))
    tune = step_labels(replace(SCORES[1], tracks=SCORES[1].tracks | {"lead": lead}))[:, 3]
    begins, goes_on = tune_class(60, begins=True), tune_class(60, begins=False)
    assert tune[:25].tolist() == [begins, *[goes_on] * 15, begins, *[goes_on] * 7, 0]
    pitches = range(LOWEST_TUNE_MIDI, HIGHEST_TUNE_MIDI + 1)
    assert {tune_class(midi, begins) for midi in pitches for begins in (True, False)} == set(range(1, N_TUNE_CLASSES))
    assert tune_class(20, begins=True) == tune_class(LOWEST_TUNE_MIDI, begins=True)
