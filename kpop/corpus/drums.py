"""Drum kits: each hit is one fixed waveform, so that every kick of a song is the same samples."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kpop.constants import SAMPLE_RATE_HZ
from kpop.corpus.waves import band, decay, n_samples, noise, ramped, times

METAL_HZ = (3_170, 3_890, 4_530, 5_210, 5_790, 6_350, 6_910, 7_430)  # inharmonic, like six-oscillator drum machines


@dataclass(frozen=True)
class Kit:
    """What tells one kit from another."""

    kick_hz: float  # where the kick's pitch settles
    kick_s: float  # 60 dB decay
    kick_drive: float  # distortion, which gives the kick harmonics for small loudspeakers
    snare_hz: float
    snare_s: float
    snap_hz: float  # lower edge of the noise of snare and clap
    clap_s: float
    hat_s: float
    metal: float  # 0 = noisy cymbals, 1 = ringing ones


KITS = {
    "neon": Kit(52.0, 0.34, 1.9, 196.0, 0.22, 1_500.0, 0.26, 0.07, 0.5),
    "velvet": Kit(46.0, 0.46, 1.4, 178.0, 0.26, 1_100.0, 0.30, 0.05, 0.4),
    "bubblegum": Kit(58.0, 0.28, 1.7, 224.0, 0.18, 1_800.0, 0.22, 0.06, 0.6),
    "noir": Kit(49.0, 0.38, 2.4, 164.0, 0.28, 1_200.0, 0.32, 0.08, 0.7),
}


def _sweep(n: int, start_hz: float, end_hz: float, sweep_s: float) -> np.ndarray:
    """A sine whose pitch drops from start_hz to end_hz."""
    frequency_hz = end_hz + (start_hz - end_hz) * decay(n, sweep_s)
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ)


def _kick(kit: Kit) -> np.ndarray:
    n = n_samples(kit.kick_s)
    punch = decay(n, 0.10) * _sweep(n, 340.0, kit.kick_hz, 0.13)
    tail = np.minimum(1.0, times(n) / 0.02) * decay(n, kit.kick_s) * _sweep(n, 340.0, kit.kick_hz, 0.13)
    click = band(noise(n, 1), 1_800.0, 6_500.0) * decay(n, 0.014)
    return np.tanh(kit.kick_drive * (0.75 * tail + 0.7 * punch)) + 0.35 * click


def _snare(kit: Kit) -> np.ndarray:
    n = n_samples(kit.snare_s)
    body = _sweep(n, 2.0 * kit.snare_hz, kit.snare_hz, 0.05) * decay(n, 0.15)
    overtone = np.sin(2 * np.pi * 1.83 * kit.snare_hz * times(n)) * decay(n, 0.09)
    rattle = band(noise(n, 2), kit.snap_hz, 7_000.0) * (0.6 * decay(n, kit.snare_s) + 0.5 * decay(n, 0.05))
    return 0.75 * body + 0.35 * overtone + 0.55 * rattle


def _clap(kit: Kit) -> np.ndarray:
    n = n_samples(kit.clap_s)
    hands = band(noise(n, 3), 0.6 * kit.snap_hz, 3_600.0)
    late = n_samples(0.033)
    envelope = np.zeros(n)
    for start in (0, n_samples(0.011), n_samples(0.022)):
        envelope[start:late] = decay(late - start, 0.022)
    envelope[late:] = decay(n - late, kit.clap_s - 0.033)
    return 0.9 * hands * envelope


def _cymbal(kit: Kit, duration_s: float, seed: int) -> np.ndarray:
    """Ringing partials and noise high up, decaying together."""
    n = n_samples(duration_s)
    ringing = sum(np.sin(2 * np.pi * hz * times(n) + index) for index, hz in enumerate(METAL_HZ)) / len(METAL_HZ)
    hiss = band(noise(n, seed), 4_200.0, 7_700.0)
    return (1.3 * kit.metal * ringing + 0.5 * (1 - 0.5 * kit.metal) * hiss) * decay(n, duration_s)


def _crash(kit: Kit) -> np.ndarray:
    splash = _cymbal(kit, 1.4, 5)
    return 0.9 * splash + 0.25 * band(noise(len(splash), 6), 1_500.0, 5_000.0) * decay(len(splash), 0.5)


@lru_cache(maxsize=64)
def hit(palette: str, track: str) -> np.ndarray:
    """One hit of a track of DRUM_TRACKS at full velocity, (n,) float64 around -1..1."""
    kit = KITS[palette]
    sound = {
        "kick": lambda: _kick(kit),
        "snare": lambda: _snare(kit),
        "clap": lambda: _clap(kit),
        "hat": lambda: _cymbal(kit, kit.hat_s, 4),
        "open_hat": lambda: _cymbal(kit, 0.26, 4),
        "crash": lambda: _crash(kit),
    }[track]()
    return ramped(sound, 0.002 if track == "kick" else 0.001, 0.02)
