"""The codec's networks and quantizers; weights on disk: whole, self-contained, and never executed."""

import pickle

import pytest
import torch
from conftest import TINY_CODEC
from safetensors.torch import load_file, save

from kpop.checkpoint import load_checkpoint, load_codec, save_checkpoint, write_tensors
from kpop.codec.model import Codec
from kpop.codec.quantizer import Codebook, ResidualQuantizer
from kpop.codec.streaming import StreamingDecoder
from kpop.constants import LABEL_SIZES, N_BINS
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, TokenLstm


def clusters(n: int, generator: torch.Generator) -> torch.Tensor:
    centres = torch.randn(16, 4, generator=generator) * 5
    return centres[torch.randint(16, (n,), generator=generator)] + 0.1 * torch.randn(n, 4, generator=generator)


@pytest.fixture
def codec() -> Codec:
    codec = Codec(TINY_CODEC).eval()
    for quantizer in codec.quantizers:
        quantizer.learn(torch.randn(500, TINY_CODEC.code_dim), torch.Generator().manual_seed(0))
    return codec


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


def test_shapes_of_codes_and_spectrum_and_the_streaming_decoder_gives_the_same(codec):
    codes = codec.encode(torch.randn(2, 20, N_BINS))
    assert codes.shape == (2, 10, len(TINY_CODEC.flat_codebook_sizes))
    assert codec.decode(codes).shape == (2, 20, N_BINS)
    streamed = StreamingDecoder(codec).push(codes[0], last=True)
    torch.testing.assert_close(streamed, codec.decode(codes)[0], atol=1e-4, rtol=1e-4)


def test_a_change_in_one_band_leaves_the_other_bands_codes_alone(codec):
    spectrum = torch.randn(1, 20, N_BINS)
    louder_treble = spectrum.clone()
    louder_treble[..., TINY_CODEC.band_edges_bins[1] :] += 3
    changed = (codec.encode(spectrum) != codec.encode(louder_treble)).any(1)[0]
    n_low = len(TINY_CODEC.codebook_sizes[0])
    assert not changed[:n_low].any()
    assert changed[n_low:].any()


SOMEBODY_ELSES = save({"layer.weight": torch.zeros(500)})


def test_a_checkpoint_rebuilds_networks_and_statistics(tiny_model):
    codec, lstm, info, score = load_checkpoint(tiny_model)
    held = load_file(tiny_model)
    assert torch.equal(codec.bin_mean, held["codec.bin_mean"])
    assert lstm.config.codebook_sizes == (*LABEL_SIZES, *codec.config.flat_codebook_sizes)
    assert info["n_songs"] == 2
    assert not codec.training
    assert not lstm.training
    assert score.config.codebook_sizes == LABEL_SIZES


def test_the_lstm_is_kept_in_eight_bits_without_being_heard(tmp_path, tiny_model):
    torch.manual_seed(0)
    lstm = TokenLstm(LstmConfig((5, 7), 1, lag_steps=(2,), embed=16, hidden=24, head_width=16))
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, load_codec(tiny_model)[0], lstm, {})
    matrices = {name: t for name, t in load_file(path).items() if name.startswith("lstm.") and t.ndim == 2}
    assert all(t.dtype == torch.int8 for t in matrices.values())
    for name, weight in load_checkpoint(path)[1].state_dict().items():
        original = lstm.state_dict()[name]
        assert (weight - original).abs().max() <= original.abs().max() / 127, name


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There are no weights called bad"),
        *((content, "damaged") for content in (b"", b"nonsense" * 50, pickle.dumps({"a": 1}), SOMEBODY_ELSES[:-1000])),
        (SOMEBODY_ELSES, "do not fit"),
    ],
)
def test_weights_that_cannot_be_used_are_one_clear_sentence(tmp_path, content, sentence):
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KpopError, match=sentence):
        load_checkpoint(path)


def test_a_codec_alone_is_enough_for_copies_but_not_for_songs(tmp_path, tiny_model):
    path = tmp_path / "codec.safetensors"
    save_checkpoint(path, load_codec(tiny_model)[0], None, {"a": 1})
    assert load_codec(path)[1] == {"a": 1}
    with pytest.raises(KpopError, match="do not fit"):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.safetensors"
    write_tensors(path, {"a": torch.ones(2)}, {})
    with pytest.raises(Exception):  # noqa: B017, PT011
        write_tensors(path, {"a": "not a tensor"}, {})
    assert load_file(path)["a"].tolist() == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
