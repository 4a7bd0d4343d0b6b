"""What is known of a step because the song's score is known."""

from dataclasses import replace

import numpy as np

from kpop.constants import HIGHEST_TUNE_MIDI, LABEL_SIZES, LOWEST_TUNE_MIDI, N_TUNE_CLASSES, STEPS_PER_BAR
from kpop.corpus.compose import compose
from kpop.corpus.labels import step_labels, tune_class
from kpop.corpus.score import Note
from kpop.generation.clips import _unpacked, packed
from kpop.training.data import early


def test_every_step_has_labels_within_their_sizes():
    for number in range(6):
        score = compose(number)
        labels = step_labels(score)
        assert labels.shape == (score.n_bars * STEPS_PER_BAR, len(LABEL_SIZES))
        assert (labels < np.array(LABEL_SIZES)).all()
        assert labels[:, :3].all(), "section, key and chord are always known"


def test_a_note_of_the_tune_begins_once_and_goes_on_to_its_end():
    score = compose(1)
    score = replace(score, tracks=score.tracks | {"lead": (Note(0, 4, 60, 1.0, "na"), Note(4, 2, 60, 1.0, "na"))})
    tune = step_labels(score)[:, 3]
    begins, goes_on = tune_class(60, begins=True), tune_class(60, begins=False)
    assert tune[:25].tolist() == [begins, *[goes_on] * 15, begins, *[goes_on] * 7, 0]


def test_tunes_are_told_apart_by_pitch_within_the_range():
    pitches = range(LOWEST_TUNE_MIDI, HIGHEST_TUNE_MIDI + 1)
    classes = {tune_class(midi, begins) for midi in pitches for begins in (True, False)}
    assert classes == set(range(1, N_TUNE_CLASSES))
    assert tune_class(20, begins=True) == tune_class(LOWEST_TUNE_MIDI, begins=True)


def test_sections_keys_and_chords_change_where_the_score_says():
    score = compose(3)
    labels = step_labels(score)
    for section in score.sections:
        first = section.first_bar * STEPS_PER_BAR
        assert labels[first, 1] % 12 == (1 + section.tonic) % 12
        assert (first == 0) or labels[first, 0] != labels[first - 1, 0]
    later = next(section for section in score.sections if section.n_bars == 8)
    first = later.first_bar * STEPS_PER_BAR
    assert labels[first + 4 * STEPS_PER_BAR, 0] == labels[first, 0] + 1


def test_labels_survive_being_packed():
    labels = step_labels(compose(2))[:300]
    assert np.array_equal(_unpacked(packed(labels)), labels)


def test_labels_come_a_step_early():
    labels = np.arange(5)[:, None]
    assert early(labels)[:, 0].tolist() == [1, 2, 3, 4, 4]
