"""Keys and chords heard in a waveform, and how they compare with the progressions that our corpus is written in."""

from functools import cache
from itertools import product

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter1d

from kpop.constants import SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES, SIXTEENTHS_PER_BAR
from kpop.corpus.theory import FIRST_MINOR, LOOPS, chord_class, roman

WINDOW_SAMPLES = 8192  # bins of 2 Hz: enough to tell semitones apart from about 80 Hz on
LOWEST_HZ, HIGHEST_HZ = 80.0, 2_000.0
BASS_HZ = 40.0, 200.0
BASS_WEIGHT = 0.2  # how much the root in the bass adds to a chord's score of at most 1
AROUND_BINS = 31  # drums and consonants fill these evenly, notes stand out
STANDING_OUT = 1.5
TUNING_HZ = 440.0
N_BINS = 1200  # up to 2.3 kHz; nothing above is asked for
LOOP_BARS = 4
TINY = 1e-12

# Krumhansl & Kessler (1982), as tabulated in Krumhansl (1990), "Cognitive foundations of musical pitch".
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def chroma(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n_sixteenths, 12) strength of each pitch class from C on, in 80-2000 Hz and in the bass.

    Pitch class profiles (Fujishima 1999, "Realtime chord recognition of musical sound") of spectral peaks alone (Gomez
    2006, "Tonal description of music audio signals"), with square roots of magnitudes so that no partial rules.
    """
    n = len(waveform) // SIXTEENTH_SAMPLES
    before = (WINDOW_SAMPLES - SIXTEENTH_SAMPLES) // 2  # a window is centred on its sixteenth
    padded = np.pad(waveform[: n * SIXTEENTH_SAMPLES], (before, WINDOW_SAMPLES)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::SIXTEENTH_SAMPLES][:n]
    magnitude = np.abs(scipy.fft.rfft(frames * np.hanning(WINDOW_SAMPLES).astype(np.float32), axis=1))[:, :N_BINS]
    peaks = np.sqrt(np.maximum(magnitude - STANDING_OUT * uniform_filter1d(magnitude, AROUND_BINS, axis=1), 0))
    return peaks @ _folding(LOWEST_HZ, HIGHEST_HZ), peaks @ _folding(*BASS_HZ)


@cache
def _folding(low_hz: float, high_hz: float) -> np.ndarray:
    """(n_bins, 12): each bin shared by the two pitch classes that it lies between."""
    bins_hz = np.arange(N_BINS) * SAMPLE_RATE_HZ / WINDOW_SAMPLES
    pitch = 69 + 12 * np.log2(np.maximum(bins_hz, 1) / TUNING_HZ)
    away = np.abs((pitch[:, None] - np.arange(12) + 6) % 12 - 6)
    inside = (bins_hz >= low_hz) & (bins_hz < high_hz)
    return (np.maximum(1 - 2 * away, 0) * inside[:, None]).astype(np.float32)


@cache
def _key_profiles() -> np.ndarray:
    """(24, 12), standardised: 12 major keys from C on, 12 minor keys."""
    profiles = [np.roll(profile, tonic) for profile in (MAJOR_PROFILE, MINOR_PROFILE) for tonic in range(12)]
    return _standardised(np.array(profiles))


def key(mean_chroma: np.ndarray) -> tuple[int, float]:
    """(key 0..23, clarity -1..1) of a chroma (12,): the Krumhansl-Kessler profile that correlates best with it
    (Krumhansl 1990), 0-11 major and 12-23 minor from C on, and that correlation."""
    correlations = _key_profiles() @ _standardised(mean_chroma) / 12
    return int(correlations.argmax()), float(correlations.max())


def key_agreement(song_chroma: np.ndarray) -> float:
    """Share 0..1 of windows of four bars, a bar apart, whose key is the whole song's, or its relative, or the key of
    the same mode a fifth above or below."""
    near = _related(key(song_chroma.mean(0))[0])
    length = LOOP_BARS * SIXTEENTHS_PER_BAR
    starts = range(0, max(len(song_chroma) - length, 0) + 1, SIXTEENTHS_PER_BAR)
    return float(np.mean([key(song_chroma[start : start + length].mean(0))[0] in near for start in starts]))


def _related(song_key: int) -> set[int]:
    minor, tonic = divmod(song_key, 12)
    relative = (tonic + 3) % 12 if minor else 12 + (tonic + 9) % 12
    return {song_key, relative, 12 * minor + (tonic + 7) % 12, 12 * minor + (tonic + 5) % 12}


def bar_chords(song_chroma: np.ndarray, bass_chroma: np.ndarray) -> np.ndarray:
    """(n_bars,) 0-11 major, 12-23 minor triads from C on: the binary template nearest in angle to the bar's mean chroma
    (Fujishima 1999), a root in the bass counting for it."""
    n_bars = len(song_chroma) // SIXTEENTHS_PER_BAR
    whole = song_chroma[: n_bars * SIXTEENTHS_PER_BAR].reshape(n_bars, SIXTEENTHS_PER_BAR, 12).mean(1)
    bass = bass_chroma[: n_bars * SIXTEENTHS_PER_BAR].reshape(n_bars, SIXTEENTHS_PER_BAR, 12).mean(1)
    whole, bass = (part - part.min(1, keepdims=True) for part in (whole, bass))  # the noise of the drums is in all
    score = whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), TINY) @ _triads().T
    bass = bass / np.maximum(np.linalg.norm(bass, axis=1, keepdims=True), TINY)
    return (score + BASS_WEIGHT * np.tile(bass, 2)).argmax(1)


@cache
def _triads() -> np.ndarray:
    """(24, 12) of unit length."""
    chords = [[(root + step) % 12 for step in steps] for steps in ((0, 4, 7), (0, 3, 7)) for root in range(12)]
    return np.array([np.isin(np.arange(12), chord) for chord in chords]) / np.sqrt(3)


def progression_share(chords: np.ndarray) -> float:
    """Share 0..1 of bars that lie in four bars whose chords are one of the corpus's loops, in any key and rotation."""
    inside = np.zeros(len(chords), bool)
    known = _known_loops()
    for first in range(len(chords) - LOOP_BARS + 1):
        if _from_first(chords[first : first + LOOP_BARS]) in known:
            inside[first : first + LOOP_BARS] = True
    return float(inside.mean()) if len(inside) else 0.0


@cache
def _known_loops() -> frozenset[tuple[int, ...]]:
    """The corpus's loops as triads, begun at each bar, in the key where the first root is C; a bar of two chords may be
    heard as either."""
    found = set()
    for (mode, _), loops in LOOPS.items():
        for loop in loops:
            bars = [[_triad(numeral, mode) for numeral in bar.split("-")] for bar in loop.split()]
            for chords in product(*bars):
                found |= {_from_first(np.roll(chords, -turn)) for turn in range(LOOP_BARS)}
    return frozenset(found)


def _triad(numeral: str, mode: str) -> int:
    return chord_class(roman(numeral, 0, mode)) - (FIRST_MINOR - 12)


def _from_first(chords: np.ndarray) -> tuple[int, ...]:
    """The chords transposed so that the first has root C."""
    chords = np.asarray(chords)
    return tuple(int(chord) for chord in (chords - chords[0]) % 12 + chords // 12 * 12)


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.maximum(centred.std(-1, keepdims=True), TINY)
