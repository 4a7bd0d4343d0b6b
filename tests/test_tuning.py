"""Pitch and stillness of held notes are measured as a tuner would."""

import numpy as np
import pytest

from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ
from kpop.evaluation.tuning import cents_off, held_chord, partials_hz, warble_db

TIME_S = np.arange(2 * BAR_SAMPLES) / SAMPLE_RATE_HZ


def tones(*hz: float) -> np.ndarray:
    return sum(0.1 * np.sin(2 * np.pi * each * TIME_S) for each in hz).astype(np.float32)


def test_partials_are_found():
    assert partials_hz(tones(220.0, 554.4, 1_760.0)) == pytest.approx([220.0, 554.4, 1_760.0], abs=0.05)


def test_a_copy_that_is_eight_cents_sharp_is_eight_cents_off():
    hz = np.array([220.0, 554.4, 1_760.0])
    assert cents_off(tones(*hz), tones(*(hz * 2 ** (8 / 1_200))), hz) == pytest.approx([8, 8, 8], abs=0.3)
    assert cents_off(tones(*hz), 0.5 * tones(*hz), hz) == pytest.approx([0, 0, 0], abs=0.01)


def test_detuned_oscillators_are_one_pitch():
    low, high = 440 * 2 ** (-6 / 1_200), 440 * 2 ** (6 / 1_200)
    pair = tones(low, high)
    other_phases = (0.1 * np.sin(2 * np.pi * low * TIME_S + 1) + 0.1 * np.cos(2 * np.pi * high * TIME_S)).astype("f4")
    assert abs(cents_off(pair, other_phases, np.array([440.0]))[0]) < 1


def test_a_wavering_copy_warbles_and_a_softer_one_does_not():
    steady, hz = tones(440.0), np.array([440.0])
    wavering = steady * (1 + 0.5 * np.sin(2 * np.pi * 8 * TIME_S)).astype(np.float32)
    assert warble_db(steady, 0.5 * steady, hz) < 0.05
    assert warble_db(steady, wavering, hz) > 2


def test_a_held_chord_has_partials_where_its_notes_are():
    found = partials_hz(held_chord("velvet", (48, 60, 64, 67)))
    for midi in (60, 64, 67):
        hz = 440 * 2 ** ((midi - 69) / 12)
        assert np.abs(1_200 * np.log2(found / hz)).min() < 15
