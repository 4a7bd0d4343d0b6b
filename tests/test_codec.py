"""The codec's networks and quantizers."""

import torch
from conftest import TINY_CODEC

from kpop.codec.model import Codec
from kpop.codec.quantizer import Codebook, ResidualQuantizer
from kpop.codec.streaming import StreamingDecoder
from kpop.constants import N_BINS


def clusters(n: int, generator: torch.Generator) -> torch.Tensor:
    centres = torch.randn(16, 4, generator=generator) * 5
    return centres[torch.randint(16, (n,), generator=generator)] + 0.1 * torch.randn(n, 4, generator=generator)


def test_every_further_level_comes_nearer_and_codes_alone_give_the_vectors():
    data = clusters(2_000, torch.Generator().manual_seed(0))
    errors = []
    for n_levels in (1, 2, 3):
        quantizer = ResidualQuantizer((16,) * n_levels, 4)
        for step in range(60):
            quantizer.learn(data, torch.Generator().manual_seed(step))
        quantized, codes = quantizer(data)
        assert torch.allclose(quantizer.vectors(codes), quantized, atol=1e-5)
        errors.append((quantized - data).square().mean().item())
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_an_unused_code_is_moved_to_where_the_data_are():
    data = clusters(2_000, torch.Generator().manual_seed(2))
    codebook = Codebook(16, 4)
    codebook.seed(data, torch.Generator().manual_seed(0))
    codebook.vectors[3] = 1e3
    codebook.sums[3] = 1e3 * codebook.counts[3]
    for step in range(400):
        codebook.learn(data, codebook.nearest(data), torch.Generator().manual_seed(step))
    assert (codebook.vectors[3] - data).square().sum(1).min() < 1


def test_shapes_of_codes_and_spectrum_and_the_streaming_decoder_gives_the_same():
    codec = Codec(TINY_CODEC).eval()
    for quantizer in codec.quantizers:
        quantizer.learn(torch.randn(500, TINY_CODEC.code_dim), torch.Generator().manual_seed(0))
    codes = codec.encode(torch.randn(2, 20, N_BINS))
    assert codes.shape == (2, 10, len(TINY_CODEC.flat_codebook_sizes))
    assert codec.decode(codes).shape == (2, 20, N_BINS)
    streamed = StreamingDecoder(codec).push(codes[0], last=True)
    torch.testing.assert_close(streamed, codec.decode(codes)[0], atol=1e-4, rtol=1e-4)


def test_a_change_in_one_band_leaves_the_other_bands_codes_alone():
    codec = Codec(TINY_CODEC).eval()
    for quantizer in codec.quantizers:
        quantizer.learn(torch.randn(500, TINY_CODEC.code_dim), torch.Generator().manual_seed(0))
    spectrum = torch.randn(1, 20, N_BINS)
    louder_treble = spectrum.clone()
    louder_treble[..., TINY_CODEC.band_edges_bins[1] :] += 3
    changed = (codec.encode(spectrum) != codec.encode(louder_treble)).any(1)[0]
    bands = torch.tensor(TINY_CODEC.codebook_bands)
    assert not changed[bands == 0].any()
    assert changed[bands == 1].any()
