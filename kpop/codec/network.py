"""The codec: STFT log-magnitude <-> a few codes a step, one residual quantiser for each band of frequency."""

from itertools import pairwise

import torch
from torch import nn

from kpop.codec.blocks import block_stack
from kpop.codec.config import CodecConfig
from kpop.codec.quantiser import ResidualQuantiser
from kpop.grid import FRAMES_PER_STEP, N_BINS


class BandEncoder(nn.Module):
    """The log-magnitude of one band -> latent vectors, one a step."""

    def __init__(self, n_bins: int, config: CodecConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(n_bins * FRAMES_PER_STEP, config.encoder_width)
        self.blocks = block_stack(config.encoder_blocks, config.encoder_width, config.kernel)
        self.leave = nn.Linear(config.encoder_width, config.code_dim)

    def forward(self, band: torch.Tensor) -> torch.Tensor:
        """(batch, n_steps, FRAMES_PER_STEP * n_bins) -> (batch, n_steps, code_dim)."""
        return self.leave(self.blocks(self.enter(band)))


class Decoder(nn.Module):
    """Quantised vectors of all bands -> log-magnitude of the whole spectrum."""

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
    """Encoder, quantisers and decoder, with the statistics that centre and scale each bin inside."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        widths = [high - low for low, high in pairwise(config.band_edges_bins)]
        self.encoders = nn.ModuleList(BandEncoder(n_bins, config) for n_bins in widths)
        self.quantisers = nn.ModuleList(ResidualQuantiser(sizes, config.code_dim) for sizes in config.codebook_sizes)
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
        """(batch, n_frames, N_BINS) -> codes (batch, n_steps, n_streams) int64."""
        codes = []
        for latent, quantiser in zip(self.latents(log_magnitude), self.quantisers, strict=True):
            codes.append(quantiser(latent.float().flatten(0, 1))[1].unflatten(0, latent.shape[:2]))
        return torch.cat(codes, 2)

    @torch.inference_mode()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (batch, n_steps, n_streams) int64 -> log-magnitude (batch, n_frames, N_BINS)."""
        by_band = codes.split([len(sizes) for sizes in self.config.codebook_sizes], dim=2)
        return self.decode_vectors([q.vectors(c) for q, c in zip(self.quantisers, by_band, strict=True)])
