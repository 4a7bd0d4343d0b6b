"""A waveform, analysed once for all columns of the table."""

from dataclasses import dataclass

import numpy as np

from kpop.audio.measures import crest_factor_db
from kpop.audio.stft import BIN_WIDTH_HZ, log_mel_db, stft
from kpop.constants import FRAMES_PER_STEP, N_BINS, SIXTEENTHS_PER_BAR, STEPS_PER_SIXTEENTH
from kpop.evaluation import harmony, music

OCTAVES_HZ = (63, 125, 250, 500, 1000, 2000, 4000)  # centres (IEC 61260); the last one's band reaches the end
WINDOW_BARS = 2
WINDOW_BANDS = 20
SIXTEENTH_FRAMES = FRAMES_PER_STEP * STEPS_PER_SIXTEENTH
SILENCE_DB = -120.0


@dataclass(frozen=True)
class Heard:
    """What the table asks of a song that begins with a bar.

    values: the song's number in each column that is measured song by song
    octaves_db: (7,) levels of the octave bands less their mean
    windows: (n_windows, 68) statistics of two bars each, a bar apart
    level_db: (n_frames, 80) mel spectrogram
    """

    values: dict[str, float]
    octaves_db: np.ndarray
    windows: np.ndarray
    level_db: np.ndarray


def hear(waveform: np.ndarray) -> Heard:
    """Analyse a waveform (n_samples,) float32, 16 kHz, of two bars at least."""
    magnitude = np.abs(stft(waveform))
    level_db = log_mel_db(magnitude)
    strength = music.rise(level_db)
    song_chroma, bass_chroma = harmony.chroma(waveform)
    clarity, bpm = music.pulse(strength)
    song_key, key_clarity = harmony.key(song_chroma.mean(0))
    values = {
        "pulse_clarity": clarity,
        "tempo_error_percent": music.tempo_error_percent(bpm),
        "key_clarity": key_clarity,
        "key_agreement": harmony.key_agreement(song_chroma),
        "progression_bars": harmony.progression_share(harmony.bar_chords(song_chroma, bass_chroma)),
        "crest_db": crest_factor_db(waveform),
    }
    windows = _windows(level_db, strength, np.roll(song_chroma, -(song_key % 12), axis=1))
    return Heard(values, octave_levels_db(magnitude), windows, level_db)


def octave_levels_db(magnitude: np.ndarray) -> np.ndarray:
    """(7,) mean power of each octave band in dB, less the mean of the seven: balance, whatever the loudness."""
    power = np.square(magnitude).mean(0)
    edges_hz = np.array([*(centre / 2**0.5 for centre in OCTAVES_HZ), np.inf])
    octave = np.searchsorted(edges_hz, np.arange(N_BINS) * BIN_WIDTH_HZ, side="right") - 1
    levels = np.array([power[octave == index].sum() for index in range(len(OCTAVES_HZ))])
    levels_db = 10 * np.log10(np.maximum(levels, 10 ** (SILENCE_DB / 10)))
    return levels_db - levels_db.mean()


def _windows(level_db: np.ndarray, strength: np.ndarray, key_chroma: np.ndarray) -> np.ndarray:
    """(n_windows, 68): mean and deviation of 20 mel bands, share of the 12 degrees from the song's tonic, and mean
    onset strength at each of the bar's sixteenths."""
    n_bars = min(len(key_chroma), len(strength) // SIXTEENTH_FRAMES) // SIXTEENTHS_PER_BAR
    bar_frames = SIXTEENTHS_PER_BAR * SIXTEENTH_FRAMES
    bands = level_db[: n_bars * bar_frames].reshape(n_bars, bar_frames, WINDOW_BANDS, -1).mean(3)
    onsets = strength[: n_bars * bar_frames].reshape(n_bars, SIXTEENTHS_PER_BAR, SIXTEENTH_FRAMES).mean(2)
    degrees = key_chroma[: n_bars * SIXTEENTHS_PER_BAR].reshape(n_bars, SIXTEENTHS_PER_BAR, 12).mean(1)
    degrees = degrees / np.maximum(degrees.sum(1, keepdims=True), music.TINY)
    pairs = range(n_bars - WINDOW_BARS + 1)
    return np.array([_statistics(*(part[i : i + WINDOW_BARS] for part in (bands, degrees, onsets))) for i in pairs])


def _statistics(bands: np.ndarray, degrees: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    frames = bands.reshape(-1, WINDOW_BANDS)
    return np.concatenate([frames.mean(0), frames.std(0), degrees.mean(0), onsets.mean(0)])
