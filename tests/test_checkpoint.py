"""Weights on disk: whole, self-contained, and never executed."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save

from kpop.checkpoint import load_checkpoint, load_codec, save_checkpoint, write_tensors
from kpop.constants import LABEL_SIZES
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, TokenLstm

SOMEBODY_ELSES = save({"layer.weight": torch.zeros(500)})


def test_a_checkpoint_rebuilds_networks_and_statistics(tiny_model):
    codec, lstm, info = load_checkpoint(tiny_model)
    held = load_file(tiny_model)
    assert torch.equal(codec.bin_mean, held["codec.bin_mean"])
    assert lstm.config.codebook_sizes == (*LABEL_SIZES, *codec.config.flat_codebook_sizes)
    assert info["n_songs"] == 2
    assert not codec.training
    assert not lstm.training


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
