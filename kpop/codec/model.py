"""The codec: STFT log-magnitude <-> a few tokens per step, one encoder and residual quantizer for each frequency band.

Built from ConvNeXt blocks over time (Liu et al. 2022, "A ConvNet for the 2020s"), channels last.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from kpop.codec.quantizer import ResidualQuantizer
from kpop.constants import FRAMES_PER_STEP, N_BINS


@dataclass(frozen=True)
class CodecConfig:
    """The codec's hyperparameters.

    band_edges_bins: STFT bins where bands begin and end (167, 333, 567, 867, 1267, 1867 and 3000 Hz between them), so
        that bass, chords, melody and noise do not share a codebook
    """

    band_edges_bins: tuple[int, ...] = (0, 10, 20, 34, 52, 76, 112, 180, N_BINS)
    codebook_sizes: tuple[tuple[int, ...], ...] = ((512, 512),) * 8  # of each band's residual codebooks, coarse first
    code_dim: int = 16  # length of a code vector
    encoder_width: int = 128  # channels of the ConvNeXt blocks
    decoder_width: int = 320
    encoder_blocks: int = 2
    step_blocks: int = 3  # of the decoder, at the rate of steps
    frame_blocks: int = 2  # of the decoder, at the rate of frames
    kernel: int = 7  # of the depthwise convolutions, in steps or frames

    def __post_init__(self) -> None:
        if len(self.codebook_sizes) != len(self.band_edges_bins) - 1:
            raise ValueError("codebook_sizes needs one entry for each band")
        if self.band_edges_bins[0] != 0 or self.band_edges_bins[-1] != N_BINS:
            raise ValueError(f"band_edges_bins must run from 0 to {N_BINS}")

    @property
    def flat_codebook_sizes(self) -> tuple[int, ...]:
        """Size of every codebook in the order of a step's tokens: band by band, coarse first."""
        return tuple(size for band in self.codebook_sizes for size in band)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise two-layer network, added to the input.

    (batch, n_times, width) float -> the same shape. Pointwise convolutions are nn.Linear: on a CPU they are several
    times faster in bfloat16 than nn.Conv1d.
    """

    def __init__(self, width: int, kernel: int, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.contract(nn.functional.gelu(self.expand(self.norm(y)), approximate="tanh"))
        return x + self.scale * y


def block_stack(n_blocks: int, width: int, kernel: int) -> nn.Sequential:
    """A sequence of n_blocks blocks."""
    return nn.Sequential(*(ConvNeXtBlock(width, kernel) for _ in range(n_blocks)))


class BandEncoder(nn.Module):
    """The log-magnitude of one band -> one latent vector per step."""

    def __init__(self, n_bins: int, config: CodecConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(n_bins * FRAMES_PER_STEP, config.encoder_width)
        self.blocks = block_stack(config.encoder_blocks, config.encoder_width, config.kernel)
        self.leave = nn.Linear(config.encoder_width, config.code_dim)

    def forward(self, band: torch.Tensor) -> torch.Tensor:
        """(batch, n_steps, FRAMES_PER_STEP * n_bins) -> (batch, n_steps, code_dim)."""
        return self.leave(self.blocks(self.enter(band)))


class Decoder(nn.Module):
    """Quantized vectors of all bands -> log-magnitude of the whole spectrum."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width, n_bands = config.decoder_width, len(config.codebook_sizes)
        self.enter = nn.Linear(n_bands * config.code_dim, width)
        self.step_blocks = block_stack(config.step_blocks, width, config.kernel)
        self.split = nn.Linear(width, width * FRAMES_PER_STEP)
        self.frame_blocks = block_stack(config.frame_blocks, width, config.kernel)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, N_BINS)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, n_steps, n_bands * code_dim) -> (batch, n_steps * FRAMES_PER_STEP, N_BINS)."""
        steps = self.step_blocks(self.enter(vectors))
        frames = self.split(steps).unflatten(2, (FRAMES_PER_STEP, -1)).flatten(1, 2)
        return self.leave(self.norm(self.frame_blocks(frames)))


class Codec(nn.Module):
    """Encoders, quantizers and decoder; buffers bin_mean and bin_std standardise each bin."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        widths = [high - low for low, high in pairwise(config.band_edges_bins)]
        self.encoders = nn.ModuleList(BandEncoder(n_bins, config) for n_bins in widths)
        self.quantizers = nn.ModuleList(ResidualQuantizer(sizes, config.code_dim) for sizes in config.codebook_sizes)
        self.decoder = Decoder(config)
        self.register_buffer("bin_mean", torch.zeros(N_BINS))
        self.register_buffer("bin_std", torch.ones(N_BINS))

    def latents(self, log_magnitude: torch.Tensor) -> list[torch.Tensor]:
        """(batch, n_frames, N_BINS) -> per band (batch, n_steps, code_dim); n_frames a multiple of FRAMES_PER_STEP."""
        scaled = (log_magnitude - self.bin_mean) / self.bin_std
        pairs = scaled.unflatten(1, (-1, FRAMES_PER_STEP))
        bands = (pairs[..., low:high].flatten(2) for low, high in pairwise(self.config.band_edges_bins))
        return [encoder(band) for encoder, band in zip(self.encoders, bands, strict=True)]

    def decode_vectors(self, vectors: list[torch.Tensor]) -> torch.Tensor:
        """Per band (batch, n_steps, code_dim) -> log-magnitude (batch, n_frames, N_BINS)."""
        return self.decoder(torch.cat(vectors, 2)).float() * self.bin_std + self.bin_mean

    @torch.inference_mode()
    def encode(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        """(batch, n_frames, N_BINS) -> tokens (batch, n_steps, n_codebooks) int64."""
        tokens = []
        for latent, quantizer in zip(self.latents(log_magnitude), self.quantizers, strict=True):
            tokens.append(quantizer(latent.float().flatten(0, 1))[1].unflatten(0, latent.shape[:2]))
        return torch.cat(tokens, 2)

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, n_steps, n_codebooks) int64 -> log-magnitude (batch, n_frames, N_BINS)."""
        return self.decode_vectors(self.vectors(tokens))

    def vectors(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Tokens (..., n_codebooks) int64 -> quantized vectors, per band (..., code_dim)."""
        by_band = tokens.split([len(sizes) for sizes in self.config.codebook_sizes], dim=-1)
        return [quantizer.vectors(band) for quantizer, band in zip(self.quantizers, by_band, strict=True)]
