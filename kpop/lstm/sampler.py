"""Batched sampling from the LSTM: every step of a batch reads each weight once for all of its songs.

Weights are int8 with a scale per row, as the checkpoint stores them. Activations are rounded to whole numbers so small
that sums of products stay below 2**24, where float32 is exact: no order of summation changes a bit. All else is
computed song by song. A song's tokens are therefore the same alone, in any batch and for any division into chunks.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import nn
from torch.nn import functional as F

from kpop.lstm.model import LstmConfig, TokenLstm

LABEL_TEMPERATURE = 0.5  # times the chunk's temperature, for label codebooks
MIN_TEMPERATURE = 1e-9  # lower ones, except 0, give the same tokens
SAMPLE, SCORE, PREFILL = 0, 1, 2  # what to do with a song's tokens; PREFILL skips the heads
WEIGHT_MAX, EXACT_MAX = 127, 2**24  # float32 represents all whole numbers up to EXACT_MAX
ROWS_PER_BLOCK, TILE = 32, 4  # of a matrix product, see _linear
LINE = 16  # floats in a cache line; rows are one line longer, lest all begin in the same set of the cache
FLOAT_MIN, TINY, SIGN_MASK = np.finfo(np.float32).min, np.float32(1e-30), np.int32(0x7FFFFFFF)
HALF, ONE, TWO, TANH_LIMIT = np.float32(0.5), np.float32(1), np.float32(2), np.float32(4.6)
GELU_SCALE, GELU_CUBIC = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)


@dataclass(frozen=True)
class Chunk:
    """The next n_steps steps of one slot.

    metre_positions: int (n_steps,), modulo the number of positions that the model knows
    forced_tokens: int (n_steps, n_codebooks) tokens to feed (a codebook's size: mask token), or None to sample them
    uniforms: float64 (n_steps, n_codebooks) in [0, 1) that the samples are drawn with; None for forced tokens
    temperature: 0 takes the most likely token, 1 samples from the model; labels use LABEL_TEMPERATURE of it
    min_p: tokens less likely, at temperature 1, than this share of the most likely one are never sampled
    constraint_ids: int (n_steps,), which of the sampler's constraints applies to codebook 0; 0 or None: none
    """

    slot: int
    metre_positions: np.ndarray
    forced_tokens: np.ndarray | None = None
    uniforms: np.ndarray | None = None
    temperature: float = 1.0
    min_p: float = 0.0
    constraint_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative: {self.temperature}")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min_p must be at least 0 and below 1: {self.min_p}")
        if (self.forced_tokens is None) == (self.uniforms is None):
            raise ValueError("a chunk has either forced tokens or uniforms")


class BatchState:
    """Recurrent state and token history of n_slots songs. A slot must not be stepped by two threads at once."""

    def __init__(self, config: LstmConfig, n_slots: int) -> None:
        self.n_slots = n_slots
        self.n_steps = np.zeros(n_slots, np.int64)
        self.hidden = np.zeros((n_slots, config.n_layers, config.hidden), np.float32)
        self.cell = np.zeros_like(self.hidden)
        # a ring buffer: the tokens of step t are at t % n_history
        self.history = np.zeros((n_slots, max(1, *config.lag_steps), config.n_codebooks), np.int64)
        self._mask_tokens = np.array(config.codebook_sizes)
        self.history[:] = self._mask_tokens

    def reset(self, slot: int) -> None:
        """Empty a slot for a new song."""
        self.n_steps[slot] = self.hidden[slot] = self.cell[slot] = 0
        self.history[slot] = self._mask_tokens


class Sampler:
    """An LSTM's weights, packed for stepping. Threads may share it; they must not share slots."""

    def __init__(self, model: TokenLstm, constraints: np.ndarray | None = None) -> None:
        """constraints: bool (n_constraints, size + 1, size) of codebook 0: may this token follow the one before? The
        last row is for a mask token. Constraint 0 is never looked at. The default is no constraint."""
        self.config = model.config
        self._weights = _pack(model)
        self._sizes = np.array(self.config.codebook_sizes)
        is_label = np.arange(self.config.n_codebooks) < self.config.n_labels
        self._temperature_factors = np.where(is_label, LABEL_TEMPERATURE, 1.0)
        shape = self._sizes[0] + 1, self._sizes[0]
        constraints = np.ones((1, *shape), bool) if constraints is None else constraints
        if constraints.shape[1:] != shape or not constraints.any(2).all():
            raise ValueError(f"constraints must have shape (n, {shape[0]}, {shape[1]}) and allow a token in every row")
        self._constraints = np.ascontiguousarray(constraints, dtype=bool)

    def warm_up(self) -> None:
        """Compile what run and log_probs need, or load it from numba's cache."""
        uniforms = np.zeros((1, self.config.n_codebooks))
        self.run(BatchState(self.config, 1), [Chunk(0, np.zeros(1, np.int64), uniforms=uniforms)])

    def run(self, state: BatchState, chunks: list[Chunk]) -> list[np.ndarray]:
        """Step chunks of equal length, each of another slot. Releases the GIL.

        Returns each chunk's tokens, int64 (n_steps, n_codebooks), sampled or forced.
        """
        modes = [SAMPLE if chunk.forced_tokens is None else PREFILL for chunk in chunks]
        return self._run(state, chunks, modes)[0]

    def log_probs(self, state: BatchState, chunk: Chunk) -> np.ndarray:
        """Step a chunk of forced tokens, none of them a mask token.

        Returns the natural logarithm of each token's probability given all before it, float64 (n_steps, n_codebooks).
        """
        if chunk.forced_tokens is None or (chunk.forced_tokens >= self._sizes).any():
            raise ValueError("only forced tokens other than mask tokens have a probability")
        return self._run(state, [chunk], [SCORE])[1][0]

    def _run(self, state: BatchState, chunks: list[Chunk], modes: list[int]) -> tuple[list, list]:
        if not chunks or not len(chunks[0].metre_positions):
            nothing = [np.empty((0, len(self._sizes)), np.int64) for _ in chunks]
            return nothing, nothing
        slots = [chunk.slot for chunk in chunks]
        if len(set(slots)) < len(slots) or min(slots) < 0 or max(slots) >= state.n_slots:
            raise ValueError(f"each chunk needs a slot of its own below {state.n_slots}: {slots}")
        order = np.argsort(modes, kind="stable")  # songs that need the heads come first
        batch = self._batch([chunks[i] for i in order], [modes[i] for i in order])
        work, n_heads = _workspace(self._weights, len(chunks)), len(chunks) - modes.count(PREFILL)
        _run_steps(self._weights, batch, work, n_heads, state.n_steps, state.hidden, state.cell, state.history)
        back = np.argsort(order)
        return list(batch.tokens[back]), list(batch.log_probs[back])

    def _batch(self, chunks: list[Chunk], modes: list[int]) -> "_Batch":
        positions = np.stack([chunk.metre_positions for chunk in chunks]).astype(np.int64)
        shape = (*positions.shape, len(self._sizes))
        batch = _Batch(
            slots=np.array([chunk.slot for chunk in chunks], np.int64),
            modes=np.array(modes, np.int64),
            metre_positions=positions % len(self._weights.metre_table),
            tokens=np.zeros(shape, np.int64),
            uniforms=np.zeros(shape),
            temperatures=np.array([[chunk.temperature] for chunk in chunks]) * self._temperature_factors,
            log_min_p=np.array([math.log(chunk.min_p) if chunk.min_p else -math.inf for chunk in chunks]),
            constraint_ids=np.zeros(positions.shape, np.int64),
            constraints=self._constraints,
            log_probs=np.zeros(shape),
        )
        for song, chunk in enumerate(chunks):
            batch.tokens[song] = 0 if chunk.forced_tokens is None else chunk.forced_tokens
            batch.uniforms[song] = 0 if chunk.uniforms is None else chunk.uniforms
            batch.constraint_ids[song] = 0 if chunk.constraint_ids is None else chunk.constraint_ids
        if ((batch.tokens < 0) | (batch.tokens > self._sizes)).any():
            raise ValueError("a forced token is outside its codebook")
        if ((batch.constraint_ids < 0) | (batch.constraint_ids >= len(self._constraints))).any():
            raise ValueError(f"constraint ids must be below {len(self._constraints)}")
        return batch


class _Matrix(NamedTuple):
    """A linear layer, or an embedding table (whose biases are 0), quantised row by row."""

    values: np.ndarray  # int8 (n_rows, n_columns)
    scales: np.ndarray  # float32 (n_rows,)
    biases: np.ndarray  # float32 (n_rows,)


class _Weights(NamedTuple):
    """The model as _run_steps takes it. Tables have a row for each codebook's tokens, and one for its mask token."""

    input_tables: _Matrix  # (n_lags * n_table_rows, embed)
    metre_table: np.ndarray  # float32 (n_positions, embed)
    layers: tuple[_Matrix, ...]  # (4 * hidden, n_inputs + hidden)
    hidden_projection: _Matrix  # (n_codebooks * width, hidden)
    lag_embeddings: _Matrix  # (n_lookbacks * n_table_rows, width)
    prefix_tables: _Matrix  # (n_prefix_rows, width): for each codebook's tokens, a row for each later codebook
    output_layers: _Matrix  # (sum of sizes, width)
    lags: np.ndarray  # int64 (n_lags,): 1, then lag_steps
    sizes: np.ndarray  # int64 (n_codebooks,)
    offsets: np.ndarray  # int64 (n_codebooks + 1,), first table row of each codebook; the last is n_table_rows
    prefix_offsets: np.ndarray  # int64 (n_codebooks,), first row of each codebook in prefix_tables


class _Batch(NamedTuple):
    """Chunks of one length, those of mode PREFILL last."""

    slots: np.ndarray  # int64 (n_songs,)
    modes: np.ndarray  # int64 (n_songs,)
    metre_positions: np.ndarray  # int64 (n_songs, n_steps)
    tokens: np.ndarray  # int64 (n_songs, n_steps, n_codebooks), read or written
    uniforms: np.ndarray  # float64 (n_songs, n_steps, n_codebooks)
    temperatures: np.ndarray  # float64 (n_songs, n_codebooks)
    log_min_p: np.ndarray  # float64 (n_songs,)
    constraint_ids: np.ndarray  # int64 (n_songs, n_steps)
    constraints: np.ndarray  # bool (n_constraints, size + 1, size)
    log_probs: np.ndarray  # float64 (n_songs, n_steps, n_codebooks), written in mode SCORE


def _workspace(weights: _Weights, n_songs: int) -> tuple[np.ndarray, ...]:
    """Activations of one step, a row per song: a layer's input, its output, features of all codebooks (float32); and
    the cumulative probabilities of a sample (float64)."""
    (n_features, n_hidden), width = weights.hidden_projection.values.shape, weights.output_layers.values.shape[1]
    widest_input, largest_size = max(width, *(layer.values.shape[1] for layer in weights.layers)), max(weights.sizes)
    columns = widest_input, max(4 * n_hidden, largest_size + TILE), n_features
    # torch aligns to cache lines, without which vector loads take twice as long
    rows = (torch.zeros(n_songs, n + LINE).numpy() for n in columns)
    return *rows, np.zeros(largest_size)


@torch.no_grad()
def _pack(model: TokenLstm) -> _Weights:
    """A linear layer of a sum of embeddings is a sum of rows of another table: such layers are folded into tables."""
    heads, config, inputs = model.heads, model.config, model.token_embedding.weight
    prefixes = _prefix_tables(model)
    return _Weights(
        input_tables=_quantised([inputs, *(inputs @ linear.weight.T for linear in model.lag_projections)]),
        metre_table=model.metre_embedding.weight.float().cpu().clone().numpy(),
        layers=tuple(_linear_matrix([layer]) for layer in model.fused_layers()),
        hidden_projection=_linear_matrix([heads.hidden_projection]),
        lag_embeddings=_quantised([table.weight for table in heads.lag_embeddings]),
        prefix_tables=_quantised(prefixes),
        output_layers=_linear_matrix(list(heads.output_layers)),
        lags=np.array([1, *config.lag_steps]),
        sizes=np.array(config.codebook_sizes),
        offsets=np.array([*config.codebook_offsets, config.n_rows]),
        prefix_offsets=np.cumsum([0, *(len(table) for table in prefixes)]),
    )


def _prefix_tables(model: TokenLstm) -> list[torch.Tensor]:
    """Of each codebook but the last (n_tokens * n_later, width): what tokens add to later codebooks' features."""
    tables = model.heads.prefix_embedding.weight.split([size + 1 for size in model.config.codebook_sizes])
    layers = [layer.weight for layer in model.heads.prefix_projections]
    products = [tables[codebook] @ torch.cat(layers[codebook:]).T for codebook in range(len(layers))]
    return [product.reshape(-1, model.config.head_width) for product in products]


def _linear_matrix(linears: list[nn.Linear]) -> _Matrix:
    """Layers below each other, each filled up with rows of zeros to a multiple of TILE."""
    weights, biases = [linear.weight for linear in linears], [linear.bias for linear in linears]
    fill = [-len(bias) % TILE for bias in biases]
    weights = [F.pad(weight, (0, 0, 0, n)) for weight, n in zip(weights, fill, strict=True)]
    return _quantised(weights, torch.cat([F.pad(bias, (0, n)) for bias, n in zip(biases, fill, strict=True)]))


def _quantised(weights: list[torch.Tensor], biases: torch.Tensor | None = None) -> _Matrix:
    """Rows of all matrices in int8 (symmetric quantisation; Jacob et al. 2018, "Quantization and training of neural
    networks for efficient integer-arithmetic-only inference")."""
    rows = torch.cat(weights).float().cpu()
    scales = rows.abs().amax(1).clamp_min(1e-12) / WEIGHT_MAX
    biases = torch.zeros(len(rows)) if biases is None else biases.float().cpu().clone()
    return _Matrix(*(t.numpy() for t in ((rows / scales[:, None]).round().to(torch.int8), scales, biases)))


# Compiled functions take arrays, not named tuples: counting the references in a tuple takes longer than a short loop.


def _helper(**options):
    return njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


@_helper()
def _peak_bits(bits):
    """The bits of the largest magnitude: without their signs, floats are in the order of their bits, and a maximum of
    whole numbers, unlike one of floats, compiles to vector code."""
    peak = np.int32(0)
    for i in range(len(bits)):
        size = np.int32(bits[i] & SIGN_MASK)
        peak = size if size > peak else peak
    return peak


@_helper()
def _quantise(x):
    """Round x in place to as many levels as keep sums of products exact; returns what 1 stands for."""
    levels = np.float32(EXACT_MAX // (WEIGHT_MAX * len(x)))
    peak = np.int32(_peak_bits(x.view(np.int32))).view(np.float32) + TINY
    per_unit = levels / peak
    for i in range(len(x)):
        x[i] = np.rint(x[i] * per_unit)
    return peak / levels


@_helper(fastmath={"reassoc", "contract", "nsz"})
def _dot_rows(values, row, x, song):
    """Dot products of four rows with one song."""
    a = b = c = d = np.float32(0)
    for i in range(values.shape[1]):
        a += np.float32(values[row, i]) * x[song, i]
        b += np.float32(values[row + 1, i]) * x[song, i]
        c += np.float32(values[row + 2, i]) * x[song, i]
        d += np.float32(values[row + 3, i]) * x[song, i]
    return a, b, c, d


@_helper(fastmath={"reassoc", "contract", "nsz"})
def _dot_tile(values, row, x, song):
    """Dot products of two rows with four songs: each weight is loaded and converted once for all of them."""
    a = b = c = d = e = f = g = h = np.float32(0)
    for i in range(values.shape[1]):
        weight, other = np.float32(values[row, i]), np.float32(values[row + 1, i])
        a += weight * x[song, i]
        b += weight * x[song + 1, i]
        c += weight * x[song + 2, i]
        d += weight * x[song + 3, i]
        e += other * x[song, i]
        f += other * x[song + 1, i]
        g += other * x[song + 2, i]
        h += other * x[song + 3, i]
    return (a, b, c, d), (e, f, g, h)


@_helper()
def _rescale(sums, scales, x_scale, biases):
    for row in range(len(scales)):
        sums[row] = sums[row] * (scales[row] * x_scale) + biases[row]


@_helper()
def _linear(values, scales, biases, x, n_songs, out):
    """out[:n_songs] = the layer's output for x[:n_songs], which is quantised in place.

    Songs are taken in tiles of four and rows in blocks, so that both stay in the first-level cache.
    """
    n_rows, n_columns = values.shape
    n_tiled = n_songs - n_songs % TILE
    x_scales = np.empty(n_songs, np.float32)
    for song in range(n_songs):
        x_scales[song] = _quantise(x[song, :n_columns])
    for block in range(0, n_rows, ROWS_PER_BLOCK):
        end = min(block + ROWS_PER_BLOCK, n_rows)
        for i in range(0, n_tiled, TILE):
            for row in range(block, end, 2):
                (out[i, row], out[i + 1, row], out[i + 2, row], out[i + 3, row]), others = _dot_tile(values, row, x, i)
                out[i, row + 1], out[i + 1, row + 1], out[i + 2, row + 1], out[i + 3, row + 1] = others
        for i in range(n_tiled, n_songs):
            for row in range(block, end, TILE):
                out[i, row], out[i, row + 1], out[i, row + 2], out[i, row + 3] = _dot_rows(values, row, x, i)
    for song in range(n_songs):
        _rescale(out[song], scales, x_scales[song], biases)


@_helper()
def _copy(values, out):  # much faster to compile than an assignment to a slice
    for i in range(len(values)):
        out[i] = values[i]


@_helper()
def _add_embedding(values, scales, row, out):
    for i in range(values.shape[1]):
        out[i] += np.float32(values[row, i]) * scales[row]


@_helper()
def _tanh(x):
    """Within 4e-7, from Lambert's continued fraction of tanh(x / 2) as one fraction p / q; unlike the C library's, it
    compiles to vector code."""
    y = min(max(HALF * x, -TANH_LIMIT), TANH_LIMIT)
    s = y * y
    p = y * (np.float32(135_135) + s * (np.float32(17_325) + s * (np.float32(378) + s)))
    q = np.float32(135_135) + s * (np.float32(62_370) + s * (np.float32(3_150) + s * np.float32(28)))
    return TWO * p * q / (p * p + q * q)


@_helper()
def _sigmoid(x):
    return HALF + HALF * _tanh(HALF * x)


@_helper()
def _lstm_cell(gates, hidden, cell):
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates: input, forget, cell, output."""
    n = len(cell)
    for i in range(n):
        cell[i] = _sigmoid(gates[n + i]) * cell[i] + _sigmoid(gates[i]) * _tanh(gates[2 * n + i])
        hidden[i] = _sigmoid(gates[3 * n + i]) * _tanh(cell[i])


@_helper()
def _gelu(features, out):
    """Hendrycks and Gimpel 2016, tanh form."""
    for i in range(len(features)):
        x = features[i]
        out[i] = HALF * x * (ONE + _tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x)))


@_helper()
def _sample(logits, temperature, log_min_p, uniform, cumulative):
    """A token with probability proportional to p^(1/temperature); temperature 0 takes the most likely one.

    Tokens below e^log_min_p of the most likely one's probability are excluded (min-p sampling; Nguyen et al. 2024,
    "Turning up the heat: min-p sampling for creative and coherent LLM outputs").
    """
    best = 0
    for token in range(len(logits)):
        if logits[token] > logits[best]:
            best = token
    if temperature == 0:
        return best
    floor = max(np.float32(logits[best] + log_min_p), FLOAT_MIN)
    total, inverse = 0.0, 1 / max(temperature, MIN_TEMPERATURE)
    for token in range(len(logits)):
        if logits[token] >= floor:
            total += math.exp(np.float64(logits[token] - logits[best]) * inverse)
        cumulative[token] = total
    for token in range(len(logits)):
        if cumulative[token] > uniform * total:
            return token
    return best


@_helper()
def _log_probability(logits, token):
    total, peak = 0.0, logits[0]
    for other in range(len(logits)):
        peak = logits[other] if logits[other] > peak else peak
    for other in range(len(logits)):
        total += math.exp(np.float64(logits[other] - peak))
    return np.float64(logits[token] - peak) - math.log(total)


@njit(cache=True, nogil=True, error_model="numpy")
def _run_steps(weights, batch, work, n_heads, n_steps, hidden, cell, history):
    """All steps of a batch whose first n_heads songs need the heads."""
    slots, modes, positions, tokens, uniforms, temperatures, log_min_p, constraint_ids, constraints, log_probs = batch
    x, out, features, cumulative = work
    metre_table, layers, lags, sizes = weights.metre_table, weights.layers, weights.lags, weights.sizes
    offsets, prefix_offsets, n_table_rows = weights.offsets, weights.prefix_offsets, weights.offsets[-1]
    in_values, in_scales, _ = weights.input_tables
    back_values, back_scales, _ = weights.lag_embeddings
    prefix_values, prefix_scales, _ = weights.prefix_tables
    hidden_values, hidden_scales, hidden_biases = weights.hidden_projection
    logit_values, logit_scales, logit_biases = weights.output_layers
    (n_songs, n_chunk_steps, n_codebooks), n_hidden, n_history = tokens.shape, hidden.shape[2], history.shape[1]
    embed, width = metre_table.shape[1], logit_values.shape[1]
    for step in range(n_chunk_steps):
        for song in range(n_songs):
            inputs, slot, position = x[song, :embed], slots[song], positions[song, step]
            _copy(metre_table[position], inputs)
            for i in range(len(lags)):
                then = (n_steps[slot] - lags[i]) % n_history
                for codebook in range(n_codebooks):
                    row = i * n_table_rows + offsets[codebook] + history[slot, then, codebook]
                    _add_embedding(in_values, in_scales, row, inputs)
        for layer in range(len(layers)):
            values, scales, biases = layers[layer]
            for song in range(n_songs):
                _copy(hidden[slots[song], layer], x[song, values.shape[1] - n_hidden :])
            _linear(values, scales, biases, x, n_songs, out)
            for song in range(n_songs):
                slot = slots[song]
                _lstm_cell(out[song], hidden[slot, layer], cell[slot, layer])
                _copy(hidden[slot, layer], x[song])
        if n_heads:
            _linear(hidden_values, hidden_scales, hidden_biases, x, n_heads, features)
        for song in range(n_heads):
            slot = slots[song]
            for i in range(1, len(lags)):
                then = (n_steps[slot] - lags[i]) % n_history
                for codebook in range(n_codebooks):
                    row = (i - 1) * n_table_rows + offsets[codebook] + history[slot, then, codebook]
                    _add_embedding(back_values, back_scales, row, features[song, codebook * width :])
        first, last = 0, 0
        for codebook in range(n_codebooks if n_heads else 0):
            first, last = last, last + sizes[codebook] + -sizes[codebook] % TILE
            for song in range(n_heads):
                _gelu(features[song, codebook * width : (codebook + 1) * width], x[song])
            _linear(logit_values[first:last], logit_scales[first:last], logit_biases[first:last], x, n_heads, out)
            for song in range(n_heads):
                logits = out[song, : sizes[codebook]]
                if modes[song] == SCORE:
                    log_probs[song, step, codebook] = _log_probability(logits, tokens[song, step, codebook])
                else:
                    if codebook == 0 and constraint_ids[song, step]:
                        before = history[slots[song], (n_steps[slots[song]] - 1) % n_history, 0]
                        for token in range(len(logits)):
                            if not constraints[constraint_ids[song, step], before, token]:
                                logits[token] = -np.inf
                    tokens[song, step, codebook] = _sample(
                        logits,
                        temperatures[song, codebook],
                        log_min_p[song],
                        uniforms[song, step, codebook],
                        cumulative,
                    )
                n_later = n_codebooks - 1 - codebook
                row = prefix_offsets[codebook] + tokens[song, step, codebook] * n_later
                for later in range(n_later):
                    start = (codebook + 1 + later) * width
                    _add_embedding(prefix_values, prefix_scales, row + later, features[song, start:])
        for song in range(n_songs):
            slot = slots[song]
            for codebook in range(n_codebooks):
                history[slot, n_steps[slot] % n_history, codebook] = tokens[song, step, codebook]
            n_steps[slot] += 1
