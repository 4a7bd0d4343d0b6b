"""Where a real song stands in its bar: beats by librosa (Ellis 2007, "Beat tracking by dynamic programming")."""

import numpy as np

from kpop.audio.spectrum import stft
from kpop.grid import HOP_LENGTH, N_FFT, SAMPLE_RATE_HZ, STEP_SAMPLES, STEPS_PER_BEAT, TEMPO_BPM
from kpop.lstm.config import N_METRONOME_SLOTS

BEATS_PER_BAR = 4
FEWEST_BEATS = 8  # with fewer the tempo is a guess
BASS_HZ = 160.0


def metronome(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """Metronome slots (n_steps,) int16 of a song (n_samples,) float32, and its tempo in BPM.

    Beats are librosa's; the downbeat is the one of every four with most bass. A song without a clear beat is given
    the metronome of our corpus.
    """
    import librosa  # here, because it is slow to import and training on our own corpus does without it

    n_steps = len(waveform) // STEP_SAMPLES
    _, beats = librosa.beat.beat_track(
        y=waveform, sr=SAMPLE_RATE_HZ, hop_length=HOP_LENGTH, start_bpm=TEMPO_BPM, units="frames"
    )
    if len(beats) < FEWEST_BEATS:
        return (np.arange(n_steps) % N_METRONOME_SLOTS).astype(np.int16), float(TEMPO_BPM)
    beats_s = beats * HOP_LENGTH / SAMPLE_RATE_HZ
    moments = beat_positions(beats_s, np.arange(n_steps) * STEP_SAMPLES / SAMPLE_RATE_HZ)
    slots = np.floor((moments - _downbeat(waveform, beats)) * STEPS_PER_BEAT).astype(int) % N_METRONOME_SLOTS
    return slots.astype(np.int16), float(60 / np.median(np.diff(beats_s)))


def beat_positions(beats_s: np.ndarray, moments_s: np.ndarray) -> np.ndarray:
    """How many beats have passed at each moment, as fractions; beyond both ends the beat goes on evenly."""
    period = float(np.median(np.diff(beats_s)))
    inside = np.interp(moments_s, beats_s, np.arange(len(beats_s)))
    before = np.minimum(moments_s - beats_s[0], 0) / period
    after = np.maximum(moments_s - beats_s[-1], 0) / period
    return inside + before + after


def _downbeat(waveform: np.ndarray, beats: np.ndarray) -> int:
    """Which of the first four beats begins a bar."""
    n_bass_bins = int(BASS_HZ * N_FFT / SAMPLE_RATE_HZ)
    bass = np.abs(stft(waveform)[:, 1:n_bass_bins]).sum(1)
    rise = np.maximum(np.diff(bass, prepend=0), 0)
    strength = np.array([rise[max(beat - 3, 0) : beat + 4].max() for beat in np.minimum(beats, len(rise) - 1)])
    return int(np.argmax([strength[first::BEATS_PER_BAR].mean() for first in range(BEATS_PER_BAR)]))
