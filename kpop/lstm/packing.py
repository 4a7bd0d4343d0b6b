"""An LSTM's weights as the sampler reads them: in int8, and folded into as few tables as possible."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from kpop.lstm.model import TokenLstm

LARGEST_INT8 = 127
RECALLED = 0  # in Weights.lags: the step that is recalled
TILE = 4  # rows that a matrix product takes together


class Matrix(NamedTuple):
    """A linear layer, or an embedding table (whose biases are 0), quantized row by row."""

    values: np.ndarray  # int8 (n_rows, n_columns)
    scales: np.ndarray  # float32 (n_rows,)
    biases: np.ndarray  # float32 (n_rows,)


class Weights(NamedTuple):
    """The model as _run_steps takes it. Tables have a row for each codebook's tokens, and one for its mask token."""

    input_tables: Matrix  # ((1 + n_lags) * n_table_rows, embed)
    metre_table: np.ndarray  # float32 (n_positions, embed)
    layers: tuple[Matrix, ...]  # (4 * hidden, n_inputs + hidden)
    hidden_projection: Matrix  # (n_codebooks * width, hidden)
    lag_embeddings: Matrix  # (n_lags * n_table_rows, width)
    prefix_tables: Matrix  # (n_prefix_rows, width): for each codebook's tokens, a row for each later codebook
    output_layers: Matrix  # (sum of sizes, width)
    lags: np.ndarray  # int64: 1, then lag_steps, then RECALLED if the recalled step is an input
    sizes: np.ndarray  # int64 (n_codebooks,)
    offsets: np.ndarray  # int64 (n_codebooks + 1,), first table row of each codebook; the last is n_table_rows
    prefix_offsets: np.ndarray  # int64 (n_codebooks,), first row of each codebook in prefix_tables


@torch.no_grad()
def packed(model: TokenLstm) -> Weights:
    """A linear layer of a sum of embeddings is a sum of rows of another table: such layers are folded into tables."""
    heads, config, inputs = model.heads, model.config, model.token_embedding.weight
    prefix_tables = heads.prefix_embedding.weight.split([size + 1 for size in config.codebook_sizes])
    later = [layer.weight for layer in heads.prefix_projections]
    # of each codebook but the last (n_tokens, n_later * width): what tokens add to later codebooks' features
    prefixes = [prefix_tables[codebook] @ torch.cat(later[codebook:]).T for codebook in range(len(later))]
    prefixes = [product.reshape(-1, config.head_width) for product in prefixes]
    return Weights(
        input_tables=_matrix([inputs, *(inputs @ linear.weight.T for linear in model.lag_projections)]),
        metre_table=model.metre_embedding.weight.float().cpu().clone().numpy(),
        layers=tuple(_matrix([torch.cat(layer[:2], 1)], [layer[2] + layer[3]]) for layer in model.lstm.all_weights),
        hidden_projection=_matrix([heads.hidden_projection.weight], [heads.hidden_projection.bias]),
        lag_embeddings=_matrix([table.weight for table in heads.lag_embeddings]),
        prefix_tables=_matrix(prefixes),
        output_layers=_matrix(*zip(*((layer.weight, layer.bias) for layer in heads.output_layers), strict=True)),
        lags=np.array([1, *config.lag_steps, *[RECALLED] * config.recalls]),
        sizes=np.array(config.codebook_sizes),
        offsets=np.array(config.codebook_offsets),
        prefix_offsets=np.cumsum([0, *(len(table) for table in prefixes)]),
    )


def _matrix(weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor] = ()) -> Matrix:
    """Tables, or layers with biases, below each other; each layer is padded to a multiple of TILE rows."""
    if biases:
        weights = [F.pad(weight, (0, 0, 0, -len(weight) % TILE)) for weight in weights]
        biases = [F.pad(bias, (0, -len(bias) % TILE)) for bias in biases]
    values, scales = quantized_rows(torch.cat([*weights]))
    biases = torch.cat([*biases]).float().cpu() if biases else torch.zeros(len(values))
    return Matrix(values.numpy(), scales.numpy(), biases.numpy())


def quantized_rows(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n_rows, n_columns) -> the same in int8, and a float32 scale per row (symmetric; Jacob et al. 2018, "Quantization
    and training of neural networks for efficient integer-arithmetic-only inference")."""
    matrix = matrix.detach().float().cpu()
    scales = matrix.abs().amax(1).clamp_min(1e-12) / LARGEST_INT8
    return (matrix / scales[:, None]).round().to(torch.int8), scales
