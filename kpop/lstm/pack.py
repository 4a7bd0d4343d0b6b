"""The network as the kernel takes it: matrices in the order of a step and tables, all in eight bits."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.products import BLOCK_ROWS, COLUMNS_MULTIPLE, SPARE_SONGS, PackedMatrices, in_eight_bits
from kpop.lstm.vectors import LANES

LINE_BYTES = 64  # between the rows of activations, so that those of many songs don't fall on the same cache lines


class Net(NamedTuple):
    """What does not change: see PackedMatrices.arrays; tables of n_rows rows as in TokenLstm."""

    weights: np.ndarray  # uint8
    scales: np.ndarray  # float32
    biases: np.ndarray  # float32
    matrices: np.ndarray  # int64 (n_matrices, 4): look-backs, layers, from hidden, from prefix and to logits by turns
    token_embedding: np.ndarray  # int8 (n_rows, embed)
    input_scales: np.ndarray  # float32 (n_rows,)
    metre_embedding: np.ndarray  # float32 (n_slots, embed)
    prefix_embedding: np.ndarray  # int8 (n_rows, width)
    prefix_scales: np.ndarray  # float32 (n_rows,)
    lag_embeddings: np.ndarray  # int8 (n_lookbacks * n_rows, width)
    lookback_scales: np.ndarray  # float32 (n_lookbacks * n_rows,)
    lag_steps: np.ndarray  # int64
    offsets: np.ndarray  # int64 (n_codebooks,) first row of each stream
    sizes: np.ndarray  # int64 (n_codebooks,)


class Memory(NamedTuple):
    """What each place has heard."""

    clock: np.ndarray  # int64 (n_places,) steps heard
    hidden: np.ndarray  # float32 (n_places, n_layers, hidden)
    cell: np.ndarray  # float32 (n_places, n_layers, hidden)
    last: np.ndarray  # float32 (n_places, embed) sum of the input table's rows of the last step
    past: np.ndarray  # int64 (n_places, n_past, n_codebooks) values, a ring: step t is at t % n_past
    sums: np.ndarray  # int8 (n_places, n_past, embed) such sums, for looking back
    sums_scale: np.ndarray  # float32 (n_places, n_past)
    sums_sum: np.ndarray  # int32 (n_places, n_past)


class Desk(NamedTuple):
    """Where a step is worked out, a row for each song in the run."""

    inputs: np.ndarray  # float32: what a product is taken of
    rounded: np.ndarray  # int8: the same, rounded
    scale: np.ndarray  # float32 (n_songs,)
    total: np.ndarray  # int32 (n_songs,)
    outputs: np.ndarray  # float32: gates, logits and the like
    features: np.ndarray  # float32 (n_songs, n_codebooks * width)
    prefix: np.ndarray  # float32 (n_songs, width)
    chances: np.ndarray  # float64 (largest size,)
    candidates: np.ndarray  # int64 (largest size,)


@dataclass(frozen=True)
class PackedLstm:
    """A network that is ready to be stepped, in a quarter of the memory; any number of Places may share it."""

    config: LstmConfig
    net: Net

    @classmethod
    def of(cls, model: TokenLstm) -> "PackedLstm":
        """Rounds the model's matrices and tables to eight bits."""
        return cls(model.config, pack(model))


def pack(model: TokenLstm) -> Net:
    """Rounds the model's matrices to eight bits."""
    heads, config = model.heads, model.config
    matrices = PackedMatrices()
    for linear in (*model.lag_projections, *model.fused_layers(), heads.hidden_projection):
        _add(matrices, linear)
    for stream, logits in enumerate(heads.output_layers):
        if stream:
            _add(matrices, heads.prefix_projections[stream - 1])
        _add(matrices, logits, beyond=-np.inf)  # logits of values that there are not
    lookbacks = [in_eight_bits(_array(table.weight)) for table in heads.lag_embeddings]
    return Net(
        *(aligned(array) for array in matrices.arrays()),
        *map(aligned, in_eight_bits(_array(model.token_embedding.weight))),
        _array(model.metre_embedding.weight),
        *map(aligned, in_eight_bits(_array(heads.prefix_embedding.weight))),
        *(aligned(np.concatenate(parts)) for parts in zip(*lookbacks, strict=True)),
        lag_steps=np.array(config.lag_steps),
        offsets=np.array(config.codebook_offsets),
        sizes=np.array(config.codebook_sizes),
    )


def _add(matrices: PackedMatrices, linear: torch.nn.Linear, beyond: float = 0.0) -> None:
    matrices.add(_array(linear.weight), None if linear.bias is None else _array(linear.bias), beyond)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return aligned(tensor.detach().float().cpu().numpy())


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins where a line of the processor's cache does, so that no vector lies across two."""
    copy = zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def zeros(shape: int | tuple[int, ...], dtype: type | np.dtype = np.float64) -> np.ndarray:
    """As np.zeros, beginning at a line of the cache."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(n_bytes + LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % LINE_BYTES
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


def empty_memory(config: LstmConfig, n_places: int) -> Memory:
    """Places that must be cleared before use."""
    n_past, n_layers = max(config.lag_steps), config.n_layers
    embed = _filled(config.embed, COLUMNS_MULTIPLE)
    return Memory(
        clock=zeros(n_places, np.int64),
        hidden=zeros((n_places, n_layers, config.hidden), np.float32),
        cell=zeros((n_places, n_layers, config.hidden), np.float32),
        last=zeros((n_places, embed), np.float32),
        past=zeros((n_places, n_past, config.n_codebooks), np.int64),
        sums=zeros((n_places, n_past, embed), np.int8),
        sums_scale=zeros((n_places, n_past), np.float32),
        sums_sum=zeros((n_places, n_past), np.int32),
    )


def empty_desk(config: LstmConfig, n_places: int) -> Desk:
    """Room for a run of all places; columns beyond a product's own are noughts or are never looked at."""
    n_songs = n_places + SPARE_SONGS
    n_columns = _filled(max(max(config.embed, config.hidden) + config.hidden, config.head_width), COLUMNS_MULTIPLE)
    widest = max(4 * config.hidden, config.n_codebooks * config.head_width, config.embed, *config.codebook_sizes)
    return Desk(
        inputs=zeros((n_songs, n_columns + LINE_BYTES), np.float32),
        rounded=zeros((n_songs, n_columns + LINE_BYTES), np.int8),
        scale=zeros(n_songs, np.float32),
        total=zeros(n_songs, np.int32),
        outputs=zeros((n_songs, _filled(widest, BLOCK_ROWS) + LINE_BYTES), np.float32),
        features=zeros((n_songs, _filled(config.n_codebooks * config.head_width, BLOCK_ROWS) + LINE_BYTES), np.float32),
        prefix=zeros((n_songs, _filled(config.head_width, COLUMNS_MULTIPLE)), np.float32),
        chances=zeros(_filled(max(config.codebook_sizes), LANES)),
        candidates=zeros(_filled(max(config.codebook_sizes), LANES), np.int64),
    )


def _filled(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
