"""Log-magnitude of pieces of songs, on the device where training runs; equal to kpop.audio.spectrum's."""

import numpy as np
import torch

from kpop.audio.spectrum import LOG_FLOOR
from kpop.grid import FRAMES_PER_STEP, HOP_LENGTH, N_FFT, STEP_SAMPLES
from kpop.training.songs import Song

MARGIN = N_FFT // 2  # samples that the first and last frame reach beyond their piece


def cut(song: Song, first_step: int, n_steps: int) -> np.ndarray:
    """Samples (n_steps * STEP_SAMPLES + N_FFT - HOP_LENGTH,) int16 that n_steps steps see; zeros outside the song."""
    start = first_step * STEP_SAMPLES - MARGIN
    stop = start + n_steps * STEP_SAMPLES + N_FFT - HOP_LENGTH
    inside = song.waveform[max(start, 0) : stop]
    before = max(-start, 0)
    return np.pad(inside, (before, stop - start - before - len(inside)))


def log_magnitude(pieces: torch.Tensor) -> torch.Tensor:
    """(batch, n_samples) int16 from cut() -> (batch, n_frames, N_BINS) float32 natural log-magnitude."""
    window = torch.hann_window(N_FFT, device=pieces.device)
    spectrum = torch.stft(pieces.float() / 32767, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
    magnitude = spectrum.abs() * (2 / window.sum())
    return magnitude.clamp_min(LOG_FLOOR).log().transpose(1, 2)


def song_log_magnitude(song: Song, device: torch.device) -> torch.Tensor:
    """(1, n_steps * FRAMES_PER_STEP, N_BINS) float32 of a whole song."""
    piece = torch.from_numpy(cut(song, 0, song.n_steps)).to(device)
    features = log_magnitude(piece.unsqueeze(0))
    assert features.shape[1] == song.n_steps * FRAMES_PER_STEP
    return features
