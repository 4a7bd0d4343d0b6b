"""Checkpoints: one safetensors file with weights, configuration and statistics. Nothing is ever unpickled."""

import json
import os
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
from kpop.lstm.packing import quantized_rows

FORMAT = "twice4life-2"
TRAINING_ONLY = (".counts", ".sums", ".seeded")  # a codebook's moving averages, which the training state keeps
FULL_PRECISION = ("bin_mean", "bin_std")
SCALE = ".row_scale"  # suffix of an int8 matrix's float32 scales, one per row
NETWORKS = {"codec": (Codec, CodecConfig), "lstm": (TokenLstm, LstmConfig), "score": (TokenLstm, LstmConfig)}


def save_checkpoint(
    path: Path, codec: Codec, lstm: TokenLstm | None, info: dict[str, Any], score: TokenLstm | None = None
) -> None:
    """Write the networks to path, atomically. info: anything JSON can hold.

    Matrices are stored as int8 with a scale per row, as the sampler uses them, other weights and code vectors as
    float16. Without an LSTM the file can only be read by load_codec().
    """
    tensors, metadata = {}, {"format": FORMAT, "info": json.dumps(info)}
    for name, network in {"codec": codec, "lstm": lstm, "score": score}.items():
        if network is None:
            continue
        metadata[name] = json.dumps(asdict(network.config))
        for key, tensor in network.state_dict(prefix=f"{name}.").items():
            if tensor.ndim == 2 and "weight" in key:
                tensors[key], tensors[key + SCALE] = quantized_rows(tensor)
            elif not key.endswith(TRAINING_ONLY):
                tensors[key] = tensor if key.endswith(FULL_PRECISION) else tensor.half()
    write_tensors(path, tensors, metadata)


def load_checkpoint(path: Path) -> tuple[Codec, TokenLstm, dict[str, Any], TokenLstm | None]:
    """Rebuild (codec, lstm, info, score model if there is one) in float32 on the CPU, in evaluation mode.

    Raises KpopError when the file is missing, damaged, or not one of ours.
    """
    networks, info = _load(path, "codec", "lstm", "score")
    return networks["codec"], networks["lstm"], info, networks.get("score")


def load_codec(path: Path) -> tuple[Codec, dict[str, Any]]:
    """Rebuild (codec, info) alone; otherwise as load_checkpoint()."""
    return load_network(path, "codec")


def load_network(path: Path, name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild one of NETWORKS, and info; otherwise as load_checkpoint()."""
    networks, info = _load(path, name)
    return networks[name], info


def _load(path: Path, *names: str) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Those networks of these names that are there, their int8 matrices dequantized, and info."""
    tensors, metadata = read_tensors(path)
    networks = {}
    try:
        if metadata["format"] != FORMAT:
            raise ValueError(f"unknown format {metadata['format']}")
        for name in names:
            if name == "score" and name not in metadata:
                continue
            kind, config_kind = NETWORKS[name]
            config = {key: _as_tuple(value) for key, value in json.loads(metadata[name]).items()}
            network, weights = kind(config_kind(**config)), {}
            for key, tensor in tensors.items():
                if key.startswith(f"{name}.") and not key.endswith(SCALE):
                    scale = tensors.get(key + SCALE)
                    weights[key.removeprefix(f"{name}.")] = tensor.float() if scale is None else tensor * scale[:, None]
            missing, unexpected = network.load_state_dict(weights, strict=False)
            if unexpected or any(not key.endswith(TRAINING_ONLY) for key in missing):
                raise ValueError("weights and configuration do not belong together")
            networks[name] = network.eval()
        return networks, json.loads(metadata["info"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise KpopError(f"The weights in {path.name} do not fit this program: train or download them again.") from error


def _as_tuple(value: Any) -> Any:
    """JSON lists as the tuples that frozen configurations hold."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


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
        raise KpopError(f"There are no weights called {path.name} in {path.parent.name}: put them there or train.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise KpopError(f"The weights in {path.name} are damaged: train or download them again.") from error
