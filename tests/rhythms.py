"""Sounds with a beat that is known, as a listener makes them: claps, humming, a count, whole songs."""

import numpy as np
from scipy.signal import butter, sosfilt

from kpop.constants import SAMPLE_RATE_HZ, TEMPO_BPM
from kpop.generation.clips import built_in_clip, built_in_clips

ROOM = 10 ** (-55 / 20)  # a phone in a quiet room
START_S = 0.8
SWELL_S = 0.04  # its middle is heard as the beat (Morton, Marcus & Frankish 1976, "Perceptual centers")
SCALE_HZ = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)


def beat_times(bpm: float, seconds: float, jitter_s: float, rng: np.random.Generator, start_s: float) -> np.ndarray:
    """Moments of beats from start_s on, each as far off as a human's."""
    beats_s = start_s + np.arange(0, seconds - start_s - 0.1, 60 / bpm)
    return np.maximum(beats_s + rng.normal(0, jitter_s, len(beats_s)), 0)


def placed(sounds: list[np.ndarray], times_s: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The sounds, each from its moment on, in a room that is never quite silent: float32, 16 kHz."""
    whole = ROOM * rng.standard_normal(int(seconds * SAMPLE_RATE_HZ))
    for sound, time_s in zip(sounds, times_s, strict=True):
        begin = round(time_s * SAMPLE_RATE_HZ)
        whole[begin : begin + len(sound)] += sound[: max(len(whole) - begin, 0)]
    return (0.7 * whole / np.abs(whole).max()).astype(np.float32)


def clap(rng: np.random.Generator) -> np.ndarray:
    """Two hands: noise around 1.5 kHz, at its loudest at once, gone within a tenth of a second."""
    time_s = np.arange(2_400) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(time_s)) * np.exp(-time_s / rng.uniform(0.008, 0.02))
    return sosfilt(butter(2, (700, 3_500), "bandpass", fs=SAMPLE_RATE_HZ, output="sos"), noise) * rng.uniform(0.5, 1)


def hummed_note(hz: float, length_s: float, attack_s: float) -> np.ndarray:
    """A voice that swells, trembles a little, and fades into the next note."""
    time_s = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * hz * time_s + 0.3 * np.sin(2 * np.pi * 5.5 * time_s)
    tone = sum(np.sin(k * phase) / k**1.7 for k in range(1, 9))
    return 0.2 * tone * np.minimum(1, time_s / attack_s) * np.minimum(1, (length_s - time_s) / 0.08)


def spoken_word(rng: np.random.Generator) -> np.ndarray:
    """A consonant's hiss, and a vowel that falls."""
    hiss = 0.05 * rng.standard_normal(int(rng.uniform(0.0, 0.05) * SAMPLE_RATE_HZ))
    return np.concatenate([hiss, hummed_note(rng.uniform(110, 150), rng.uniform(0.15, 0.25), 0.02)])


def claps(bpm: float, rng: np.random.Generator, seconds: float = 8.0, start_s: float = START_S) -> np.ndarray:
    times_s = beat_times(bpm, seconds, 0.015, rng, start_s)
    return placed([clap(rng) for _ in times_s], times_s, seconds, rng)


def humming(bpm: float, rng: np.random.Generator, seconds: float = 8.0, start_s: float = START_S) -> np.ndarray:
    times_s = beat_times(bpm, seconds, 0.02, rng, start_s)
    notes = [hummed_note(rng.choice(SCALE_HZ), 54 / bpm, SWELL_S) for _ in times_s]
    return placed(notes, times_s - SWELL_S / 2, seconds, rng)


def counting(bpm: float, rng: np.random.Generator, seconds: float = 8.0, start_s: float = START_S) -> np.ndarray:
    times_s = beat_times(bpm, seconds, 0.02, rng, start_s)
    return placed([spoken_word(rng) for _ in times_s], times_s, seconds, rng)


def song(bpm: float, rng: np.random.Generator) -> np.ndarray:
    """A built-in clip, twice over, played as fast as that; its first beat at once."""
    clip = built_in_clip(rng.choice([info.name for info in built_in_clips()])).waveform
    bars = np.tile(clip[: 4 * 4 * 60 * SAMPLE_RATE_HZ // TEMPO_BPM], 2)
    places = np.arange(0, len(bars) - 1, bpm / TEMPO_BPM)
    return np.interp(places, np.arange(len(bars)), bars).astype(np.float32)


def tied(bpm: float, rng: np.random.Generator) -> np.ndarray:
    """Sung on one breath: every note begins before the one before has ended."""
    times_s = beat_times(bpm, 8.0, 0.02, rng, START_S)
    notes = [hummed_note(rng.choice(SCALE_HZ), 60 / bpm + 0.05, SWELL_S) for _ in times_s]
    return placed(notes, times_s - SWELL_S / 2, 8.0, rng)


def long_note(rng: np.random.Generator) -> np.ndarray:
    return placed([hummed_note(rng.choice(SCALE_HZ), 7.0, 0.3)], np.array([0.5]), 8.0, rng)


def anyhow(rng: np.random.Generator) -> np.ndarray:
    """Claps without any beat."""
    times_s = np.sort(rng.uniform(0.5, 7.5, 14))
    return placed([clap(rng) for _ in times_s], times_s, 8.0, rng)


def rustle(rng: np.random.Generator) -> np.ndarray:
    """Noise whose level wanders."""
    level = np.interp(np.arange(128_000), np.arange(0, 128_001, 4_000), rng.uniform(0.02, 0.3, 33))
    return (level * rng.standard_normal(128_000)).astype(np.float32) * 0.3
