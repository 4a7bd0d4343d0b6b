"""The first design's picture of sound: the DFT of block after block, with neither window nor overlap."""

import torch

BLOCK_SAMPLES = 8192  # 0.512 s at 16 kHz
N_NUMBERS = BLOCK_SAMPLES + 2  # real parts of all bins, then their imaginary parts


def analyse(waveform: torch.Tensor) -> torch.Tensor:
    """(..., n_samples) float32 -> (..., n_blocks, N_NUMBERS); what does not fill a block at the end is left out.

    The DFT is orthonormal: its numbers have the size of samples.
    """
    n_blocks = waveform.shape[-1] // BLOCK_SAMPLES
    blocks = waveform[..., : n_blocks * BLOCK_SAMPLES].unflatten(-1, (n_blocks, BLOCK_SAMPLES))
    spectrum = torch.fft.rfft(blocks, norm="ortho")
    return torch.cat([spectrum.real, spectrum.imag], dim=-1)


def synthesise(numbers: torch.Tensor) -> torch.Tensor:
    """(..., n_blocks, N_NUMBERS) -> (..., n_blocks * BLOCK_SAMPLES) float32: the blocks end to end, clicks and all."""
    real, imaginary = numbers.chunk(2, dim=-1)
    return torch.fft.irfft(torch.complex(real, imaginary), BLOCK_SAMPLES, norm="ortho").flatten(-2)
