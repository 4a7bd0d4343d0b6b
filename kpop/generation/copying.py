"""Copies of a sound through the first stages of its path, for hearing and measuring what each stage keeps."""

import numpy as np

from kpop.audio.loudness import TARGET_LUFS, integrated_loudness, normalise
from kpop.audio.measures import crest_factor_db, log_mel_error_db, spectral_convergence_db
from kpop.audio.phase import reconstruct
from kpop.audio.spectrum import stft
from kpop.codec.network import Codec
from kpop.generation.synthesis import analyse, decode, encode, sound

CEILING_DB = -0.1  # as little below full scale as a file needs: every decibel less is a loss that is not the stage's


def magnitude_copy(waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) float32 -> its magnitudes inverted, at the same level; never clipped."""
    return _within_full_scale(reconstruct(np.abs(stft(waveform)), len(waveform)))


def codec_copy(waveform: np.ndarray, codec: Codec) -> np.ndarray:
    """(n_samples,) float32 -> its codes decoded and inverted, at the same level; never clipped.

    The codec knows music at TARGET_LUFS, so the sound passes through it at that level.
    """
    loudness = integrated_loudness(waveform)
    gain = 10 ** ((TARGET_LUFS - loudness) / 20) if np.isfinite(loudness) else 1.0
    features = analyse(waveform * np.float32(gain))
    copy = sound(decode(codec, encode(codec, features)), len(waveform), seed=0)
    return _within_full_scale(copy / np.float32(gain))


def copy_figures(waveform: np.ndarray, copy: np.ndarray) -> dict[str, float]:
    """How near a copy comes: spectral convergence and log-mel error in dB, crest factors of both in dB."""
    return {
        "spectral_convergence_db": spectral_convergence_db(np.abs(stft(waveform)), copy),
        "log_mel_error_db": log_mel_error_db(waveform, copy),
        "crest_factor_db": crest_factor_db(waveform),
        "crest_factor_of_copy_db": crest_factor_db(copy),
    }


def _within_full_scale(waveform: np.ndarray) -> np.ndarray:
    """The waveform at its own loudness; where samples would leave -1..1, the limiter of our songs sees to it."""
    loudness = integrated_loudness(waveform)
    return normalise(waveform, loudness, CEILING_DB) if np.abs(waveform).max(initial=0.0) > 1 else waveform
