"""Our phase reconstruction against librosa's Griffin-Lim, on the same magnitudes and the same machine."""

import time
from collections.abc import Callable

import numpy as np

from kpop.audio import phase
from kpop.audio.measures import crest_factor_db, spectral_convergence_db
from kpop.audio.stft import WINDOW, stft
from kpop.constants import HOP_LENGTH, N_FFT

LIBROSA_ITERATIONS = 32  # librosa's default


def report(waveform: np.ndarray) -> dict[str, float]:
    """Seconds, spectral convergence and crest factor of both inversions of a waveform's (n_samples,) own magnitudes.

    Keys: `ours_s`, `ours_db`, `ours_crest_db`, the same for `librosa_`, and `original_crest_db`. Both are compiled
    and warmed before they are timed.
    """
    import librosa  # here, because the package must work without it

    waveform = waveform[: waveform.size // HOP_LENGTH * HOP_LENGTH]
    magnitude = np.abs(stft(waveform))

    def griffin_lim(magnitude: np.ndarray) -> np.ndarray:
        options = {"n_iter": LIBROSA_ITERATIONS, "n_fft": N_FFT, "hop_length": HOP_LENGTH}
        unscaled = magnitude.T * (WINDOW.sum() / 2)  # librosa does not scale a full-scale sine to 1
        return librosa.griffinlim(unscaled, length=(len(magnitude) - 1) * HOP_LENGTH, **options)

    figures = {"original_crest_db": crest_factor_db(waveform)}
    figures |= _figures(
        "ours",
        lambda: phase.reconstruct(magnitude, waveform.size),
        magnitude,
        lambda: phase.reconstruct(magnitude[:8], 7 * HOP_LENGTH),
    )
    figures |= _figures("librosa", lambda: griffin_lim(magnitude), magnitude, lambda: griffin_lim(magnitude[:8]))
    return figures


def _figures(name: str, invert: Callable, magnitude: np.ndarray, warm_up: Callable) -> dict[str, float]:
    warm_up()
    start_s = time.perf_counter()
    sound = invert()
    elapsed_s = time.perf_counter() - start_s
    figures = {"s": elapsed_s, "db": spectral_convergence_db(magnitude, sound), "crest_db": crest_factor_db(sound)}
    return {f"{name}_{key}": value for key, value in figures.items()}
