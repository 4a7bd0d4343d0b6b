"""Instruments: oscillators, envelopes and filters; drum kits; synthesiser patches; effects.

The same arguments give the same samples, so a note sounds the same each time it is played.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from scipy import signal

from kpop.constants import SAMPLE_RATE_HZ

TOP_HZ = 7_600  # no partial lies above this: nothing aliases at 8 kHz
TABLE_SIZE = 8_192


def n_samples(duration_s: float) -> int:
    """Duration in whole samples."""
    return round(duration_s * SAMPLE_RATE_HZ)


def times(n: int) -> np.ndarray:
    """Time of each of n samples in seconds, (n,) float64."""
    return np.arange(n) / SAMPLE_RATE_HZ


def midi_hz(midi: float) -> float:
    """Frequency of a MIDI pitch, 69 = 440 Hz."""
    return 440.0 * 2 ** ((midi - 69) / 12)


def decay(n: int, time_s: float) -> np.ndarray:
    """Exponential decay from 1, down by 60 dB after time_s; (n,) float64."""
    return np.exp(-6.9 * times(n) / time_s)


def ramped(waveform: np.ndarray, attack_s: float, release_s: float) -> np.ndarray:
    """The waveform with raised-cosine ramps at both ends."""
    shaped = waveform.copy()
    rise, fall = (min(n_samples(duration_s), len(shaped)) for duration_s in (attack_s, release_s))
    shaped[:rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    shaped[len(shaped) - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / fall)
    return shaped


def noise(n: int, seed: int) -> np.ndarray:
    """White noise of unit variance, the same for the same seed; (n,) float64."""
    return np.random.default_rng(seed).standard_normal(n)


def band(waveform: np.ndarray, low_hz: float, high_hz: float, order: int = 2) -> np.ndarray:
    """The waveform band-passed by a Butterworth filter."""
    sos = signal.butter(order, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return signal.sosfilt(sos, waveform)


@lru_cache(maxsize=512)
def _table(shape: str, n_partials: int) -> np.ndarray:
    """One cycle of a "sine", "saw" or "square" of n_partials, (TABLE_SIZE + 1,) float64."""
    numbers = np.arange(1, n_partials + 1)
    amplitudes = {"saw": 0.64 / numbers, "square": 0.9 * (numbers % 2) / numbers, "sine": 1.0 * (numbers == 1)}[shape]
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[1 : n_partials + 1] = -0.5j * TABLE_SIZE * amplitudes
    cycle = np.fft.irfft(spectrum)
    return np.append(cycle, cycle[0])


@njit(cache=True)
def _read_table(table, frequency_hz, phase, rate_hz):
    """Reads a wavetable at the frequency of each sample, with linear interpolation."""
    size = len(table) - 1
    out = np.empty(len(frequency_hz))
    for i in range(len(frequency_hz)):
        position = phase * size
        index = int(position)
        out[i] = table[index] + (position - index) * (table[index + 1] - table[index])
        phase = (phase + frequency_hz[i] / rate_hz) % 1.0
    return out


def oscillator(shape: str, frequency_hz: np.ndarray, phase: float = 0.0) -> np.ndarray:
    """A band-limited "sine", "saw" or "square" following frequency_hz (n,), starting at a phase 0..1."""
    n_partials = max(1, int(TOP_HZ / frequency_hz.max()))
    return _read_table(_table(shape, n_partials), frequency_hz, phase % 1.0, SAMPLE_RATE_HZ)


@njit(cache=True)
def _state_variable_lowpass(waveform, cutoff_hz, damping, rate_hz):
    """State-variable filter, stable while its cutoff moves (Zavalishin, "The art of VA filter design")."""
    out = np.empty(len(waveform))
    first, second = 0.0, 0.0
    for i in range(len(waveform)):
        g = np.tan(np.pi * cutoff_hz[i] / rate_hz)
        high_pass = (waveform[i] - (damping + g) * first - second) / (1.0 + g * (g + damping))
        band_pass = first + g * high_pass
        out[i] = second + g * band_pass
        first = band_pass + g * high_pass
        second = out[i] + g * band_pass
    return out


def lowpass(waveform: np.ndarray, cutoff_hz: np.ndarray, resonance: float = 0.7) -> np.ndarray:
    """12 dB/octave low-pass whose cutoff (n,) may move; resonance is the Q."""
    cutoff_hz = np.broadcast_to(np.minimum(cutoff_hz, 7_500.0), waveform.shape)
    return _state_variable_lowpass(waveform, np.ascontiguousarray(cutoff_hz), 1.0 / resonance, SAMPLE_RATE_HZ)


METAL_HZ = (3_170, 3_890, 4_530, 5_210, 5_790, 6_350, 6_910, 7_430)  # inharmonic, like six-oscillator drum machines


@dataclass(frozen=True)
class Kit:
    """Parameters of a drum kit."""

    kick_hz: float  # final pitch of the kick
    kick_s: float  # 60 dB decay
    kick_drive: float  # distortion: harmonics for small loudspeakers
    snare_hz: float
    snare_s: float
    snap_hz: float  # lower edge of the snare's noise
    clap_s: float
    hat_s: float
    metal: float  # 0 = noisy cymbals, 1 = ringing ones


KITS = {
    "neon": Kit(47.0, 0.45, 1.6, 196.0, 0.30, 550.0, 0.26, 0.07, 0.4),
    "velvet": Kit(42.0, 0.60, 1.2, 178.0, 0.36, 450.0, 0.30, 0.05, 0.2),
    "bubblegum": Kit(52.0, 0.40, 1.5, 224.0, 0.26, 650.0, 0.22, 0.06, 0.4),
    "noir": Kit(44.0, 0.55, 1.9, 164.0, 0.38, 450.0, 0.32, 0.08, 0.5),
    "citrus": Kit(50.0, 0.36, 1.3, 208.0, 0.26, 600.0, 0.24, 0.05, 0.1),
    "aurora": Kit(45.0, 0.50, 1.4, 186.0, 0.34, 500.0, 0.28, 0.06, 0.2),
}


def _sweep(n: int, start_hz: float, end_hz: float, sweep_s: float) -> np.ndarray:
    """A sine whose pitch drops from start_hz to end_hz."""
    frequency_hz = end_hz + (start_hz - end_hz) * decay(n, sweep_s)
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ)


def _kick(kit: Kit) -> np.ndarray:
    n = n_samples(kit.kick_s)
    sweep = _sweep(n, 260.0, kit.kick_hz, 0.10)
    beater = band(noise(n, 1), 300.0, 2_500.0, 1) * decay(n, 0.04)
    return np.tanh(kit.kick_drive * (decay(n, kit.kick_s) + 0.5 * decay(n, 0.08)) * sweep) + 0.3 * beater


def _snare(kit: Kit) -> np.ndarray:
    n = n_samples(kit.snare_s)
    body = _sweep(n, 1.6 * kit.snare_hz, kit.snare_hz, 0.04) * decay(n, 0.6 * kit.snare_s)
    rattle = band(noise(n, 2), kit.snap_hz, 4_500.0, 1) * (0.5 * decay(n, 0.85 * kit.snare_s) + 0.6 * decay(n, 0.06))
    return 0.5 * body + 0.7 * rattle


def _clap(kit: Kit) -> np.ndarray:
    n = n_samples(kit.clap_s)
    hands = band(noise(n, 3), 900.0, 3_600.0)
    late = n_samples(0.033)
    envelope = np.zeros(n)
    for start in (0, n_samples(0.011), n_samples(0.022)):
        envelope[start:late] = decay(late - start, 0.022)
    envelope[late:] = decay(n - late, kit.clap_s - 0.033)
    return 0.9 * hands * envelope


def _cymbal(kit: Kit, duration_s: float, seed: int) -> np.ndarray:
    """Inharmonic partials and high noise, decaying together after a sharper stroke."""
    n = n_samples(duration_s)
    ringing = sum(np.sin(2 * np.pi * hz * times(n) + index) for index, hz in enumerate(METAL_HZ)) / len(METAL_HZ)
    hiss = band(noise(n, seed), 3_000.0, 6_500.0, 1)
    stroke = 0.5 * decay(n, duration_s) + 0.5 * decay(n, duration_s / 3)
    return (0.6 * kit.metal * ringing + 0.5 * (1 - 0.5 * kit.metal) * hiss) * stroke


def _crash(kit: Kit) -> np.ndarray:
    splash = _cymbal(kit, 1.4, 5)
    return 0.9 * splash + 0.25 * band(noise(len(splash), 6), 1_500.0, 5_000.0) * decay(len(splash), 0.5)


@lru_cache(maxsize=64)
def drum_hit(palette: str, track: str) -> np.ndarray:
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


GOLDEN = 0.618034  # spreads the starting phases of stacked oscillators evenly


@dataclass(frozen=True)
class Patch:
    """A subtractive patch: stacked oscillators into a low-pass with its own envelope, into an amplifier."""

    shape: str  # "saw" or "square"
    n_voices: int
    detune_cents: float  # of the outermost oscillators
    cutoff_hz: float  # final cutoff
    sweep_hz: float  # initial cutoff, above the final one
    sweep_s: float  # 60 dB decay of the filter's envelope
    attack_s: float
    release_s: float
    decay_s: float  # 60 dB decay of the amplifier
    sub: float = 0.0  # level of a pure tone at the same pitch
    drive: float = 0.0  # distortion, 0 = none
    resonance: float = 0.8


# Few oscillators, little detuned: more would beat like noise, which the codec cannot follow.
PATCHES = {
    "bass": {
        "neon": Patch("saw", 1, 0.0, 420.0, 2_200.0, 0.35, 0.003, 0.03, 4.0, 0.9, 1.3, 1.1),
        "velvet": Patch("sine", 1, 0.0, 900.0, 0.0, 1.0, 0.004, 0.06, 2.2, 0.6, 2.2),
        "bubblegum": Patch("square", 1, 0.0, 500.0, 2_600.0, 0.25, 0.003, 0.03, 1.6, 0.8, 1.0, 1.3),
        "noir": Patch("saw", 2, 9.0, 380.0, 1_500.0, 0.5, 0.004, 0.04, 5.0, 0.9, 1.6, 1.0),
        "citrus": Patch("saw", 1, 0.0, 600.0, 1_800.0, 0.18, 0.003, 0.03, 1.8, 0.7, 1.2, 1.2),
        "aurora": Patch("sine", 1, 0.0, 800.0, 0.0, 1.0, 0.004, 0.06, 3.0, 0.8, 1.6),
    },
    "pad": {
        "neon": Patch("saw", 2, 6.0, 350.0, 1_400.0, 0.35, 0.004, 0.15, 1.2, 0.2, 0.8, 1.0),
        "velvet": "electric_piano",
        "bubblegum": "guitar",
        "noir": "piano",
        "citrus": "guitar",
        "aurora": Patch("saw", 2, 5.0, 650.0, 700.0, 0.8, 0.01, 0.25, 4.0),
    },
    "pluck": {
        "neon": Patch("saw", 2, 6.0, 350.0, 1_400.0, 0.35, 0.004, 0.15, 1.2, 0.2, 0.8, 1.0),
        "velvet": "guitar",
        "bubblegum": Patch("square", 2, 6.0, 350.0, 1_400.0, 0.35, 0.004, 0.15, 1.2, 0.2, 0.8, 1.0),
        "noir": Patch("saw", 2, 10.0, 500.0, 4_000.0, 0.45, 0.002, 0.10, 0.9, 0.2, 0.0, 1.6),
        "citrus": "guitar",
        "aurora": "guitar",
    },
    "stab": {
        "neon": "guitar",
        "velvet": "guitar",
        "bubblegum": Patch("square", 3, 9.0, 1_800.0, 5_000.0, 0.4, 0.006, 0.07, 1.5),
        "noir": Patch("saw", 3, 10.0, 1_400.0, 4_500.0, 0.6, 0.010, 0.10, 2.5),
        "citrus": "piano",
        "aurora": "piano",
    },
}


def _stack(patch: Patch, frequency_hz: np.ndarray) -> np.ndarray:
    """The patch's detuned oscillators, summed at the power of one."""
    offsets = np.linspace(-1.0, 1.0, patch.n_voices) if patch.n_voices > 1 else (0.0,)
    voices = (
        oscillator(patch.shape, frequency_hz * 2 ** (offset * patch.detune_cents / 1_200), GOLDEN * index)
        for index, offset in enumerate(offsets)
    )
    return sum(voices) / np.sqrt(patch.n_voices)


def _electric_piano(midi: int, n: int, velocity: float) -> np.ndarray:
    """Frequency modulation (Chowning 1973): a warm body, and a tine that dies quickly; (n,) float64."""
    hz, t = midi_hz(midi), 2 * np.pi * times(n)
    index = (0.4 + 1.4 * velocity) * decay(n, 1.6) * min(1.0, 400.0 / hz)
    body = np.sin(hz * t + index * np.sin(hz * t)) * decay(n, 3.2)
    tine = 0.12 * velocity * np.sin(hz * t + 0.8 * np.sin(min(9 * hz, 5_000.0) * t)) * decay(n, 0.5)
    return 0.8 * (body + tine)


@njit(cache=True)
def _pluck_string(excitation, period, damping, brightness, n):
    """A delay line with a low-pass in its loop (Karplus & Strong 1983), its fraction interpolated linearly."""
    size = int(period)
    share = period - size
    line = np.zeros(size + 2)
    out = np.empty(n)
    previous = 0.0
    for i in range(n):
        read = (i - size) % len(line)
        older = (i - size - 1) % len(line)
        delayed = (1.0 - share) * line[read] + share * line[older]
        smoothed = brightness * delayed + (1.0 - brightness) * previous
        previous = delayed
        out[i] = (excitation[i] if i < len(excitation) else 0.0) + damping * smoothed
        line[i % len(line)] = out[i]
    return out


def _guitar(midi: int, n: int, velocity: float) -> np.ndarray:
    """A plucked string through the resonances of a body, (n,) float64."""
    hz = midi_hz(midi)
    period = SAMPLE_RATE_HZ / hz - 0.5
    pick = band(noise(int(period) + 40, midi), 120.0, 1_500.0 + 3_500.0 * velocity, 1)
    pick -= 0.7 * np.roll(pick, int(0.18 * period))  # plucked near the bridge
    damping = 10 ** (-3 / (2.6 * hz))  # down by 60 dB after 2.6 s, besides the low-pass
    wave = _pluck_string(pick, period, damping, 0.72, n)
    body = 0.8 * band(wave, 90.0, 240.0, 1) + 0.5 * band(wave, 350.0, 700.0, 1)
    return 0.5 * (wave + body)


def _piano(midi: int, n: int, velocity: float) -> np.ndarray:
    """Slightly inharmonic partials of two strings, higher ones shorter, and the knock of a hammer; (n,) float64."""
    hz, wave = midi_hz(midi), np.zeros(n)
    stiffness = 2e-4 * 2 ** ((midi - 60) / 12)
    for k in range(1, int(min(14, TOP_HZ / hz))):
        partial_hz = k * hz * np.sqrt(1 + stiffness * k * k)
        level = np.exp(-0.28 * k / (0.35 + 0.65 * velocity)) * (1.0 if k % 7 else 0.3)
        angle = 2 * np.pi * partial_hz * times(n)
        beating = np.sin(angle) + 0.7 * np.sin(1.0006 * angle + k)
        wave += level * beating * (0.7 * decay(n, 3.5 / (1 + 0.25 * k)) + 0.3 * decay(n, 0.8 / (1 + 0.2 * k)))
    knock = band(noise(n, 40), 100.0, 900.0, 1) * decay(n, 0.05)
    return 0.4 * (wave + 0.3 * knock)


ACOUSTIC = {"electric_piano": _electric_piano, "guitar": _guitar, "piano": _piano}


@lru_cache(maxsize=128)  # a song has about 100
def tone(track: str, palette: str, midi: int, length: int, velocity: float) -> np.ndarray:
    """A note of "bass", "pad", "pluck" or "stab", of `length` samples and its release; (n,) float64.

    Velocity 0..1 makes the note louder and brighter.
    """
    patch = PATCHES[track][palette]
    if isinstance(patch, str):
        n = length + n_samples(0.12)
        return ramped(velocity * ACOUSTIC[patch](midi, n, velocity), 0.002, 0.1)
    n = length + n_samples(patch.release_s)
    frequency_hz = np.full(n, midi_hz(midi))
    if track == "stab":
        frequency_hz *= 2 ** (-0.5 / 12 * decay(n, 0.08))  # a slide into the note, as of brass
    raw = _stack(patch, frequency_hz)
    cutoff_hz = (patch.cutoff_hz + patch.sweep_hz * decay(n, patch.sweep_s)) * (0.5 + 0.5 * velocity)
    filtered = lowpass(raw, np.maximum(cutoff_hz, 1.2 * frequency_hz), patch.resonance)
    mixed = filtered + patch.sub * oscillator("sine", frequency_hz)
    if patch.drive:  # asymmetric: even harmonics make a bass audible on small loudspeakers
        mixed = np.tanh(patch.drive * mixed + 0.35) - np.tanh(0.35)
        mixed -= mixed.mean()
    return ramped(velocity * mixed * decay(n, patch.decay_s), patch.attack_s, patch.release_s)


@lru_cache(maxsize=16)
def riser(length: int) -> np.ndarray:
    """A tone that climbs two octaves over swelling noise, (length,) float64."""
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
    boom = np.tanh(1.6 * _sweep(n, 96.0, 36.0, 0.7)) * decay(n, 1.3)
    debris = band(noise(n, 8), 300.0, 3_000.0) * decay(n, 0.6) * np.minimum(1.0, times(n) / 0.004)
    return ramped(boom + 0.4 * debris, 0.003, 0.1)
