"""Tempo, beats and downbeats, of a listener's recording of a few seconds as of a whole song.

The tempo is the one whose bars, beats and subdivisions are strongest in both the autocorrelation and the Fourier
transform of the spectral flux (Bello et al. 2005, "A tutorial on onset detection"): a wrong tempo is seldom strong in
both (Peeters 2007, "Template-based estimation of time-varying tempo"). Beats of a song that keeps its tempo lie on a
straight line through its onsets, to a millisecond; else dynamic programming follows them (Ellis 2007, in librosa).
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks, zoom_fft

from kpop.audio.stft import mel_filterbank, stft_at
from kpop.constants import (
    BEATS_PER_BAR,
    FRAMES_PER_STEP,
    SAMPLE_RATE_HZ,
    STEPS_PER_BAR,
    STEPS_PER_BEAT,
    TEMPO_BPM,
    exact_div,
)

FLUX_HOP = 80
FLUX_PER_S = exact_div(SAMPLE_RATE_HZ, FLUX_HOP)
N_BANDS = 24
REFERENCE_RMS = 0.15  # level at which the flux is measured
TEMPO_GAIN = 1000.0  # before the logarithm: events down to -60 dBFS count
BEAT_GAIN = 30.0  # for the phase only loud events count: soft ones often lie between the beats
RISE_FRAMES = 4
MEAN_S = 0.6  # the flux's moving average is subtracted over this long
LATENCY_S = 0.007  # the flux is this early for percussion; the perceived onset of a hum is later than its flux, too
MIN_BPM = TEMPO_BPM / 2**0.5  # every tempo is reported in the octave around the model's own
TEMPI_BPM = MIN_BPM * 2 ** np.arange(0, 1, 1 / 400)
PER_BEAT, WEIGHTS = np.array([0.25, 0.5, 1, 2, 4]), np.array([1, 1, 1, 1, 0.5])  # bars to sixteenths
FINE = slice(2, None)  # beats, eighths and sixteenths
N_FOURIER = 1 << 16
WINDOW_FRAMES = 12 * FLUX_PER_S  # strengths of tempi are averaged over windows of 12 s
REFINEMENT = np.linspace(0.97, 1.03, 2001)
PHASES = np.arange(0, 1, 1 / 256)
MIN_CLARITY = 11.0  # Rayleigh's statistic summed over PER_BEAT[FINE]: random claps reach 10, steady ones 14
MIN_RISE = 2.3  # mean flux of an onset, nepers summed over bands: vibrato reaches 2, tied notes have 3
PEAK_HEIGHT, PEAK_DISTANCE = 0.1, 10  # share of the highest flux; frames

CHUNK_SAMPLES = exact_div(SAMPLE_RATE_HZ, 1000)  # sharp onsets are located to a millisecond
POWER_FLOOR = 1e-5
MIN_POWER_RISE = 1.2  # nepers within two milliseconds
MIN_ONSET_DISTANCE = 25  # chunks
LINE_TOLERANCES_S = (0.02, 0.02, 0.02, 0.006, 0.006, 0.006)  # onsets farther from the line are ignored in each pass
MIN_LINE_ONSETS = 16
STEADY_SHARE = 0.2  # of the beats that have an onset within the last tolerance, beyond those that would by chance
WHOLE_BPM = 0.005  # tempi are set in whole BPM: one this near to a whole number is that number

FRAMES_PER_BEAT = STEPS_PER_BEAT * FRAMES_PER_STEP
LEAD_FRAMES, ATTACK_FRAMES = 4, 8  # a beat's frames begin this much before it; rises in so many belong to its onset
BASS_MELS = slice(0, 6)  # below about 250 Hz: kick drum and bass
HARMONY_MELS = slice(6, 36)  # about 250 Hz to 1.5 kHz: chords and melody
OPENING_WEIGHT = 0.3  # of silence before the first beat; the other cues sum to 2


@dataclass(frozen=True)
class Pulse:
    """A steady beat."""

    tempo_bpm: float  # in the octave around the model's
    beat_s: float  # time of its first beat in seconds


@dataclass(frozen=True)
class BeatTrack:
    """The beats of a whole song."""

    beats_s: np.ndarray  # (n_beats,) in seconds; beats_s[0], at or before 0, is a downbeat
    tempo_bpm: float  # on average
    is_steady: bool  # whether the beats are exactly evenly spaced


NO_BEAT = BeatTrack(np.arange(2) * 60 / TEMPO_BPM, float(TEMPO_BPM), False)  # our own tempo, from the first sample on


def track_pulse(waveform: np.ndarray, near_bpm: float | None = None) -> Pulse | None:
    """The beat of a waveform (n_samples,) float32 at 16 kHz, best of four seconds or more; None if none is clear.

    near_bpm: a tempo known within 3 %, with which there is always a pulse, and in any octave.
    """
    bands = _bands(waveform)
    flux = _flux(bands, TEMPO_GAIN)
    tempo_bpm = near_bpm or TEMPO_BPM
    if flux.any():
        tempo_bpm = _refined_tempo(flux, near_bpm or _rough_tempo(flux))
    is_clear = near_bpm or _clarity(flux, tempo_bpm) >= MIN_CLARITY
    return Pulse(tempo_bpm, _beat_s(_flux(bands, BEAT_GAIN), tempo_bpm)) if is_clear else None


def track_beats(waveform: np.ndarray) -> BeatTrack:
    """The beats of a song (n_samples,) float32 at 16 kHz; NO_BEAT if none are clear."""
    pulse = track_pulse(waveform)
    if pulse is None:
        return NO_BEAT
    length_s = len(waveform) / SAMPLE_RATE_HZ
    line = _fit_line(*onset_times(waveform), pulse, length_s)
    tempo_bpm = (line or pulse).tempo_bpm
    if line:
        beats_s = np.arange(line.beat_s, length_s, 60 / tempo_bpm)
    else:
        import librosa  # here because it is slow to import and seldom needed

        flux = {"onset_envelope": _flux(_bands(waveform), BEAT_GAIN), "sr": SAMPLE_RATE_HZ, "hop_length": FLUX_HOP}
        beats_s = librosa.beat.beat_track(**flux, bpm=tempo_bpm, tightness=400, trim=False, units="time")[1] + LATENCY_S
    n_before = -find_downbeat(waveform, beats_s) % BEATS_PER_BAR
    n_before += BEATS_PER_BAR * max(int(np.ceil((beats_s[0] * tempo_bpm / 60 - n_before) / BEATS_PER_BAR)), 0)
    before_s = beats_s[0] - np.arange(n_before, 0, -1) * 60 / tempo_bpm
    return BeatTrack(np.concatenate([before_s, beats_s]), tempo_bpm, line is not None)


def first_metre_position(waveform: np.ndarray, pulse: Pulse | None = None, opening: bool = False) -> int:
    """Metre position 0..STEPS_PER_BAR-1 of the first step of a clip (n_samples,) float32 at 16 kHz.

    pulse: the clip's; by default the best fit at TEMPO_BPM. opening: whether the clip follows silence, after which most
    people begin with a downbeat.
    """
    pulse = pulse or Pulse(TEMPO_BPM, _beat_s(_flux(_bands(waveform), BEAT_GAIN), TEMPO_BPM))
    period_s = 60 / pulse.tempo_bpm
    step = round(pulse.beat_s / period_s * STEPS_PER_BEAT) % STEPS_PER_BEAT
    beats_s = np.arange(step / STEPS_PER_BEAT * period_s, len(waveform) / SAMPLE_RATE_HZ - period_s / 2, period_s)
    downbeat = find_downbeat(waveform, beats_s, OPENING_WEIGHT * opening)
    return -(step + STEPS_PER_BEAT * downbeat) % STEPS_PER_BAR


def find_downbeat(waveform: np.ndarray, beats_s: np.ndarray, first_weight: float = 0.0) -> int:
    """Which of the first four of a waveform's beats_s (n_beats,) begins a bar.

    It is where the bass rises most and the harmony changes most; first_weight favours the first beat.
    """
    period_s = np.median(np.diff(beats_s))
    beats = np.arange(len(beats_s))[:, None] + np.arange(-LEAD_FRAMES, FRAMES_PER_BEAT - LEAD_FRAMES) / FRAMES_PER_BEAT
    edges_s = np.concatenate([beats_s[:1] - period_s, beats_s, beats_s[-1:] + period_s])
    centres = np.rint(np.interp(beats, np.arange(-1, len(beats_s) + 1), edges_s) * SAMPLE_RATE_HZ).astype(int)
    level = np.abs(stft_at(waveform, centres.clip(0, len(waveform)).ravel())) @ mel_filterbank().T
    rise = np.maximum(np.diff(level[:, BASS_MELS], axis=0, prepend=level[:1, BASS_MELS]), 0).sum(1)
    bass = _by_beat_of_bar(rise.reshape(centres.shape)[:, :ATTACK_FRAMES].sum(1))
    harmony = np.sqrt(level[:, HARMONY_MELS]).reshape(*centres.shape, -1).mean(1)
    change = _by_beat_of_bar(np.abs(np.diff(harmony, axis=0)).sum(1), first=1)
    return int((bass + change + first_weight * (np.arange(BEATS_PER_BAR) == 0)).argmax())


def onset_times(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) in seconds of a waveform's sharp onsets, to a millisecond, and their steepness (n,)."""
    edges = np.diff(waveform, prepend=np.float32(0))  # a first difference emphasises what is sharp
    chunks = edges[: len(edges) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    log_power = np.log(np.einsum("ij,ij->i", chunks, chunks) + POWER_FLOOR)
    rise = log_power[2:] - log_power[:-2]
    peaks, _ = find_peaks(rise, height=MIN_POWER_RISE, distance=MIN_ONSET_DISTANCE)
    return (peaks + 1) / 1000, rise[peaks]


def _bands(waveform: np.ndarray) -> np.ndarray:
    """Magnitudes (n_frames, N_BANDS) every 5 ms, of the waveform scaled to REFERENCE_RMS."""
    rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) or 1.0
    bank = mel_filterbank(N_BANDS) / mel_filterbank(N_BANDS).sum(1, keepdims=True) * np.float32(REFERENCE_RMS / rms)
    centres = np.arange(0, len(waveform), FLUX_HOP)
    parts = np.array_split(centres, len(centres) // WINDOW_FRAMES + 1)  # a whole song's spectra would fill the memory
    return np.concatenate([np.abs(stft_at(waveform, part)) @ bank.T for part in parts])


def _flux(bands: np.ndarray, gain: float) -> np.ndarray:
    """Half-wave rectified rise of the log-magnitudes, less its moving average (n_frames,)."""
    level, flux = np.log1p(gain * bands), np.zeros(len(bands))
    rises = np.maximum(level[RISE_FRAMES:] - level[:-RISE_FRAMES], 0).sum(1)
    flux[RISE_FRAMES // 2 :][: len(rises)] = rises
    return np.maximum(flux - uniform_filter1d(flux, round(MEAN_S * FLUX_PER_S)), 0)


def _rough_tempo(flux: np.ndarray) -> float:
    """The strongest of TEMPI_BPM in windows of the flux."""
    starts = range(0, max(len(flux) - WINDOW_FRAMES // 2, 1), WINDOW_FRAMES // 2)
    windows = [flux[start : start + WINDOW_FRAMES] for start in starts]
    return TEMPI_BPM[sum(_strengths(window) for window in windows if window.any()).argmax()]


def _refined_tempo(flux: np.ndarray, rough_bpm: float) -> float:
    """The tempo near another one whose subdivisions are most in phase over all the flux."""
    tempi = rough_bpm * REFINEMENT
    fits = [
        weight * np.abs(zoom_fft(flux, tempi[[0, -1]] / 60 * per_beat, len(tempi), fs=FLUX_PER_S, endpoint=True))
        for per_beat, weight in zip(PER_BEAT[FINE], WEIGHTS[FINE], strict=True)
    ]
    return float(tempi[sum(fits).argmax()])


def _strengths(flux: np.ndarray) -> np.ndarray:
    """Strength of each of TEMPI_BPM in the flux's Fourier transform and autocorrelation."""
    n = len(flux)
    spectrum = np.abs(np.fft.rfft(flux, N_FOURIER)) / flux.sum()
    correlation = np.fft.irfft(np.square(np.abs(np.fft.rfft(flux - flux.mean(), 2 * n))))[:n]
    # normalised by the number of frames that overlap, but lags beyond two thirds count less
    correlation *= n / max(correlation[0], 1e-12) / np.maximum(n - np.arange(n), n // 3)
    total = np.zeros(len(TEMPI_BPM))
    for per_beat, weight in zip(PER_BEAT, WEIGHTS, strict=True):
        hz = TEMPI_BPM / 60 * per_beat
        at_lag = np.interp(FLUX_PER_S / hz, np.arange(n), correlation, right=0)
        total += weight * (np.interp(hz * N_FOURIER / FLUX_PER_S, np.arange(len(spectrum)), spectrum) + at_lag.clip(0))
    return total


def _phasors(flux: np.ndarray, tempo_bpm: float) -> np.ndarray:
    """Fourier transform of the flux at PER_BEAT[FINE] per beat: complex, at most 1 in magnitude."""
    times_s = np.arange(len(flux)) / FLUX_PER_S
    return np.exp(-2j * np.pi * np.outer(tempo_bpm / 60 * PER_BEAT[FINE], times_s)) @ flux / max(flux.sum(), 1e-12)


def _clarity(flux: np.ndarray, tempo_bpm: float) -> float:
    """Rayleigh's test statistic of onsets on beats and subdivisions; 0 if onsets are too weak."""
    onsets, _ = find_peaks(flux, height=PEAK_HEIGHT * flux.max(), distance=PEAK_DISTANCE)
    weights = flux[onsets]
    if not weights.any() or np.average(weights, weights=weights) < MIN_RISE:
        return 0.0
    n_effective = weights.sum() ** 2 / np.square(weights).sum()
    return n_effective * np.square(np.abs(_phasors(flux, tempo_bpm))).sum()


def _beat_s(flux: np.ndarray, tempo_bpm: float) -> float:
    """Time of the first beat in seconds."""
    turned = _phasors(flux, tempo_bpm) * np.exp(2j * np.pi * np.outer(PHASES, PER_BEAT[FINE]))
    fits = turned.real @ WEIGHTS[FINE]
    return float(PHASES[fits.argmax()] * 60 / tempo_bpm + LATENCY_S) % (60 / tempo_bpm)


def _fit_line(times_s: np.ndarray, weights: np.ndarray, pulse: Pulse, length_s: float) -> Pulse | None:
    """The pulse by weighted least squares through the onsets (n,) on its beats; None if too few lie on them."""
    period_s, beat_s = 60 / pulse.tempo_bpm, pulse.beat_s
    for tolerance_s in LINE_TOLERANCES_S:
        beats = np.round((times_s - beat_s) / period_s)
        near = np.abs(times_s - beat_s - beats * period_s) < tolerance_s
        if near.sum() < MIN_LINE_ONSETS:
            return None
        period_s, beat_s = np.polyfit(beats[near], times_s[near], 1, w=weights[near])
    by_chance = 1 - np.exp(-len(times_s) / length_s * 2 * tolerance_s)
    if len(np.unique(beats[near])) * period_s / length_s - by_chance < STEADY_SHARE:
        return None
    whole_s = 60 / round(60 / period_s)
    if abs(60 / period_s - 60 / whole_s) < WHOLE_BPM:
        beat_s += np.round(np.median(beats[near])) * (period_s - whole_s)  # both lines meet in the middle of the song
        period_s = whole_s
    return Pulse(60 / period_s, beat_s % period_s)


def _by_beat_of_bar(values: np.ndarray, first: int = 0) -> np.ndarray:
    """Mean (4,) of values (n,) that belong to the beats from `first` on, by beat of the bar, scaled to a sum of 1."""
    beat = np.arange(first, first + len(values)) % BEATS_PER_BAR
    means = np.bincount(beat, values, BEATS_PER_BAR) / np.maximum(np.bincount(beat, minlength=BEATS_PER_BAR), 1)
    return means / max(means.sum(), 1e-9)
