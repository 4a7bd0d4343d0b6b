"""Synthesisers: bass, pad, pluck, stab, and the effects that lead from one section into the next."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kpop.constants import SAMPLE_RATE_HZ
from kpop.corpus.waves import band, decay, lowpass, midi_hz, n_samples, noise, oscillator, ramped, times

GOLDEN = 0.618034  # spreads the starting phases of stacked oscillators evenly


@dataclass(frozen=True)
class Patch:
    """A subtractive patch: stacked oscillators into a low-pass with its own envelope, into an amplifier."""

    shape: str  # "saw" or "square"
    n_voices: int
    detune_cents: float  # of the outermost oscillators
    cutoff_hz: float  # where the filter settles
    sweep_hz: float  # how far above that it starts
    sweep_s: float  # 60 dB decay of the filter's envelope
    attack_s: float
    release_s: float
    decay_s: float  # 60 dB decay of the amplifier; long = a held tone
    sub: float = 0.0  # level of a pure tone at the same pitch
    drive: float = 0.0  # distortion, 0 = none
    resonance: float = 0.8


# Few voices, little detuned: more would beat like noise, which no codec can follow.
PATCHES = {
    "bass": {
        "neon": Patch("saw", 1, 0.0, 420.0, 2_200.0, 0.35, 0.003, 0.03, 4.0, 0.9, 1.3, 1.1),
        "velvet": Patch("sine", 1, 0.0, 900.0, 0.0, 1.0, 0.004, 0.06, 2.2, 0.6, 2.2),
        "bubblegum": Patch("square", 1, 0.0, 500.0, 2_600.0, 0.25, 0.003, 0.03, 1.6, 0.8, 1.0, 1.3),
        "noir": Patch("saw", 2, 9.0, 380.0, 1_500.0, 0.5, 0.004, 0.04, 5.0, 0.9, 1.6, 1.0),
    },
    "pad": {
        "neon": Patch("saw", 5, 10.0, 3_600.0, 2_000.0, 0.8, 0.015, 0.12, 9.0),
        "velvet": Patch("saw", 3, 7.0, 1_500.0, 500.0, 1.0, 0.04, 0.18, 9.0),
        "bubblegum": Patch("saw", 3, 8.0, 3_000.0, 2_500.0, 0.6, 0.01, 0.10, 9.0),
        "noir": Patch("saw", 5, 10.0, 1_900.0, 900.0, 1.2, 0.03, 0.15, 9.0),
    },
    "pluck": {
        "neon": Patch("saw", 3, 8.0, 700.0, 5_500.0, 0.35, 0.002, 0.08, 0.7, 0.2, 0.0, 1.2),
        "velvet": Patch("sine", 2, 3.0, 2_500.0, 2_500.0, 0.5, 0.003, 0.10, 1.4, 0.3, 0.9),
        "bubblegum": Patch("square", 1, 0.0, 900.0, 5_500.0, 0.30, 0.002, 0.08, 0.6, 0.2, 0.0, 1.4),
        "noir": Patch("saw", 2, 10.0, 500.0, 4_000.0, 0.45, 0.002, 0.10, 0.9, 0.2, 0.0, 1.6),
    },
    "stab": {
        "neon": Patch("saw", 3, 9.0, 2_200.0, 5_000.0, 0.5, 0.008, 0.08, 2.0),
        "velvet": Patch("saw", 3, 7.0, 1_300.0, 3_000.0, 0.5, 0.012, 0.10, 2.0),
        "bubblegum": Patch("square", 3, 9.0, 1_800.0, 5_000.0, 0.4, 0.006, 0.07, 1.5),
        "noir": Patch("saw", 3, 10.0, 1_400.0, 4_500.0, 0.6, 0.010, 0.10, 2.5),
    },
}


def _stack(patch: Patch, frequency_hz: np.ndarray) -> np.ndarray:
    """The patch's detuned oscillators together, at the power of one."""
    offsets = np.linspace(-1.0, 1.0, patch.n_voices) if patch.n_voices > 1 else np.zeros(1)
    voices = (
        oscillator(patch.shape, frequency_hz * 2 ** (offset * patch.detune_cents / 1_200), GOLDEN * index)
        for index, offset in enumerate(offsets)
    )
    return sum(voices) / np.sqrt(patch.n_voices)


def _driven(waveform: np.ndarray, drive: float) -> np.ndarray:
    """Asymmetric distortion: even harmonics make a bass audible on small loudspeakers."""
    return np.tanh(drive * waveform + 0.35) - np.tanh(0.35) if drive else waveform


@lru_cache(maxsize=384)
def tone(track: str, palette: str, midi: int, length: int, velocity: float) -> np.ndarray:
    """A note of "bass", "pad", "pluck" or "stab", held for `length` samples and released; (n,) float64.

    Velocity 0..1 makes the note louder and brighter.
    """
    patch = PATCHES[track][palette]
    n = length + n_samples(patch.release_s)
    frequency_hz = np.full(n, midi_hz(midi))
    if track == "stab":
        frequency_hz *= 2 ** (-0.5 / 12 * decay(n, 0.08))  # brass slides into its note
    raw = _stack(patch, frequency_hz)
    cutoff_hz = (patch.cutoff_hz + patch.sweep_hz * decay(n, patch.sweep_s)) * (0.5 + 0.5 * velocity)
    filtered = lowpass(raw, np.maximum(cutoff_hz, 1.2 * frequency_hz), patch.resonance)
    mixed = _driven(filtered + patch.sub * oscillator("sine", frequency_hz), patch.drive)
    mixed = mixed - mixed.mean() if patch.drive else mixed
    return ramped(velocity * mixed * decay(n, patch.decay_s), patch.attack_s, patch.release_s)


@lru_cache(maxsize=16)
def riser(length: int) -> np.ndarray:
    """A tone climbing two octaves out of a swelling wind over `length` samples, (length,) float64."""
    progress = np.arange(length) / length
    frequency_hz = 220.0 * 4.0**progress
    climbing = sum(oscillator("saw", frequency_hz * ratio, GOLDEN * ratio) for ratio in (0.995, 1.005)) / 2
    climbing = lowpass(climbing, 600.0 + 4_000.0 * progress**2)
    wind = band(noise(length, 7), 1_200.0, 5_000.0) * 0.25
    return ramped((climbing + wind) * progress**1.5, 0.01, 0.02)


@lru_cache(maxsize=4)
def impact() -> np.ndarray:
    """A sub drop under a short dull crash, (n,) float64."""
    n = n_samples(1.3)
    phase = 2 * np.pi * np.cumsum(36.0 + 60.0 * decay(n, 0.7)) / SAMPLE_RATE_HZ
    boom = np.tanh(1.6 * np.sin(phase)) * decay(n, 1.3)
    debris = band(noise(n, 8), 300.0, 3_000.0) * decay(n, 0.6) * np.minimum(1.0, times(n) / 0.004)
    return ramped(boom + 0.4 * debris, 0.003, 0.1)
