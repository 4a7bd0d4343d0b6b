"""The codec's shape: which bins form a band, and how finely each band is quantised."""

from dataclasses import dataclass

from kpop.grid import N_BINS


@dataclass(frozen=True)
class CodecConfig:
    """Everything the codec's networks are built from.

    band_edges_bins: STFT bins where bands begin and end (167, 333, 567, 867, 1267, 1867 and 3000 Hz between them), so
        that bass, chords, melody and hiss do not share one codebook
    codebook_sizes: per band, the sizes of its residual codebooks, coarse first
    code_dim: length of a code vector
    encoder_width, decoder_width: channels of the ConvNeXt blocks
    encoder_blocks, step_blocks, frame_blocks: how many blocks encode, decode at step rate, decode at frame rate
    kernel: reach of each block in steps or frames
    """

    band_edges_bins: tuple[int, ...] = (0, 10, 20, 34, 52, 76, 112, 180, N_BINS)
    codebook_sizes: tuple[tuple[int, ...], ...] = ((256, 256),) * 8
    code_dim: int = 16
    encoder_width: int = 128
    decoder_width: int = 320
    encoder_blocks: int = 2
    step_blocks: int = 3
    frame_blocks: int = 2
    kernel: int = 7

    def __post_init__(self) -> None:
        if len(self.codebook_sizes) != len(self.band_edges_bins) - 1:
            raise ValueError("codebook_sizes needs one entry for each band")
        if self.band_edges_bins[0] != 0 or self.band_edges_bins[-1] != N_BINS:
            raise ValueError(f"band_edges_bins must run from 0 to {N_BINS}")

    @property
    def stream_sizes(self) -> tuple[int, ...]:
        """Codebook size of every code in a step, in the order in which codes are stored: band by band, coarse first."""
        return tuple(size for band in self.codebook_sizes for size in band)

    @property
    def stream_is_fine(self) -> tuple[bool, ...]:
        """Whether a code refines one before it in its band."""
        return tuple(level > 0 for sizes in self.codebook_sizes for level in range(len(sizes)))

    @property
    def stream_bands(self) -> tuple[int, ...]:
        """Band of every code in a step."""
        return tuple(band for band, sizes in enumerate(self.codebook_sizes) for _ in sizes)
