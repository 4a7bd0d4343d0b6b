"""Where a clip of the listener's own stands in the bar, so that the song goes on in time with it."""

import numpy as np

from kpop.audio.spectrum import log_mel_db, stft
from kpop.grid import FRAMES_PER_STEP, STEPS_PER_BAR, STEPS_PER_BEAT

N_BASS_MELS = 6  # below about 250 Hz: the kick drum


def first_slot(waveform: np.ndarray) -> int:
    """Metronome position 0..STEPS_PER_BAR-1 of the clip's first step: (n_samples,) float32 at 16 kHz.

    The beat lies where the spectrum rises most (spectral flux; Bello et al. 2005, "A tutorial on onset detection"),
    a bar begins where the bass rises most.
    """
    level = log_mel_db(np.abs(stft(waveform)))
    rise = np.maximum(np.diff(level, axis=0), 0)
    beat = int(np.argmax(_strength_by_phase(rise.sum(1), STEPS_PER_BEAT)))
    bar = _strength_by_phase(rise[:, :N_BASS_MELS].sum(1), STEPS_PER_BAR)[beat::STEPS_PER_BEAT]
    downbeat = beat + STEPS_PER_BEAT * int(np.argmax(bar))
    return -downbeat % STEPS_PER_BAR


def _strength_by_phase(flux: np.ndarray, period_steps: int) -> np.ndarray:
    """(period_steps,) mean flux at each phase of a period; steps that the clip does not reach count as none."""
    n_steps = len(flux) // FRAMES_PER_STEP
    steps = flux[: n_steps * FRAMES_PER_STEP].reshape(n_steps, FRAMES_PER_STEP).sum(1)
    phases = np.arange(n_steps) % period_steps
    total = np.bincount(phases, steps, minlength=period_steps)
    return total / np.maximum(np.bincount(phases, minlength=period_steps), 1)
