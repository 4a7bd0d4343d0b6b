"""Sounds that lack what a column measures: the other end of its scale."""

import numpy as np
import scipy.fft

from kpop.audio.loudness import normalise
from kpop.codec.model import Codec
from kpop.constants import (
    BAR_SAMPLES,
    SAMPLE_RATE_HZ,
    SIXTEENTH_SAMPLES,
    SIXTEENTHS_PER_BAR,
    STEP_SAMPLES,
    STEPS_PER_BAR,
)
from kpop.generation.pipeline import decode, master, sound

LOWEST_NOISE_HZ = 40.0  # pink noise is not made louder and louder below this


def bars_shuffled(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The waveform's whole bars in random order: every bar is music, the song is not."""
    bars = waveform[: len(waveform) // BAR_SAMPLES * BAR_SAMPLES].reshape(-1, BAR_SAMPLES)
    return rng.permutation(bars).reshape(-1)


def sixteenths_shuffled(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bars in random order, and within each bar its sixteenths too: its sounds and chords, without rhythm or tune."""
    bars = bars_shuffled(waveform, rng).reshape(-1, SIXTEENTHS_PER_BAR, SIXTEENTH_SAMPLES)
    return np.concatenate([rng.permutation(bar) for bar in bars]).reshape(-1)


def pink_noise(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (n_samples,) float32 of equal power in every octave from 40 Hz on, at -14 LUFS."""
    spectrum = scipy.fft.rfft(rng.standard_normal(n_samples))
    hz = np.arange(len(spectrum)) * SAMPLE_RATE_HZ / n_samples
    return normalise(scipy.fft.irfft(spectrum / np.sqrt(np.maximum(hz, LOWEST_NOISE_HZ)), n_samples) * 100)


def codes_by_frequency(codes: np.ndarray, n_steps: int, rng: np.random.Generator) -> np.ndarray:
    """(n_steps, n_codebooks): each code drawn by how often it occurs in its column of codes, whatever is around it."""
    return np.stack([rng.choice(column, n_steps) for column in codes.T], axis=1)


def unigram_song(codec: Codec, codes: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Codes without order, decoded, inverted and mastered as a song's are. codes: all steps of real songs."""
    drawn = codes_by_frequency(codes, -(-n_samples // STEP_SAMPLES), np.random.default_rng([seed, 5]))
    return master(sound(decode(codec, drawn.astype(np.int64)), n_samples, seed))


def streams_shuffled(streams: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Streams (n_steps, n_codebooks) with their whole bars in random order."""
    bars = streams[: len(streams) // STEPS_PER_BAR * STEPS_PER_BAR].reshape(-1, STEPS_PER_BAR, streams.shape[1])
    return rng.permutation(bars).reshape(-1, streams.shape[1])
