"""Codes to sound: decoder, phase, loudness."""

import numpy as np
import torch

from kpop.audio.loudness import normalise
from kpop.audio.phase import reconstruct
from kpop.audio.spectrum import frame_count, from_log_magnitude, log_magnitude, stft
from kpop.codec.network import Codec
from kpop.grid import FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEP_SAMPLES

DECODED_ITERATIONS = 8  # no waveform has quite the magnitudes that a codec decodes, so more come no nearer
FADE_S = 0.03  # at the very end, against a click


def analyse(waveform: np.ndarray) -> np.ndarray:
    """Log-magnitude (n_steps * FRAMES_PER_STEP, N_BINS) float32 of a waveform; its last step is filled with zeros."""
    n_steps = -(-len(waveform) // STEP_SAMPLES)
    whole = np.pad(waveform, (0, n_steps * STEP_SAMPLES - len(waveform)))
    return log_magnitude(np.abs(stft(whole)))[: n_steps * FRAMES_PER_STEP]


def encode(codec: Codec, log_magnitudes: np.ndarray) -> np.ndarray:
    """Codes (n_steps, n_streams) int64 of log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS)."""
    return codec.encode(torch.from_numpy(log_magnitudes).unsqueeze(0))[0].numpy()


def decode(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """Log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS) float32 of codes (n_steps, n_streams) int64."""
    return codec.decode(torch.from_numpy(codes).unsqueeze(0))[0].numpy()


def sound(log_magnitudes: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Waveform (n_samples,) float32 of log-magnitudes, not yet at its final loudness.

    seed: for the phases left to chance. A frame that is missing at the end is as the one before it.
    """
    n_frames = frame_count(n_samples)
    frames = np.pad(log_magnitudes[:n_frames], ((0, max(n_frames - len(log_magnitudes), 0)), (0, 0)), mode="edge")
    return reconstruct(from_log_magnitude(frames), n_samples, seed, DECODED_ITERATIONS)


def master(waveform: np.ndarray) -> np.ndarray:
    """The finished song: -14 LUFS, true peak below -1 dBFS, ending in silence without a click."""
    n_fade = min(len(waveform), int(FADE_S * SAMPLE_RATE_HZ))
    faded = waveform.copy()
    faded[len(faded) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    return normalise(faded)
