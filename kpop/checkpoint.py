"""Checkpoints: one safetensors file with weights, configuration and statistics. Nothing is ever unpickled."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from kpop.codec.model import Codec, CodecConfig
from kpop.errors import KpopError
from kpop.lstm.model import LstmConfig, TokenLstm

FORMAT = "twice4life-2"
TRAINING_ONLY = (".counts", ".sums", ".seeded")  # a codebook's moving averages, which the training state keeps
FULL_PRECISION = ("bin_mean", "bin_std")
SCALE = ".row_scale"  # suffix of an int8 matrix's float32 scales, one per row
LARGEST_INT8 = 127


def save_checkpoint(path: Path, codec: Codec, lstm: TokenLstm | None, info: dict[str, Any]) -> None:
    """Write the networks to path, atomically. info: anything JSON can hold.

    The codec's weights are stored as float16, the LSTM's matrices as int8 with a scale per row, as the sampler uses
    them. Without an LSTM the file can only be read by load_codec().
    """
    tensors, metadata = {}, {"format": FORMAT, "info": json.dumps(info)}
    for name, network in {"codec": codec, "lstm": lstm}.items():
        if network is not None:
            store = _as_int8 if network is lstm else _as_float16
            for key, t in _weights(network).items():
                tensors |= store(f"{name}.{key}", t)
            metadata[name] = json.dumps(asdict(network.config))
    write_tensors(path, tensors, metadata)


def load_checkpoint(path: Path) -> tuple[Codec, TokenLstm, dict[str, Any]]:
    """Rebuild (codec, lstm, info) in float32 on the CPU, in evaluation mode.

    Raises KpopError when the file is missing, damaged, or not one of ours.
    """
    tensors, metadata = read_tensors(path)
    with _reporting_mismatch(path):
        codec, info = _codec(tensors, metadata)
        lstm = TokenLstm(_config(LstmConfig, metadata["lstm"]))
        _restore(lstm, "lstm.", tensors)
        return codec, lstm.eval(), info


def load_codec(path: Path) -> tuple[Codec, dict[str, Any]]:
    """Rebuild (codec, info) alone; otherwise as load_checkpoint()."""
    tensors, metadata = read_tensors(path)
    with _reporting_mismatch(path):
        return _codec(tensors, metadata)


def _codec(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> tuple[Codec, dict[str, Any]]:
    if metadata["format"] != FORMAT:
        raise ValueError(f"unknown format {metadata['format']}")
    codec = Codec(_config(CodecConfig, metadata["codec"]))
    _restore(codec, "codec.", tensors)
    return codec.eval(), json.loads(metadata["info"])


@contextmanager
def _reporting_mismatch(path: Path) -> Iterator[None]:
    """Report anything in a readable file that does not fit as one error."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise KpopError(f"The weights in {path.name} do not fit this program: train or download them again.") from error


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically: path holds either the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, beside, metadata)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises KpopError when it is missing or damaged."""
    if not path.is_file():
        raise KpopError(
            f"There are no weights called {path.name} in {path.parent.name}: put the checkpoint there or train one."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise KpopError(f"The weights in {path.name} are damaged: train or download them again.") from error


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t for name, t in model.state_dict().items() if not name.endswith(TRAINING_ONLY)}


def _as_float16(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: tensor if name.endswith(FULL_PRECISION) else tensor.half()}


def _as_int8(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Symmetric quantization of matrices with a scale per row (Jacob et al. 2018, "Quantization and training of neural
    networks for efficient integer-arithmetic-only inference"); all else in float16."""
    if tensor.ndim != 2:
        return _as_float16(name, tensor)
    matrix = tensor.detach().float().cpu()
    scale = matrix.abs().amax(1).clamp_min(1e-12) / LARGEST_INT8
    return {name: (matrix / scale[:, None]).round().to(torch.int8), name + SCALE: scale}


def _as_floats(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of a file as float32, int8 matrices dequantized."""
    scales = {name.removesuffix(SCALE): t for name, t in tensors.items() if name.endswith(SCALE)}
    plain = {name: t.float() for name, t in tensors.items() if not name.endswith(SCALE)}
    return {name: t * scales[name][:, None] if name in scales else t for name, t in plain.items()}


def _config(kind: type, text: str) -> Any:
    return kind(**{name: _tuples(value) for name, value in json.loads(text).items()})


def _tuples(value: Any) -> Any:
    """JSON lists as the tuples that frozen configurations hold."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _restore(model: nn.Module, prefix: str, tensors: dict[str, torch.Tensor]) -> None:
    own = {name.removeprefix(prefix): t for name, t in _as_floats(tensors).items() if name.startswith(prefix)}
    missing, unexpected = model.load_state_dict(own, strict=False)
    if unexpected or any(not name.endswith(TRAINING_ONLY) for name in missing):
        raise ValueError("weights and configuration do not belong together")
