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

from kpop.lstm.model import LstmConfig, TokenLstm

LABEL_TEMPERATURE = 0.5  # times the chunk's temperature, for label streams
MIN_TEMPERATURE = 1e-9  # lower ones, except 0, give the same tokens
SAMPLE, SCORE, PREFILL = 0, 1, 2  # what to do with a chunk's tokens; PREFILL skips the heads
WEIGHT_MAX = 127  # of int8
EXACT_MAX = 2**24  # float32 represents all whole numbers up to here
FLOAT_MIN = np.finfo(np.float32).min
ROWS_PER_BLOCK, SONGS_PER_TILE = 32, 4  # of a matrix product; see _linear
LINE = 16  # floats in a cache line; rows are one line longer, lest all begin in the same set of the cache
GELU_SCALE, GELU_CUBIC = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
NO_SIGN, TINY = np.int32(0x7FFFFFFF), np.float32(1e-30)
HALF, ONE, TWO, TANH_LIMIT = np.float32(0.5), np.float32(1), np.float32(2), np.float32(4.6)


@dataclass(frozen=True)
class Chunk:
    """The next n_steps steps of one slot.

    metre_positions: int (n_steps,), modulo the number of positions that the model knows
    forced_tokens: int (n_steps, n_codebooks) tokens to feed (a stream's size: mask token), or None to sample them
    uniforms: float64 (n_steps, n_codebooks) in [0, 1) that the samples are drawn with; None for forced tokens
    temperature: 0 takes the most likely token, 1 samples from the model; labels use LABEL_TEMPERATURE of it
    min_p: tokens less likely, at temperature 1, than this share of the most likely one are never sampled
    constraint_ids: int (n_steps,), which of the sampler's constraints applies to stream 0; 0 or None: none
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
        """constraints: bool (n_constraints, size + 1, size) of stream 0: may this token follow the one before? The
        last row is for a mask token. Constraint 0 is never looked at. The default is no constraint."""
        self.config = model.config
        self._weights = _pack(model)
        self._sizes = np.array(self.config.codebook_sizes)
        is_label = np.arange(self.config.n_codebooks) < self.config.n_labels
        self._stream_temperatures = np.where(is_label, LABEL_TEMPERATURE, 1.0)
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
            empty = [np.empty((0, len(self._sizes)), dtype) for dtype in (np.int64, np.float64)]
            return [empty[0]] * len(chunks), [empty[1]] * len(chunks)
        slots = [chunk.slot for chunk in chunks]
        if len(set(slots)) < len(slots) or min(slots) < 0 or max(slots) >= state.n_slots:
            raise ValueError(f"each chunk needs a slot of its own below {state.n_slots}: {slots}")
        order = sorted(range(len(chunks)), key=modes.__getitem__)  # songs that need the heads come first
        batch = self._batch([chunks[i] for i in order], [modes[i] for i in order])
        work = _workspace(self._weights, len(chunks))
        _run_steps(self._weights, batch, work, state.n_steps, state.hidden, state.cell, state.history)
        back = np.argsort(order)
        return list(batch.tokens[back]), list(batch.log_probs[back])

    def _batch(self, chunks: list[Chunk], modes: list[int]) -> "_Batch":
        shape = len(chunks), len(chunks[0].metre_positions), len(self._sizes)
        batch = _Batch(
            slots=np.array([chunk.slot for chunk in chunks], np.int64),
            modes=np.array(modes, np.int64),
            metre_positions=np.stack([chunk.metre_positions for chunk in chunks]).astype(np.int64)
            % len(self._weights.metre_table),
            tokens=np.zeros(shape, np.int64),
            uniforms=np.zeros(shape),
            temperatures=np.array([[chunk.temperature] for chunk in chunks], np.float64) * self._stream_temperatures,
            log_min_p=np.array([math.log(chunk.min_p) if chunk.min_p else -np.inf for chunk in chunks]),
            constraint_ids=np.zeros(shape[:2], np.int64),
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
    """The model as _run_steps takes it. Tables have a row for each stream's tokens, and one for its mask token."""

    input_tables: _Matrix  # (n_lags * n_table_rows, embed)
    metre_table: np.ndarray  # float32 (n_positions, embed)
    gates: tuple[_Matrix, ...]  # of each layer, (4 * hidden, n_inputs + hidden)
    hidden_projection: _Matrix  # (n_codebooks * width, hidden)
    lag_embeddings: _Matrix  # (n_lookbacks * n_table_rows, width)
    prefix_tables: _Matrix  # (n_prefix_rows, width): of a stream's token, one for each later stream
    output_layers: _Matrix  # (sum of sizes, width)
    lags: np.ndarray  # int64 (n_lags,): 1, then lag_steps
    sizes: np.ndarray  # int64 (n_codebooks,)
    offsets: np.ndarray  # int64 (n_codebooks + 1,), first table row of each stream, and how many there are
    prefix_offsets: np.ndarray  # int64 (n_codebooks,), the same in prefix_tables


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


class _Workspace(NamedTuple):
    """Activations of one step, float32, a row per song."""

    x: np.ndarray  # a linear layer's input
    out: np.ndarray  # its output
    features: np.ndarray  # (n_songs, n_codebooks * width)
    cumulative: np.ndarray  # (largest size,)


def _workspace(weights: _Weights, n_songs: int) -> _Workspace:
    n_features, n_hidden = weights.hidden_projection.values.shape
    widest_input = max(gates.values.shape[1] for gates in weights.gates)
    widest_input = max(widest_input, weights.output_layers.values.shape[1])
    widest_output, largest_size = max(4 * n_hidden, weights.sizes.max()), int(weights.sizes.max())
    return _Workspace(
        *(_zeros(n_songs, n + LINE) for n in (widest_input, widest_output, n_features)), _zeros(largest_size)
    )


def _zeros(*shape: int) -> np.ndarray:
    """float32; torch aligns it to cache lines, without which vector loads take twice as long."""
    return torch.zeros(*shape).numpy()


@torch.no_grad()
def _pack(model: TokenLstm) -> _Weights:
    """A linear layer of a sum of embeddings is a sum of rows of another table: such layers are folded into tables."""
    heads, config, inputs = model.heads, model.config, model.token_embedding.weight
    later = [len(heads.prefix_projections) - stream for stream in range(config.n_codebooks)]
    offsets = np.array([*config.codebook_offsets, config.n_rows])
    return _Weights(
        input_tables=_quantised([inputs, *(inputs @ linear.weight.T for linear in model.lag_projections)]),
        metre_table=model.metre_embedding.weight.detach().float().cpu().clone().numpy(),
        gates=tuple(_linear_matrix([layer]) for layer in model.fused_layers()),
        hidden_projection=_linear_matrix([heads.hidden_projection]),
        lag_embeddings=_quantised([table.weight for table in heads.lag_embeddings]),
        prefix_tables=_quantised(_prefix_tables(model)),
        output_layers=_linear_matrix(list(heads.output_layers)),
        lags=np.array([1, *config.lag_steps]),
        sizes=np.array(config.codebook_sizes),
        offsets=offsets,
        prefix_offsets=np.cumsum([0, *(np.diff(offsets) * later)[:-1]]),
    )


def _prefix_tables(model: TokenLstm) -> list[torch.Tensor]:
    """Of each stream (n_tokens * n_later, width): what its tokens add to the features of each later stream."""
    tables = []
    for stream, table in enumerate(
        model.heads.prefix_embedding.weight.split([n + 1 for n in model.config.codebook_sizes])
    ):
        layers = list(model.heads.prefix_projections)[stream:]
        if layers:
            tables.append((table @ torch.cat([layer.weight for layer in layers]).T).view(-1, table.shape[1]))
    return tables


def _linear_matrix(linears: list[nn.Linear]) -> _Matrix:
    biases = None if linears[0].bias is None else torch.cat([linear.bias for linear in linears])
    return _quantised([linear.weight for linear in linears], biases)


def _quantised(weights: list[torch.Tensor], biases: torch.Tensor | None = None) -> _Matrix:
    """Rows of all matrices in int8 (symmetric quantisation; Jacob et al. 2018, "Quantization and training of neural
    networks for efficient integer-arithmetic-only inference")."""
    rows = torch.cat(weights).float().cpu()
    scales = rows.abs().amax(1).clamp_min(1e-12) / WEIGHT_MAX
    biases = torch.zeros(len(rows)) if biases is None else biases.float().cpu().clone()
    return _Matrix(*(t.numpy() for t in ((rows / scales[:, None]).round().to(torch.int8), scales, biases)))


def _helper(**options):
    return njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


@_helper()
def _peak_bits(bits):
    """The bits of the largest magnitude: without their signs, floats are in the order of their bits, and a maximum of
    whole numbers, unlike one of floats, compiles to vector code."""
    peak = np.int32(0)
    for i in range(len(bits)):
        peak = max(peak, np.int32(bits[i] & NO_SIGN))
    return peak


@_helper()
def _quantise(x):
    """Round x in place to as many levels as keep sums of products exact; returns what 1 stands for."""
    levels = np.float32(EXACT_MAX // (WEIGHT_MAX * len(x)))
    peak = max(np.int32(_peak_bits(x.view(np.int32))).view(np.float32), TINY)
    per_unit = levels / peak
    for i in range(len(x)):
        x[i] = np.rint(x[i] * per_unit)
    return peak / levels


@_helper(fastmath={"reassoc", "contract", "nsz"})
def _dot(row, x):
    total = np.float32(0)
    for i in range(len(row)):
        total += np.float32(row[i]) * x[i]
    return total


@_helper(fastmath={"reassoc", "contract", "nsz"})
def _dot_tile(row, x0, x1, x2, x3):
    """Dot products of a row with four songs, for which it is loaded and converted once."""
    total0 = total1 = total2 = total3 = np.float32(0)
    for i in range(len(row)):
        weight = np.float32(row[i])
        total0 += weight * x0[i]
        total1 += weight * x1[i]
        total2 += weight * x2[i]
        total3 += weight * x3[i]
    return total0, total1, total2, total3


@_helper()
def _linear(matrix, first_row, n_rows, x, n_songs, out):
    """out[:n_songs, :n_rows] = rows of the matrix times x[:n_songs], which is quantised in place, plus biases.

    Songs are taken in tiles of four and rows in blocks, so that both stay in the first-level cache.
    """
    n_tiled = n_songs - n_songs % SONGS_PER_TILE
    scales = out[:, out.shape[1] - 1]  # unused by rows
    for song in range(n_songs):
        scales[song] = _quantise(x[song, : matrix.values.shape[1]])
    for block in range(0, n_rows, ROWS_PER_BLOCK):
        rows = range(block, min(block + ROWS_PER_BLOCK, n_rows))
        for song in range(0, n_tiled, SONGS_PER_TILE):
            x0, x1, x2, x3 = x[song], x[song + 1], x[song + 2], x[song + 3]
            out0, out1, out2, out3 = out[song], out[song + 1], out[song + 2], out[song + 3]
            for row in rows:
                out0[row], out1[row], out2[row], out3[row] = _dot_tile(matrix.values[first_row + row], x0, x1, x2, x3)
        for song in range(n_tiled, n_songs):
            for row in rows:
                out[song, row] = _dot(matrix.values[first_row + row], x[song])
    for song in range(n_songs):
        for row in range(n_rows):
            scale = matrix.scales[first_row + row] * scales[song]
            out[song, row] = out[song, row] * scale + matrix.biases[first_row + row]


@_helper()
def _add_row(table, row, out):
    values, scale = table.values[row], table.scales[row]
    for i in range(len(values)):
        out[i] += np.float32(values[i]) * scale


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
def _lstm_cell(gates, hidden, cell, x):
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates: input, forget, cell, output."""
    n = len(cell)
    for i in range(n):
        cell[i] = _sigmoid(gates[n + i]) * cell[i] + _sigmoid(gates[i]) * _tanh(gates[2 * n + i])
        hidden[i] = _sigmoid(gates[3 * n + i]) * _tanh(cell[i])
    for i in range(n):
        x[i] = hidden[i]


@_helper()
def _sample(logits, n, temperature, log_min_p, uniform, cumulative):
    """A token below n with probability proportional to p^(1/temperature); temperature 0 takes the most likely one.

    Tokens below e^log_min_p of the most likely one's probability are excluded (min-p sampling; Nguyen et al. 2024,
    "Turning up the heat: min-p sampling for creative and coherent LLM outputs").
    """
    best = 0
    for token in range(n):
        if logits[token] > logits[best]:
            best = token
    if temperature == 0:
        return best
    floor = max(np.float32(logits[best] + log_min_p), FLOAT_MIN)
    total, inverse = 0.0, 1 / max(temperature, MIN_TEMPERATURE)
    for token in range(n):
        if logits[token] >= floor:
            total += math.exp(np.float64(logits[token] - logits[best]) * inverse)
        cumulative[token] = total
    for token in range(n):
        if cumulative[token] > uniform * total:
            return token
    return best


@_helper()
def _log_probability(logits, n, token):
    total, peak = 0.0, logits[0]
    for other in range(n):
        peak = max(peak, logits[other])
    for other in range(n):
        total += math.exp(np.float64(logits[other] - peak))
    return np.float64(logits[token] - peak) - math.log(total)


@_helper()
def _constrain(logits, allowed):
    for token in range(len(allowed)):
        if not allowed[token]:
            logits[token] = -np.inf


@_helper()
def _add_lagged(weights, table, i_lag, first_lag, past, n, out, width):
    """Add what a table holds for tokens of the past; out advances by width from stream to stream."""
    for stream in range(n):
        row = (i_lag - first_lag) * weights.offsets[n] + weights.offsets[stream] + past[stream]
        _add_row(table, row, out[stream * width :])


@_helper()
def _update_hidden(weights, batch, step, work, n_steps, hidden, cell, history):
    """Step the recurrent layers; work.x = the last one's hidden state."""
    n_songs, n_codebooks, n_layers, n_hidden = len(batch.slots), batch.tokens.shape[2], hidden.shape[1], hidden.shape[2]
    n_inputs = weights.metre_table.shape[1]
    for song in range(n_songs):
        slot, x, position = batch.slots[song], work.x[song], batch.metre_positions[song, step]
        for i in range(n_inputs):
            x[i] = weights.metre_table[position, i]
        for i in range(len(weights.lags)):
            past = history[slot, (n_steps[slot] - weights.lags[i]) % history.shape[1]]
            _add_lagged(weights, weights.input_tables, i, 0, past, n_codebooks, x, 0)
    for layer in range(n_layers):
        for song in range(n_songs):
            for i in range(n_hidden):
                work.x[song, n_inputs + i] = hidden[batch.slots[song], layer, i]
        _linear(weights.gates[layer], 0, 4 * n_hidden, work.x, n_songs, work.out)
        for song in range(n_songs):
            slot = batch.slots[song]
            _lstm_cell(work.out[song], hidden[slot, layer], cell[slot, layer], work.x[song])
        n_inputs = n_hidden


@_helper()
def _compute_features(weights, batch, n_songs, work, n_steps, history):
    """work.features = what the heads know before the step's first token."""
    n_codebooks, width = batch.tokens.shape[2], weights.output_layers.values.shape[1]
    _linear(weights.hidden_projection, 0, n_codebooks * width, work.x, n_songs, work.features)
    for song in range(n_songs):
        slot = batch.slots[song]
        for i in range(1, len(weights.lags)):
            past = history[slot, (n_steps[slot] - weights.lags[i]) % history.shape[1]]
            _add_lagged(weights, weights.lag_embeddings, i, 1, past, n_codebooks, work.features[song], width)


@_helper()
def _compute_logits(weights, stream, first_logit, n_songs, work):
    """work.out = logits of a stream given the tokens before it in the step."""
    width = weights.output_layers.values.shape[1]
    for song in range(n_songs):
        features, x = work.features[song, stream * width : (stream + 1) * width], work.x[song]
        for i in range(width):  # GELU, tanh form: Hendrycks and Gimpel 2016
            f = features[i]
            x[i] = HALF * f * (ONE + _tanh(GELU_SCALE * (f + GELU_CUBIC * f * f * f)))
    _linear(weights.output_layers, first_logit, weights.sizes[stream], work.x, n_songs, work.out)


@_helper()
def _add_prefix(weights, stream, token, features):
    """Add to the later streams' features what they know from this stream's token."""
    n_later, width = len(weights.sizes) - 1 - stream, weights.output_layers.values.shape[1]
    first_row = weights.prefix_offsets[stream] + token * n_later
    for i in range(n_later):
        _add_row(weights.prefix_tables, first_row + i, features[(stream + 1 + i) * width :])


@njit(cache=True, nogil=True, error_model="numpy")
def _run_steps(weights, batch, work, n_steps, hidden, cell, history):
    """All steps of a batch."""
    n_songs, n_chunk_steps, n_codebooks = batch.tokens.shape
    n_heads = 0
    for mode in batch.modes:
        n_heads += mode != PREFILL
    for step in range(n_chunk_steps):
        _update_hidden(weights, batch, step, work, n_steps, hidden, cell, history)
        if n_heads:
            _compute_features(weights, batch, n_heads, work, n_steps, history)
            first_logit = 0
            for stream in range(n_codebooks):
                _compute_logits(weights, stream, first_logit, n_heads, work)
                size = weights.sizes[stream]
                first_logit += size
                for song in range(n_heads):
                    logits = work.out[song]
                    if batch.modes[song] == SCORE:
                        batch.log_probs[song, step, stream] = _log_probability(
                            logits, size, batch.tokens[song, step, stream]
                        )
                    else:
                        constraint = batch.constraint_ids[song, step]
                        if stream == 0 and constraint:
                            slot = batch.slots[song]
                            last = history[slot, (n_steps[slot] - 1) % history.shape[1], 0]
                            _constrain(logits, batch.constraints[constraint, last])
                        batch.tokens[song, step, stream] = _sample(
                            logits,
                            size,
                            batch.temperatures[song, stream],
                            batch.log_min_p[song],
                            batch.uniforms[song, step, stream],
                            work.cumulative,
                        )
                    _add_prefix(weights, stream, batch.tokens[song, step, stream], work.features[song])
        for song in range(n_songs):
            slot = batch.slots[song]
            for stream in range(n_codebooks):
                history[slot, n_steps[slot] % history.shape[1], stream] = batch.tokens[song, step, stream]
            n_steps[slot] += 1
