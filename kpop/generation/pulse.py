"""Where a clip of the listener's own stands in the bar, so that the song goes on in time with it."""

import numpy as np

from kpop.audio.spectrum import mel_filterbank, stft_at
from kpop.generation.settings import BEATS_PER_BAR
from kpop.grid import FRAMES_PER_STEP, HOP_LENGTH, STEPS_PER_BAR, STEPS_PER_BEAT

N_BASS_MELS = 6  # below about 250 Hz: kick drum and bass
HARMONY_MELS = slice(6, 36)  # about 250 Hz to 1.5 kHz: chords and melody
OPENING = 0.3  # who begins after silence mostly begins with a one: counts as so much of the other signs
TINY = 1e-9


def first_slot(waveform: np.ndarray, hop: float = HOP_LENGTH, beat: int | None = None, opening: bool = False) -> int:
    """Metronome position 0..STEPS_PER_BAR-1 of the clip's first step: (n_samples,) float32 at 16 kHz.

    hop: samples between frames at the clip's tempo. beat: step of its first beat, where that is known. opening: whether
    there is silence before it. The beat lies where the spectrum rises most (spectral flux; Bello et al. 2005, "A
    tutorial on onset detection"), a bar begins where the bass rises and the harmony changes most.
    """
    centres = np.arange(1 + int(len(waveform) / hop)) * hop
    level = np.abs(stft_at(waveform, np.rint(centres).astype(int))) @ mel_filterbank().T
    rise = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0)
    if beat is None:
        beat = int(np.argmax(_by_phase(rise.sum(1), STEPS_PER_BEAT)))
    bass, harmony = rise[:, :N_BASS_MELS].sum(1), np.sqrt(level[:, HARMONY_MELS])
    return -(beat + STEPS_PER_BEAT * _downbeat(bass, harmony, beat, opening)) % STEPS_PER_BAR


def _downbeat(bass: np.ndarray, harmony: np.ndarray, beat: int, opening: bool) -> int:
    """Which of the first four beats, counted from step beat on, begins a bar."""
    in_bass = _by_phase(bass, STEPS_PER_BAR)[beat::STEPS_PER_BEAT]
    length = STEPS_PER_BEAT * FRAMES_PER_STEP
    beats = harmony[beat * FRAMES_PER_STEP :]
    beats = beats[: len(beats) // length * length].reshape(-1, length, harmony.shape[1]).mean(1)
    change = np.abs(np.diff(beats, axis=0, prepend=beats[:1])).sum(1)
    firsts = (BEATS_PER_BAR, *range(1, BEATS_PER_BAR))  # nothing is known of the change to the first beat of all
    in_harmony = np.array([_mean(change[first::BEATS_PER_BAR]) for first in firsts])
    signs = in_bass / max(in_bass.sum(), TINY) + 2 * in_harmony / max(in_harmony.sum(), TINY)
    signs[0] += OPENING * opening
    return int(np.argmax(signs))


def _mean(values: np.ndarray) -> float:
    """Their mean, 0 when there are none."""
    return float(values.mean()) if len(values) else 0.0


def _by_phase(flux: np.ndarray, period_steps: int) -> np.ndarray:
    """(period_steps,) mean flux at and around each phase of a period; phases that the clip does not reach have none."""
    n_steps = len(flux) // FRAMES_PER_STEP
    steps = flux[: n_steps * FRAMES_PER_STEP].reshape(n_steps, FRAMES_PER_STEP).sum(1)
    steps, phases = steps[1:], np.arange(1, n_steps) % period_steps  # what the first rises from is not known
    total = np.bincount(phases, steps, minlength=period_steps)
    mean = total / np.maximum(np.bincount(phases, minlength=period_steps), 1)
    return mean + 0.5 * (np.roll(mean, 1) + np.roll(mean, -1))
