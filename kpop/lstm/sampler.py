"""Batched sampling from the LSTM: every step of a batch reads each weight once for all of its songs.

Weights are int8 with a scale per row, as the checkpoint stores them. Activations are rounded to whole numbers so small
that sums of products stay below 2**24, where float32 is exact: no order of summation changes a bit. All else is
computed song by song. A song's tokens are therefore the same alone, in any batch and for any division into chunks.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from kpop.lstm.model import LstmConfig, TokenLstm
from kpop.lstm.packing import LARGEST_INT8, RECALLED, TILE, packed

SAMPLED = -1  # in forced_tokens: a token to be sampled
HISTORY_STEPS = 16_384  # kept of a song, over 5 minutes; constant lags are shorter
LABEL_TEMPERATURE = 0.5  # times the chunk's temperature, for label codebooks
MIN_TEMPERATURE = 1e-9  # lower ones, except 0, give the same tokens
EXACT_MAX = 2**24  # float32 represents all whole numbers up to this one
ROWS_PER_BLOCK = 32  # of a matrix product, see _linear
LINE = 16  # floats in a cache line; rows are one line longer, lest all begin in the same set of the cache
FLOAT_MIN, TINY, SIGN_MASK = np.finfo(np.float32).min, np.float32(1e-30), np.int32(0x7FFFFFFF)
HALF, ONE, TWO, TANH_LIMIT = np.float32(0.5), np.float32(1), np.float32(2), np.float32(4.6)
GELU_SCALE, GELU_CUBIC = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)


@dataclass(frozen=True)
class Chunk:
    """The next n_steps steps of one slot.

    forced_tokens: int (n_steps, n_codebooks), a codebook's size is its mask token; SAMPLED ones, by default all, are
        sampled with the uniforms
    recalled: int (n_steps,), as recalled_steps() counts from the slot's first step; -1: none
    min_p: tokens less likely, at temperature 1, than this share of the most likely one are never sampled
    """

    slot: int
    metre_positions: np.ndarray  # int (n_steps,), modulo the number of positions that the model knows
    forced_tokens: np.ndarray | None = None
    uniforms: np.ndarray | None = None  # float64 (n_steps, n_codebooks) in [0, 1)
    temperature: float = 1.0  # 0: the most likely token, 1: as the model; labels use LABEL_TEMPERATURE of it
    min_p: float = 0.0
    constraint_ids: np.ndarray | None = None  # int (n_steps,), of the sampler's for codebook 0; 0 or None: none
    recalled: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and 0 <= self.min_p < 1):
            raise ValueError(f"temperature {self.temperature} or min_p {self.min_p} is out of range")
        if self.uniforms is None and not self.is_forced:
            raise ValueError("a chunk has forced tokens, uniforms or both")

    @property
    def is_forced(self) -> bool:
        """Whether no token is to be sampled."""
        return self.forced_tokens is not None and bool((self.forced_tokens != SAMPLED).all())


class BatchState:
    """Recurrent state and token history of n_slots songs. A slot must not be stepped by two threads at once."""

    def __init__(self, config: LstmConfig, n_slots: int) -> None:
        self.n_steps = np.zeros(n_slots, np.int64)
        self.hidden = np.zeros((n_slots, config.n_layers, config.hidden), np.float32)
        self.cell = np.zeros_like(self.hidden)
        # a ring buffer: the tokens of step t are in row t % HISTORY_STEPS; the last row holds mask tokens
        self.history = np.zeros((n_slots, HISTORY_STEPS + 1, config.n_codebooks), np.int16)
        self.history[:, -1] = config.codebook_sizes

    def reset(self, slot: int) -> None:
        """Empty a slot for a new song."""
        self.n_steps[slot] = self.hidden[slot] = self.cell[slot] = 0


class Sampler:
    """An LSTM's weights, packed for stepping. Threads may share it; they must not share slots."""

    def __init__(self, model: TokenLstm, constraints: np.ndarray | None = None) -> None:
        """constraints: bool (n_constraints, size + 1, size) of codebook 0: may this token follow the one before? The
        last row is for a mask token. Constraint 0 is never looked at. The default is no constraint."""
        self.config = model.config
        self._weights = packed(model)
        is_label = np.arange(self.config.n_codebooks) < self.config.n_labels
        self._temperature_factors = np.where(is_label, LABEL_TEMPERATURE, 1.0)
        shape = self._weights.sizes[0] + 1, self._weights.sizes[0]
        constraints = np.ones((1, *shape), bool) if constraints is None else constraints
        if constraints.shape[1:] != shape or not constraints.any(2).all():
            raise ValueError(f"constraints must have shape (n, {shape[0]}, {shape[1]}) and allow a token in every row")
        self._constraints = np.ascontiguousarray(constraints, dtype=bool)

    def run(self, state: BatchState, chunks: list[Chunk]) -> list[np.ndarray]:
        """Step chunks of equal length, each of another slot. Releases the GIL.

        Returns each chunk's tokens, int64 (n_steps, n_codebooks), sampled or forced.
        """
        return self._run(state, chunks)

    def log_probs(self, state: BatchState, chunk: Chunk) -> np.ndarray:
        """Step a chunk of forced tokens, none of them a mask token.

        Returns the natural logarithm of each token's probability given all before it, float64 (n_steps, n_codebooks).
        """
        if not chunk.is_forced or (chunk.forced_tokens >= self._weights.sizes).any():
            raise ValueError("only forced tokens other than mask tokens have a probability")
        return self._run(state, [chunk], is_scored=True)[0]

    def _run(self, state: BatchState, chunks: list[Chunk], is_scored: bool = False) -> list[np.ndarray]:
        slots, n_slots = [chunk.slot for chunk in chunks], len(state.n_steps)
        if len(set(slots)) < len(slots) or min(slots) < 0 or max(slots) >= n_slots:
            raise ValueError(f"each chunk needs a slot of its own below {n_slots}: {slots}")
        is_forced = [chunk.is_forced for chunk in chunks]
        order = np.argsort(is_forced, kind="stable")  # songs that need the heads come first
        n_heads = len(chunks) if is_scored else len(chunks) - sum(is_forced)
        batch, weights = self._batch([chunks[i] for i in order]), self._weights
        n_columns = max(len(layer.values) for layer in (*weights.layers, weights.hidden_projection))
        n_columns = max(n_columns, *(layer.values.shape[1] for layer in weights.layers), max(weights.sizes) + TILE)
        # torch aligns to cache lines, without which vector loads take twice as long
        work = torch.zeros(3, len(chunks), n_columns + LINE).numpy()
        arrays = state.n_steps, state.hidden, state.cell, state.history
        _run_steps(weights, batch, arrays, (*work, np.zeros(max(weights.sizes))), n_heads, is_scored)
        return list((batch.log_probs if is_scored else batch.tokens)[np.argsort(order)])

    def _batch(self, chunks: list[Chunk]) -> "_Batch":
        positions = np.array([chunk.metre_positions for chunk in chunks], np.int64)
        shape = (*positions.shape, len(self._weights.sizes))

        def filled(name: str, shape: tuple[int, ...], dtype: type, default: int = 0) -> np.ndarray:
            values = (getattr(chunk, name) for chunk in chunks)
            filled = [np.broadcast_to(default if value is None else value, shape[1:]) for value in values]
            return np.array(filled, dtype)

        batch = _Batch(
            slots=np.array([chunk.slot for chunk in chunks]),
            metre_positions=positions % len(self._weights.metre_table),
            tokens=filled("forced_tokens", shape, np.int64, SAMPLED),
            uniforms=filled("uniforms", shape, np.float64),
            temperatures=np.array([[chunk.temperature] for chunk in chunks]) * self._temperature_factors,
            log_min_p=np.array([math.log(chunk.min_p) if chunk.min_p else -math.inf for chunk in chunks]),
            constraint_ids=filled("constraint_ids", positions.shape, np.int64),
            constraints=self._constraints,
            recalled=filled("recalled", positions.shape, np.int64, -1),
            log_probs=np.zeros(shape),
        )
        if ((batch.tokens < SAMPLED) | (batch.tokens > self._weights.sizes)).any():
            raise ValueError("a forced token is outside its codebook")
        if ((batch.constraint_ids < 0) | (batch.constraint_ids >= len(self._constraints))).any():
            raise ValueError(f"constraint ids must be below {len(self._constraints)}")
        return batch


class _Batch(NamedTuple):
    """Chunks of one length, those of forced tokens alone last."""

    slots: np.ndarray  # int64 (n_songs,)
    metre_positions: np.ndarray  # int64 (n_songs, n_steps)
    tokens: np.ndarray  # int64 (n_songs, n_steps, n_codebooks), read or written
    uniforms: np.ndarray  # float64 (n_songs, n_steps, n_codebooks)
    temperatures: np.ndarray  # float64 (n_songs, n_codebooks)
    log_min_p: np.ndarray  # float64 (n_songs,)
    constraint_ids: np.ndarray  # int64 (n_songs, n_steps)
    constraints: np.ndarray  # bool (n_constraints, size + 1, size)
    recalled: np.ndarray  # int64 (n_songs, n_steps)
    log_probs: np.ndarray  # float64 (n_songs, n_steps, n_codebooks), written if the batch is scored


# Counting the references in a named tuple takes longer than a short loop: functions take arrays, or are inlined.


_helper = partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_helper()
def _quantize(x):
    """Round x in place to as many levels as keep sums of products exact; returns what 1 stands for.

    Without their signs, floats are in the order of their bits, and a maximum of whole numbers, unlike one of floats,
    compiles to vector code.
    """
    bits, peak_bits = x.view(np.int32), np.int32(0)
    for i in range(len(bits)):
        size = np.int32(bits[i] & SIGN_MASK)
        peak_bits = size if size > peak_bits else peak_bits
    peak, levels = np.int32(peak_bits).view(np.float32) + TINY, np.float32(EXACT_MAX // (LARGEST_INT8 * len(x)))
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
def _linear(values, scales, biases, x, n_songs, out):
    """out[:n_songs] = the layer's output for x[:n_songs], which is quantized in place.

    Songs are taken in tiles of four and rows in blocks, so that both stay in the first-level cache.
    """
    n_rows, n_columns = values.shape
    n_tiled = n_songs - n_songs % TILE
    x_scales = np.empty(n_songs, np.float32)
    for song in range(n_songs):
        x_scales[song] = _quantize(x[song, :n_columns])
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
        for row in range(n_rows):
            out[song, row] = out[song, row] * (scales[row] * x_scales[song]) + biases[row]


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
def _add_lagged(values, scales, lags, recalled, offsets, history, n_steps, out, stride):
    """Add the embeddings of the tokens of each lag ago, each codebook's `stride` further on than the one's before."""
    n_history = len(history) - 1
    for i, lag in enumerate(lags):
        step = recalled if lag == RECALLED else n_steps - lag
        is_known = 0 <= step < n_steps and n_steps - step <= n_history
        tokens = history[step % n_history if is_known else n_history]
        for codebook in range(len(tokens)):
            row = i * offsets[-1] + offsets[codebook] + tokens[codebook]
            _add_embedding(values, scales, row, out[codebook * stride :])


@_helper(inline="always")
def _predict(batch, state, song, step, codebook, logits, cumulative, is_scored):
    """Score a song's token of this codebook, or sample it unless it is forced."""
    (n_steps, _, _, history), slot = state, batch.slots[song]
    if is_scored:
        peak, total = logits[0], 0.0
        for token in range(len(logits)):
            peak = logits[token] if logits[token] > peak else peak
        for token in range(len(logits)):
            total += math.exp(np.float64(logits[token] - peak))
        own = logits[batch.tokens[song, step, codebook]]
        batch.log_probs[song, step, codebook] = np.float64(own - peak) - math.log(total)
        return
    if batch.tokens[song, step, codebook] >= 0:
        return
    constraint = batch.constraint_ids[song, step]
    if codebook == 0 and constraint:
        previous = history[slot, (n_steps[slot] - 1) % (history.shape[1] - 1) if n_steps[slot] else -1, 0]
        for token in range(len(logits)):
            if not batch.constraints[constraint, previous, token]:
                logits[token] = -np.inf
    temperature, uniform = batch.temperatures[song, codebook], batch.uniforms[song, step, codebook]
    token = _sample(logits, temperature, batch.log_min_p[song], uniform, cumulative)
    batch.tokens[song, step, codebook] = token


@_helper(inline="always")
def _run_heads(weights, batch, state, work, step, n_heads, is_scored):
    """Token or log-probability of each codebook in turn, for the first n_heads songs."""
    (n_steps, _, _, history), (x, out, features, cumulative) = state, work
    values, scales, biases = weights.hidden_projection
    _linear(values, scales, biases, x, n_heads, features)
    values, scales, biases = weights.output_layers
    width, n_codebooks = values.shape[1], len(weights.sizes)
    tables, table_scales, _ = weights.lag_embeddings
    prefixes, prefix_scales, _ = weights.prefix_tables
    for song, slot in enumerate(batch.slots[:n_heads]):
        lags, offsets = weights.lags[1:], weights.offsets
        recalled, n, out_row = batch.recalled[song, step], n_steps[slot], features[song]
        _add_lagged(tables, table_scales, lags, recalled, offsets, history[slot], n, out_row, width)
    first, last = 0, 0
    for codebook, size in enumerate(weights.sizes):
        first, last = last, last + size + -size % TILE
        for song in range(n_heads):
            _gelu(features[song, codebook * width : (codebook + 1) * width], x[song])
        _linear(values[first:last], scales[first:last], biases[first:last], x, n_heads, out)
        for song in range(n_heads):
            _predict(batch, state, song, step, codebook, out[song, :size], cumulative, is_scored)
            row = weights.prefix_offsets[codebook] + batch.tokens[song, step, codebook] * (n_codebooks - 1 - codebook)
            for later in range(codebook + 1, n_codebooks):
                _add_embedding(prefixes, prefix_scales, row + later - codebook - 1, features[song, later * width :])


@njit(cache=True, nogil=True, error_model="numpy")
def _run_steps(weights, batch, state, work, n_heads, is_scored):
    """All steps of a batch. Only its first n_heads songs need the heads: to be sampled, or all of them to be scored."""
    (n_steps, hidden, cell, history), (x, out, _, _) = state, work
    tables, table_scales, _ = weights.input_tables
    for step in range(batch.tokens.shape[1]):
        for song, slot in enumerate(batch.slots):
            _copy(weights.metre_table[batch.metre_positions[song, step]], x[song])
            lags, recalled, n = weights.lags, batch.recalled[song, step], n_steps[slot]
            _add_lagged(tables, table_scales, lags, recalled, weights.offsets, history[slot], n, x[song], 0)
        for layer, (values, scales, biases) in enumerate(weights.layers):
            for song, slot in enumerate(batch.slots):
                _copy(hidden[slot, layer], x[song, values.shape[1] - hidden.shape[2] :])
            _linear(values, scales, biases, x, len(batch.slots), out)
            for song, slot in enumerate(batch.slots):
                _lstm_cell(out[song], hidden[slot, layer], cell[slot, layer])
                _copy(hidden[slot, layer], x[song])
        if n_heads:
            _run_heads(weights, batch, state, work, step, n_heads, is_scored)
        for song, slot in enumerate(batch.slots):
            _copy(batch.tokens[song, step], history[slot, n_steps[slot] % (history.shape[1] - 1)])
            n_steps[slot] += 1
