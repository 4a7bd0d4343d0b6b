"""How fast a listener's own sound goes, and where its beats lie: claps, a hummed line, a count, a song.

Onsets are where the spectrum rises (spectral flux; Bello et al. 2005, "A tutorial on onset detection"). The tempo is
the one whose bars, beats, and parts of a beat are strongest in both the flux's autocorrelation (as Ellis 2007,
"Beat tracking by dynamic programming") and its Fourier transform: a wrong tempo is seldom strong in both (Peeters
2007, "Template-based estimation of time-varying tempo").
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from kpop.audio.spectrum import mel_filterbank, stft_at
from kpop.grid import SAMPLE_RATE_HZ, TEMPO_BPM, exact_div

FLUX_HOP = 80
FLUX_PER_S = exact_div(SAMPLE_RATE_HZ, FLUX_HOP)
N_BANDS = 24
LEVEL = 0.15  # root mean square that the flux is taken at
TEMPO_GAIN = 1000.0  # before the logarithm: what is 60 dB under full scale begins to count
BEAT_GAIN = 30.0  # here only what is loud: between the beats there is more that is soft
RISE_FRAMES = 4
EARLY_S = 0.007  # so much too soon the flux has drums and claps; a hum's middle of attack it has too late
AROUND_S = 0.6  # onsets stand out from the mean flux around them
LOWEST_BPM = TEMPO_BPM / 2**0.5  # every tempo is counted at the octave nearest to the model's own
TEMPI_BPM = LOWEST_BPM * 2 ** np.arange(0, 1, 1 / 400)
LEVELS = ((0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 0.5))  # bars to sixteenths: how many a beat, weight
FINE_LEVELS = LEVELS[2:]
N_FOURIER = 1 << 16
REFINEMENTS = ((0.03, 61), (0.002, 21))  # share of the tempo to look around, and how many to look at
PHASES = np.arange(0, 1, 1 / 256)
CLEAR = 11.0  # Rayleigh's test summed over beats, halves and quarters: claps without any beat reach 10, steady ones 14
FIRM = 2.3  # nepers over all bands, the mean stroke: the tremble of a held voice reaches 2, notes that are tied have 3
STROKE_HEIGHT, STROKES_APART = 0.1, 10  # share of the highest flux; frames


@dataclass(frozen=True)
class Pulse:
    """A steady beat: tempo in BPM, at the octave nearest to the model's, and seconds from the start to a beat."""

    tempo_bpm: float
    beat_s: float


def find_pulse(waveform: np.ndarray) -> Pulse | None:
    """The beat of a sound (n_samples,) float32 at 16 kHz, of four seconds or more; None where there is none clear."""
    bands = _bands(waveform)
    flux = _flux(bands, TEMPO_GAIN)
    if not flux.any():
        return None
    bpm = _refined(flux, TEMPI_BPM[_strengths(flux).argmax()])
    if _clarity(flux, bpm) < CLEAR:
        return None
    return Pulse(float(bpm), _beat_s(_flux(bands, BEAT_GAIN), bpm))


def _bands(waveform: np.ndarray) -> np.ndarray:
    """Magnitudes (n_frames, N_BANDS) every 5 ms, of a sound brought to LEVEL."""
    rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) or 1.0
    centres = np.arange(0, len(waveform), FLUX_HOP)
    magnitude = np.abs(stft_at(waveform, centres)) * np.float32(LEVEL / rms)
    bank = mel_filterbank(N_BANDS)
    return magnitude @ (bank / bank.sum(1, keepdims=True)).T


def _flux(bands: np.ndarray, gain: float) -> np.ndarray:
    """How much the spectrum rises at each frame (n_frames,), beyond what it does all the time."""
    level, flux = np.log1p(gain * bands), np.zeros(len(bands))
    rises = np.maximum(level[RISE_FRAMES:] - level[:-RISE_FRAMES], 0).sum(1)
    flux[RISE_FRAMES // 2 :][: len(rises)] = rises
    return np.maximum(flux - uniform_filter1d(flux, round(AROUND_S * FLUX_PER_S)), 0)


def _strengths(flux: np.ndarray) -> np.ndarray:
    """How strong each of TEMPI_BPM is."""
    waves = np.abs(np.fft.rfft(flux, N_FOURIER)) / flux.sum()
    waves_hz = np.fft.rfftfreq(N_FOURIER, 1 / FLUX_PER_S)
    alike = _autocorrelation(flux)
    total = np.zeros(len(TEMPI_BPM))
    for a_beat, weight in LEVELS:
        hz = TEMPI_BPM / 60 * a_beat
        lags = np.interp(FLUX_PER_S / hz, np.arange(len(alike)), alike, right=0)
        total += weight * (np.interp(hz, waves_hz, waves) + np.maximum(lags, 0))
    return total


def _autocorrelation(flux: np.ndarray) -> np.ndarray:
    """(n_frames,), 1 at lag 0; long lags, which few frames have, count less."""
    n = len(flux)
    power = np.square(np.abs(np.fft.rfft(flux - flux.mean(), 2 * n)))
    alike = np.fft.irfft(power)[:n]
    return alike / max(alike[0], 1e-12) * n / np.maximum(n - np.arange(n), n // 3)


def _refined(flux: np.ndarray, bpm: float) -> float:
    """The tempo nearby whose beats and their parts are most in phase over the whole sound."""
    for reach, n in REFINEMENTS:
        tempi = bpm * np.linspace(1 - reach, 1 + reach, n)
        fits = sum(weight * np.abs(_wave(flux, tempi / 60 * a_beat)) for a_beat, weight in FINE_LEVELS)
        bpm = tempi[fits.argmax()]
    return bpm


def _wave(flux: np.ndarray, hz: np.ndarray) -> np.ndarray:
    """Fourier transform of the flux at some frequencies, as a share of all flux: complex, at most 1."""
    time_s = np.arange(len(flux)) / FLUX_PER_S
    return np.exp(-2j * np.pi * np.outer(hz, time_s)) @ flux / flux.sum()


def _clarity(flux: np.ndarray, bpm: float) -> float:
    """How far beyond chance strokes lie on the beats and their parts (Rayleigh's test); 0 where there are none."""
    strokes, _ = find_peaks(flux, height=STROKE_HEIGHT * flux.max(), distance=STROKES_APART)
    weights = flux[strokes]
    if not weights.any() or np.average(weights, weights=weights) < FIRM:
        return 0.0
    n_strokes = weights.sum() ** 2 / np.square(weights).sum()
    levels = np.array([a_beat for a_beat, _ in FINE_LEVELS])
    return float(n_strokes * np.square(np.abs(_wave(flux, bpm / 60 * levels))).sum())


def _beat_s(flux: np.ndarray, bpm: float) -> float:
    """Seconds to the first beat."""
    levels = np.array([a_beat for a_beat, _ in FINE_LEVELS])
    waves = _wave(flux, bpm / 60 * levels)
    turns = np.exp(2j * np.pi * np.outer(PHASES, levels))
    fits = (turns * waves).real @ [weight for _, weight in FINE_LEVELS]
    return float(PHASES[fits.argmax()] * 60 / bpm + EARLY_S) % (60 / bpm)
