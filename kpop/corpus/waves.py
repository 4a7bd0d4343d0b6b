"""Building blocks of every instrument: fixed noise, envelopes, band-limited oscillators, filters.

Nothing here runs free: the same arguments give the same samples, so a note sounds the same each time it is played.
"""

from functools import lru_cache

import numpy as np
from numba import njit
from scipy import signal

from kpop.constants import SAMPLE_RATE_HZ

TOP_HZ = 7_600  # no partial is made above this, so that nothing folds back at 8 kHz
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
    """The waveform with raised-cosine ramps at both ends, so that it starts and ends in silence without a click."""
    shaped = waveform.copy()
    rise, fall = (min(n_samples(duration_s), len(shaped)) for duration_s in (attack_s, release_s))
    shaped[:rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    shaped[len(shaped) - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / fall)
    return shaped


def noise(n: int, seed: int) -> np.ndarray:
    """White noise of unit variance, the same for the same seed; (n,) float64."""
    return np.random.default_rng(seed).standard_normal(n)


def band(waveform: np.ndarray, low_hz: float, high_hz: float, order: int = 2) -> np.ndarray:
    """The waveform between two frequencies (Butterworth)."""
    sos = signal.butter(order, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return signal.sosfilt(sos, waveform)


@lru_cache(maxsize=512)
def _table(shape: str, n_partials: int) -> np.ndarray:
    """One cycle of a "sine", "saw" or "square" of so many partials, (TABLE_SIZE + 1,) float64."""
    numbers = np.arange(1, n_partials + 1)
    amplitudes = {"saw": 0.64 / numbers, "square": 0.9 * (numbers % 2) / numbers, "sine": 1.0 * (numbers == 1)}[shape]
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[1 : n_partials + 1] = -0.5j * TABLE_SIZE * amplitudes
    cycle = np.fft.irfft(spectrum)
    return np.append(cycle, cycle[0])


@njit(cache=True)
def _read_table(table, frequency_hz, phase, rate_hz):
    """Walks through one cycle at the given frequency of each sample, with linear interpolation."""
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
    """Zavalishin's state-variable filter: stays stable while its cutoff moves."""
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
