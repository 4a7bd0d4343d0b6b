"""Sounds with a known beat, as a listener makes them; songs at any tempo; and clicks."""

from collections.abc import Callable

import librosa
import numpy as np
from scipy.signal import butter, sosfilt

from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, TEMPO_BPM
from kpop.generation.clips import built_in_clip, built_in_clips

ROOM = 10 ** (-55 / 20)  # background noise of a quiet room
START_S = 0.8
SWELL_S = 0.04  # its middle is perceived as the beat (Morton, Marcus & Frankish 1976, "Perceptual centers")
SCALE_HZ = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)


def placed(sounds: list[np.ndarray], times_s: np.ndarray, rng: np.random.Generator, seconds: float = 8.0) -> np.ndarray:
    """The sounds, each from its time on, in background noise: float32, 16 kHz."""
    whole = ROOM * rng.standard_normal(round(seconds * SAMPLE_RATE_HZ))
    for sound, start in zip(sounds, np.round(times_s * SAMPLE_RATE_HZ).astype(int), strict=True):
        whole[start : start + len(sound)] += sound[: max(len(whole) - start, 0)]
    return (0.7 * whole / np.abs(whole).max()).astype(np.float32)


def on_beats(
    sound: Callable[[], np.ndarray], bpm: float, rng: np.random.Generator, seconds: float = 8.0, jitter_s: float = 0.02
) -> np.ndarray:
    """A sound on every beat, with a human's jitter."""
    beats_s = np.arange(START_S, seconds - 0.1, 60 / bpm)
    times_s = beats_s + rng.normal(0, jitter_s, len(beats_s))
    return placed([sound() for _ in times_s], times_s, rng, seconds)


def clap(rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(2_400) * np.exp(-np.arange(2_400) / SAMPLE_RATE_HZ / rng.uniform(0.008, 0.02))
    return sosfilt(butter(2, (700, 3_500), "bandpass", fs=SAMPLE_RATE_HZ, output="sos"), noise) * rng.uniform(0.5, 1)


def note(hz: float, length_s: float, attack_s: float) -> np.ndarray:
    """Sung, with vibrato, faded out."""
    time_s = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * hz * time_s + 0.3 * np.sin(2 * np.pi * 5.5 * time_s)
    tone = sum(np.sin(k * phase) / k**1.7 for k in range(1, 9))
    return 0.2 * tone * np.minimum(1, time_s / attack_s) * np.minimum(1, (length_s - time_s) / 0.08)


def word(rng: np.random.Generator) -> np.ndarray:
    hiss = 0.05 * rng.standard_normal(int(rng.uniform(0.0, 0.05) * SAMPLE_RATE_HZ))
    return np.concatenate([hiss, note(rng.uniform(110, 150), rng.uniform(0.15, 0.25), 0.02)])


def claps(bpm: float, rng: np.random.Generator, seconds: float = 8.0) -> np.ndarray:
    return on_beats(lambda: clap(rng), bpm, rng, seconds, jitter_s=0.015)


def humming(bpm: float, rng: np.random.Generator, beats: float = 0.9) -> np.ndarray:
    notes = on_beats(lambda: note(rng.choice(SCALE_HZ), 60 * beats / bpm, SWELL_S), bpm, rng)
    return np.roll(notes, -round(SWELL_S / 2 * SAMPLE_RATE_HZ))


def counting(bpm: float, rng: np.random.Generator) -> np.ndarray:
    return on_beats(lambda: word(rng), bpm, rng)


def song(bpm: float, rng: np.random.Generator) -> np.ndarray:
    """A built-in clip, twice, resampled to that tempo; its first beat at once."""
    clip = built_in_clip(rng.choice([info.name for info in built_in_clips()]))
    bars = np.tile(clip.waveform[: round(4 * BAR_SAMPLES * TEMPO_BPM / clip.tempo_bpm)], 2)
    return np.interp(np.arange(0, len(bars) - 1, bpm / clip.tempo_bpm), np.arange(len(bars)), bars).astype(np.float32)


def long_note(rng: np.random.Generator) -> np.ndarray:
    return placed([note(rng.choice(SCALE_HZ), 7.0, 0.3)], np.array([0.5]), rng)


def random_claps(rng: np.random.Generator) -> np.ndarray:
    return placed([clap(rng) for _ in range(14)], rng.uniform(0.5, 7.5, 14), rng)


def rustle(rng: np.random.Generator) -> np.ndarray:
    """Noise whose level wanders."""
    level = np.interp(np.arange(128_000), np.arange(0, 128_001, 4_000), rng.uniform(0.006, 0.09, 33))
    return (level * rng.standard_normal(128_000)).astype(np.float32)


def clicks(times_s: np.ndarray, hz: float, seconds: float) -> np.ndarray:
    """Decaying tones that begin sharply at the times, without noise."""
    time_s = np.arange(0, 0.06, 1 / SAMPLE_RATE_HZ)
    click = 0.4 * np.cos(2 * np.pi * hz * time_s) * np.exp(-time_s * 60)
    return librosa.clicks(times=times_s, sr=SAMPLE_RATE_HZ, click=click, length=int(seconds * SAMPLE_RATE_HZ))
