"""The composer writes songs: the same for a number, on the grid, in key, with a form that returns."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest

from kpop.constants import N_CHORD_CLASSES, SIXTEENTHS_PER_BAR
from kpop.corpus.compose import compose
from kpop.corpus.harmony import SCALES, TONICS, chord_at, chord_tones
from kpop.corpus.labels import chord_class, chord_classes, labels
from kpop.corpus.score import DRUM_TRACKS, EFFECT_TRACKS, TRACKS, VOICE_TRACKS, Chord, Note, Score, Section

NUMBERS = range(20)


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    return [compose(number) for number in NUMBERS]


def notes_in(score: Score, track: str, section: Section) -> list[Note]:
    """The notes of a track that start in a section."""
    first_16th = section.first_bar * SIXTEENTHS_PER_BAR
    end_16th = first_16th + section.n_bars * SIXTEENTHS_PER_BAR
    return [note for note in score.tracks[track] if first_16th <= note.start_16th < end_16th]


def tune_of(score: Score, section: Section) -> list[tuple]:
    """What the lead sings in a section, relative to the section and its key."""
    first_16th = section.first_bar * SIXTEENTHS_PER_BAR
    semitones_up = (section.tonic - score.sections[0].tonic) % 12
    lead = notes_in(score, "lead", section)
    return [(n.start_16th - first_16th, n.length_16ths, n.midi - semitones_up, n.syllable) for n in lead]


def busy_bars(score: Score, tracks: tuple[str, ...]) -> np.ndarray:
    """Whether a note of the tracks sounds in each bar, bool of shape (n_bars,)."""
    busy = np.zeros(score.n_bars, dtype=bool)
    for track in tracks:
        for note in score.tracks[track]:
            first, last = note.start_16th, note.start_16th + note.length_16ths - 0.5
            busy[int(first // SIXTEENTHS_PER_BAR) : int(last // SIXTEENTHS_PER_BAR) + 1] = True
    return busy


def test_same_number_gives_the_same_score(scores):
    assert [compose(number) for number in NUMBERS] == scores


def test_different_numbers_give_different_songs(scores):
    tunes = {tuple((note.start_16th, note.midi) for note in score.tracks["lead"]) for score in scores}
    assert len(tunes) == len(scores)
    assert len({score.palette for score in scores}) == 4
    assert len({tuple(section.kind for section in score.sections) for score in scores}) >= 4


def test_sections_tile_the_song_on_multiples_of_four_bars(scores):
    for score in scores:
        bar = 0
        for section in score.sections:
            assert section.first_bar == bar
            assert section.n_bars in (4, 8)
            bar += section.n_bars
        assert bar == score.n_bars
        assert 64 <= score.n_bars <= 88


def test_every_song_has_the_parts_of_a_song(scores):
    for score in scores:
        kinds = [section.kind for section in score.sections]
        assert {"intro", "verse", "prechorus", "chorus", "outro"} <= set(kinds)
        assert kinds.count("chorus") >= 3
        assert kinds.count("verse") == 2
        assert {"bridge", "dance"} & set(kinds)


def test_most_last_choruses_are_raised_a_little_and_some_are_not(scores):
    raised = [(score.sections[-1].tonic - score.sections[0].tonic) % 12 for score in scores]
    assert set(raised) == {0, 1, 2}
    assert 0 < raised.count(0) < len(raised) / 2


def test_every_note_lies_inside_the_song_on_half_sixteenths(scores):
    for score in scores:
        assert set(score.tracks) == set(TRACKS)
        for note in (note for notes in score.tracks.values() for note in notes):
            assert note.start_16th >= 0
            assert note.length_16ths > 0
            assert note.start_16th + note.length_16ths <= score.n_bars * SIXTEENTHS_PER_BAR
            assert (note.start_16th * 2) % 1 == 0
            assert (note.length_16ths * 2) % 1 == 0


def test_notes_come_in_order_and_at_three_levels_only(scores):
    for score in scores:
        for notes in score.tracks.values():
            assert [note.start_16th for note in notes] == sorted(note.start_16th for note in notes)
            assert {note.velocity for note in notes} <= {0.6, 0.8, 1.0}


@pytest.mark.parametrize(
    ("track", "low", "high"),
    [
        ("lead", 60, 79),
        ("harmony2", 48, 84),
        ("adlib", 55, 84),
        ("bass", 28, 50),
        ("pad", 52, 76),
        ("pluck", 64, 88),
        ("chop", 55, 84),
    ],
)
def test_parts_stay_in_their_ranges(scores, track, low, high):
    pitches = [note.midi for score in scores for note in score.tracks[track]]
    assert low <= min(pitches)
    assert max(pitches) <= high


@pytest.mark.parametrize("track", [*VOICE_TRACKS, "bass"])
def test_one_voice_sings_one_note_at_a_time(scores, track):
    for score in scores:
        notes = score.tracks[track]
        for before, after in pairwise(notes):
            assert before.start_16th + before.length_16ths <= after.start_16th


def test_the_lead_keeps_to_the_key(scores):
    in_key = [
        (note.midi - section.tonic) % 12 in SCALES[section.mode]
        for score in scores
        for section in score.sections
        for note in notes_in(score, "lead", section)
    ]
    assert np.mean(in_key) > 0.97


def test_the_lead_sings_chord_tones_on_strong_beats(scores):
    for score in scores:
        for note in score.tracks["lead"]:
            if note.start_16th % 8 == 0:
                assert note.midi % 12 in chord_tones(chord_at(score.chords, note.start_16th))


def test_the_lead_moves_mostly_by_steps_and_thirds(scores):
    leaps = np.concatenate([abs(np.diff([note.midi for note in score.tracks["lead"]])) for score in scores])
    assert np.mean(leaps <= 4) > 0.75
    assert np.mean(leaps > 7) < 0.03


def test_the_lead_breathes(scores):
    for score in scores:
        ends = np.array([note.start_16th + note.length_16ths for note in score.tracks["lead"]])
        starts = np.array([note.start_16th for note in score.tracks["lead"]])
        runs = np.split(np.arange(len(starts)), np.flatnonzero(starts[1:] > ends[:-1]) + 1)
        longest = max(ends[run[-1]] - starts[run[0]] for run in runs)
        assert longest <= 4 * SIXTEENTHS_PER_BAR


def test_slides_follow_a_sung_note_without_a_rest(scores):
    for score in scores:
        for track in ("lead", "harmony"):
            notes = score.tracks[track]
            for before, after in pairwise(notes):
                if after.syllable == "":
                    assert before.start_16th + before.length_16ths == after.start_16th


def test_choruses_return_and_the_second_verse_differs_only_at_its_end(scores):
    for score in scores:
        choruses = [tune_of(score, s) for s in score.sections if s.kind == "chorus" and s.n_bars == 8]
        assert all(chorus == choruses[0] for chorus in choruses)
        first, second = (tune_of(score, s) for s in score.sections if s.kind == "verse")
        last_bar_16th = 7 * SIXTEENTHS_PER_BAR
        assert [n for n in first if n[0] < last_bar_16th] == [n for n in second if n[0] < last_bar_16th]


def test_the_chorus_lies_above_the_verse(scores):
    for score in scores:
        height = {
            kind: np.mean([n.midi for s in score.sections if s.kind == kind for n in notes_in(score, "lead", s)])
            for kind in ("verse", "chorus")
        }
        assert height["chorus"] > height["verse"] + 2


def test_harmony_sings_about_a_third_below_the_lead(scores):
    for score in scores:
        lead = {note.start_16th: note.midi for note in score.tracks["lead"]}
        for section in (s for s in score.sections if s.kind == "chorus"):
            for note in notes_in(score, "harmony", section):
                assert 3 <= lead[note.start_16th] - note.midi <= 6


def test_every_group_keeps_to_its_own_keys_and_together_they_sing_in_all(scores):
    assert all(score.sections[0].tonic in TONICS[score.palette] for score in scores)
    assert {tonic for tonics in TONICS.values() for tonic in tonics} == set(range(12))
    for one, other in combinations(TONICS.values(), 2):
        assert len(set(one) & set(other)) <= 2


def test_the_last_chorus_and_post_choruses_have_three_parts_on_chord_tones(scores):
    for score in scores:
        last = [section for section in score.sections if section.kind == "chorus"][-1]
        for section in score.sections:
            parts = [notes_in(score, track, section) for track in ("lead", "harmony", "harmony2")]
            if section != last and section.kind != "postchorus":
                assert not parts[2]
                continue
            assert len(parts[0]) == len(parts[1]) == len(parts[2])
            for sung, second, third in zip(*parts, strict=True):
                assert 3 <= third.midi - sung.midi <= 7 or 7 <= sung.midi - third.midi <= 12
                assert third.midi != second.midi
                assert third.midi % 12 in chord_tones(chord_at(score.chords, third.start_16th))


def test_ad_libs_fill_rests_of_the_lead_at_the_end_of_the_song_only(scores):
    for score in scores:
        last = [section for section in score.sections if section.kind == "chorus"][-1]
        sung = {n.start_16th + i / 2 for n in score.tracks["lead"] for i in range(int(2 * n.length_16ths))}
        for section in score.sections:
            notes = notes_in(score, "adlib", section)
            assert not notes or section == last or section.kind == "outro"
            assert not sung & {n.start_16th + i / 2 for n in notes for i in range(int(2 * n.length_16ths))}
    assert all(score.tracks["adlib"] for score in scores)  # each outro leaves room for one


def test_choruses_have_a_kick_and_a_backbeat(scores):
    for score in scores:
        for section in (s for s in score.sections if s.kind == "chorus"):
            kicks = {note.start_16th for note in notes_in(score, "kick", section)}
            claps = {note.start_16th for note in notes_in(score, "clap", section)}
            first_16th = section.first_bar * SIXTEENTHS_PER_BAR
            assert first_16th in kicks
            assert {first_16th + 4, first_16th + 12} <= claps


def test_every_bar_has_a_pulse_and_a_harmony(scores):
    for score in scores:
        assert busy_bars(score, DRUM_TRACKS).all()
        assert busy_bars(score, ("bass", "pad")).all()


def test_the_first_chorus_is_fuller_than_the_verse_and_the_last_fullest(scores):
    for score in scores:
        tracks = [track for track in TRACKS if track not in EFFECT_TRACKS]
        verse = next(s for s in score.sections if s.kind == "verse")
        choruses = [s for s in score.sections if s.kind == "chorus" and s.n_bars == 8]
        size = [sum(len(notes_in(score, track, s)) for track in tracks) for s in (verse, choruses[0], choruses[-1])]
        assert size[0] < size[1] < size[2]


def test_a_riser_ends_where_a_chorus_starts(scores):
    for score in scores:
        chorus_16ths = {s.first_bar * SIXTEENTHS_PER_BAR for s in score.sections if s.kind == "chorus"}
        assert {note.start_16th for note in score.tracks["impact"]} == chorus_16ths
        assert {note.start_16th + note.length_16ths for note in score.tracks["riser"]} == chorus_16ths - {0}


def test_chord_classes_tell_major_from_minor():
    assert chord_class(Chord(0, "sus4")) == 1
    assert chord_class(Chord(11, "add9")) == 12
    assert chord_class(Chord(0, "min7")) == 13
    assert chord_class(Chord(11, "dim")) == 24


def test_chord_classes_follow_the_chords(scores):
    for score in scores:
        classes = chord_classes(score)
        assert classes.shape == (score.n_bars * SIXTEENTHS_PER_BAR,)
        assert classes.dtype == np.int64
        assert classes.min() > 0
        assert classes.max() < N_CHORD_CLASSES
        assert classes.tolist() == [chord_class(chord_at(score.chords, i)) for i in range(len(classes))]


def test_labels_survive_json_and_last_as_long_as_the_song(scores):
    for score in scores:
        facts = labels(score)
        assert json.loads(json.dumps(facts)) == facts
        assert facts["tempo_bpm"] == 125
        assert facts["sections"][-1]["end_s"] == pytest.approx(score.n_bars * 1.92)
        assert len(facts["chords"]) == score.n_bars
        assert len(facts["lead"]) == len(score.tracks["lead"])
