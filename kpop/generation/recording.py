"""A recording of the listener's own, cut to what a song can start from: in time, at level, without the silence around.

Recordings come from phones and laptops: soft, with a hum below hearing, and a room that is never quite silent.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfilt

from kpop.audio.beat import Pulse, find_pulse, first_slot
from kpop.audio.loudness import normalise
from kpop.constants import BEATS_PER_BAR, HOP_LENGTH, SAMPLE_RATE_HZ, STEPS_PER_BEAT, TEMPO_BPM, exact_div
from kpop.errors import KpopError
from kpop.generation.clips import CLIP_SAMPLES, SEED_BARS

SHORTEST_S = 2.0
SILENCE_DB = -60.0  # of the loudest moment: less is no sound
WORKING_LEVEL = 0.3  # root mean square of the loudest moment, before the loudness is set: the softest is measured, too
RUMBLE_HZ = 20.0  # below, nothing is heard; a microphone may have a constant there
SOFTEST_DB = -45.0  # beside the loudest moment: softer is no beginning and no end
ROOM_DB = 12.0  # so far above the room's own noise a sound begins
ROOM_SHARE, ROOM_SLOTS = 0.1, 9  # so much of the time at least there is nothing but the room, for so long
LOUDEST_ROOM_DB = -24.0  # beside the loudest moment: what never falls lower is music without rests
SLOT_SAMPLES = exact_div(SAMPLE_RATE_HZ, 200)
ATTACK_S = 0.04  # before the first sound, where there is so much
MOST_BEATS = SEED_BARS * BEATS_PER_BAR + 1  # and a beat more: what the end of the seed leads to
LISTEN_S = 12.0  # to the first so much: the slowest four bars, and a bit


def heard(waveform: np.ndarray, name: str) -> tuple[np.ndarray, int, float | None]:
    """Of a waveform (n_samples,) at 16 kHz: what to start from, its first metronome position, and its tempo in BPM.

    The tempo is None where no beat is clear. `name` is for the sentence in the KpopError that says what is wrong.
    """
    if len(waveform) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise KpopError(f"{name} lasts only {len(waveform) / SAMPLE_RATE_HZ:.1f} s: two seconds or more are needed.")
    waveform = _without_rumble(waveform)
    level = _levels(waveform)
    if level.max() < 10 ** (SILENCE_DB / 20):
        raise KpopError(f"{name} is silent in its first minute: choose a file, or make a sound, that can be heard.")
    waveform *= np.float32(WORKING_LEVEL / level.max())
    first, last = _sounding(level)
    if last - first < SHORTEST_S * SAMPLE_RATE_HZ:
        length_s = (last - first) / SAMPLE_RATE_HZ
        raise KpopError(f"{name} holds only {length_s:.1f} s of sound: two seconds or more are needed.")
    pulse = find_pulse(waveform[first:last][: round(LISTEN_S * SAMPLE_RATE_HZ)])
    if pulse is None:
        clip = normalise(waveform[first : min(last, first + CLIP_SAMPLES)])
        return clip, first_slot(clip), None
    return _in_time(waveform, first, last, Pulse(pulse.tempo_bpm, first / SAMPLE_RATE_HZ + pulse.beat_s))


def _in_time(waveform: np.ndarray, first: int, last: int, pulse: Pulse) -> tuple[np.ndarray, int, float]:
    """As heard(), of what sounds from sample `first` to `last`, cut on the steps and beats of its pulse."""
    hop = HOP_LENGTH * TEMPO_BPM / pulse.tempo_bpm
    beat, lead = 60 / pulse.tempo_bpm * SAMPLE_RATE_HZ, min(ATTACK_S * SAMPLE_RATE_HZ, first)
    step = beat / STEPS_PER_BEAT
    n_steps = int((pulse.beat_s * SAMPLE_RATE_HZ - (first - lead)) / step)  # from the clip's start to that beat
    start = pulse.beat_s * SAMPLE_RATE_HZ - n_steps * step
    n_beats = min(int(np.ceil((last - start) / beat)), MOST_BEATS)
    start, stop = round(start), round(start) + int(np.ceil(n_beats * beat))
    clip = waveform[start:stop]
    clip = normalise(np.pad(clip, (0, stop - start - len(clip))))
    opening = first > ATTACK_S * SAMPLE_RATE_HZ
    return clip, first_slot(clip, hop, n_steps % STEPS_PER_BEAT, opening), pulse.tempo_bpm


def _without_rumble(waveform: np.ndarray) -> np.ndarray:
    high_pass = butter(1, RUMBLE_HZ, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
    return sosfilt(high_pass, waveform - np.median(waveform)).astype(np.float32)


def _levels(waveform: np.ndarray) -> np.ndarray:
    """Root mean square of each slot; none for the first and the last, where a constant that begins or ends clicks."""
    slots = waveform[: len(waveform) // SLOT_SAMPLES * SLOT_SAMPLES].reshape(-1, SLOT_SAMPLES)
    level = np.sqrt(np.mean(np.square(slots, dtype=np.float64), axis=1))
    level[[0, -1]] = 0
    return level


def _sounding(level: np.ndarray) -> tuple[int, int]:
    """Samples between which there is sound, and not only the room it was made in."""
    room = np.quantile(uniform_filter1d(level, ROOM_SLOTS), ROOM_SHARE)
    above_room = min(room * 10 ** (ROOM_DB / 20), level.max() * 10 ** (LOUDEST_ROOM_DB / 20))
    loud = np.flatnonzero(level >= max(above_room, level.max() * 10 ** (SOFTEST_DB / 20)))
    return int(loud[0]) * SLOT_SAMPLES, (int(loud[-1]) + 1) * SLOT_SAMPLES
