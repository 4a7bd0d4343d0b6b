"""Steps of many songs in one call: every weight is read once a step, whoever is in the run.

Nothing that is worked out for one song depends on another: sums of products are whole numbers and exact, all else is
done row by row in the same order. So a song is the same alone and in company, and on every machine.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np
from numba import njit

from kpop.lstm.choice import FORBIDDEN, choose, log_probability
from kpop.lstm.curves import TO_NEAREST, gelu, sigmoid, tanh
from kpop.lstm.products import LARGEST, multiply
from kpop.lstm.vectors import LANES, fetch, largest_size, to_bytes

CHOOSE, JUDGE, HEAR = 0, 1, 2  # what is to be done with a song's values: songs of a run come in this order
LINE_BYTES = 64
LEAST_SIZE = np.float32(1e-30)  # of a row of noughts


@njit(error_model="numpy")
def _round(rows, row, n, rounded, scale, total, to):
    """Row `to` of rounded = the first n values of a row in eight bits, with their scale and total."""
    n_vectors = -(-n // LANES)
    for i in range(n, n_vectors * LANES):
        rows[row, i] = 0
    size = max(largest_size(rows, row, n_vectors), LEAST_SIZE)
    scale[to] = size / np.float32(LARGEST)
    total[to] = to_bytes(rows, row, n_vectors, np.float32(LARGEST) / size, TO_NEAREST, rounded, to)


@njit(error_model="numpy")
def _add(to, more):
    for i in range(len(to)):
        to[i] += more[i]


@njit(error_model="numpy")
def _add_row(to, row, scale):
    for i in range(len(row)):
        to[i] += np.float32(row[i]) * scale


@njit(error_model="numpy")
def _gelu(features, out):
    for i in range(len(features)):
        out[i] = gelu(features[i])


@njit(error_model="numpy")
def _product(net, desk, matrix, n_songs, out):
    """out, of the first n_songs, = the matrix times desk.rounded."""
    m = net.matrices[matrix]
    multiply(
        net.weights, net.scales, net.biases, (m[0], m[1], m[2], m[3]),
        desk.rounded, desk.scale, desk.total, n_songs, out,
    )  # fmt: skip


@njit(error_model="numpy")
def _listen(net, memory, desk, places, slots, step):
    """desk.inputs = what the first layer takes in: the step before, the metronome, the steps looked back to."""
    n_songs, embed = len(places), net.metre_embedding.shape[1]
    for song in range(n_songs):
        slot = slots[song, step]
        for i in range(embed):
            desk.inputs[song, i] = memory.last[places[song], i] + net.metre_embedding[slot, i]
    for lookback in range(len(net.lag_steps)):
        for song in range(n_songs):
            place = places[song]
            then = (memory.clock[place] - net.lag_steps[lookback]) % memory.sums.shape[1]
            for i in range(memory.sums.shape[2]):
                desk.rounded[song, i] = memory.sums[place, then, i]
            desk.scale[song] = memory.sums_scale[place, then]
            desk.total[song] = memory.sums_sum[place, then]
        _product(net, desk, lookback, n_songs, desk.outputs)
        for song in range(n_songs):
            for i in range(embed):
                desk.inputs[song, i] += desk.outputs[song, i]


@njit(error_model="numpy")
def _layer(net, memory, desk, places, layer, n_inputs):
    """One LSTM layer: from desk.inputs (n_inputs wide) to the same (as wide as the state)."""
    n_songs, hidden = len(places), memory.hidden.shape[2]
    for song in range(n_songs):
        for i in range(hidden):
            desk.inputs[song, n_inputs + i] = memory.hidden[places[song], layer, i]
        _round(desk.inputs, song, n_inputs + hidden, desk.rounded, desk.scale, desk.total, song)
    _product(net, desk, len(net.lag_steps) + layer, n_songs, desk.outputs)
    for song in range(n_songs):
        _gates(desk.outputs[song], memory.cell[places[song], layer], memory.hidden[places[song], layer])
        for i in range(hidden):
            desk.inputs[song, i] = memory.hidden[places[song], layer, i]


@njit(error_model="numpy")
def _gates(gates, cell, hidden):
    """Hochreiter and Schmidhuber 1997, with Gers et al. 2000; gates: enter, forget, candidate, leave."""
    n = len(cell)
    for i in range(n):
        cell[i] = sigmoid(gates[n + i]) * cell[i] + sigmoid(gates[i]) * tanh(gates[2 * n + i])
        hidden[i] = sigmoid(gates[3 * n + i]) * tanh(cell[i])


@njit(error_model="numpy")
def _features(net, memory, desk, places, n_songs):
    """desk.features = what every stream knows before its step begins; desk.prefix is empty."""
    hidden, (n_codebooks, width) = memory.hidden.shape[2], (len(net.sizes), net.prefix_embedding.shape[1])
    for song in range(n_songs):
        _round(desk.inputs, song, hidden, desk.rounded, desk.scale, desk.total, song)
    _product(net, desk, len(net.lag_steps) + memory.hidden.shape[1], n_songs, desk.features)
    _fetch_lookbacks(net, memory, places[0])
    for song in range(n_songs):
        if song + 1 < n_songs:
            _fetch_lookbacks(net, memory, places[song + 1])
        desk.prefix[song] = 0
        for lookback in range(len(net.lag_steps)):
            for stream in range(n_codebooks):
                row = _lookback_row(net, memory, places[song], lookback, stream)
                feature = desk.features[song, stream * width : (stream + 1) * width]
                _add_row(feature, net.lag_embeddings[row], net.lookback_scales[row])


@njit(error_model="numpy")
def _lookback_row(net, memory, place, lookback, stream):
    """Where in the look-back tables stands what a stream was so many steps ago."""
    then = (memory.clock[place] - net.lag_steps[lookback]) % memory.past.shape[1]
    return lookback * len(net.token_embedding) + net.offsets[stream] + memory.past[place, then, stream]


@njit(error_model="numpy")
def _fetch_lookbacks(net, memory, place):
    for lookback in range(len(net.lag_steps)):
        for stream in range(len(net.sizes)):
            _fetch_row(net.lag_embeddings, _lookback_row(net, memory, place, lookback, stream))


@njit(error_model="numpy")
def _fetch_row(table, row):
    for byte in range(0, table.shape[1], LINE_BYTES):
        fetch(table, row, byte)


@njit(error_model="numpy")
def _logits(net, memory, desk, stream, n_songs):
    """desk.outputs = logits of a stream."""
    width = net.prefix_embedding.shape[1]
    first = len(net.lag_steps) + memory.hidden.shape[1] + 1
    if stream:
        for song in range(n_songs):
            _round(desk.prefix, song, width, desk.rounded, desk.scale, desk.total, song)
        _product(net, desk, first + 2 * stream - 1, n_songs, desk.outputs)
    for song in range(n_songs):
        start = stream * width
        if stream:
            _add(desk.features[song, start : start + width], desk.outputs[song, :width])
        _gelu(desk.features[song, start : start + width], desk.inputs[song, :width])
        _round(desk.inputs, song, width, desk.rounded, desk.scale, desk.total, song)
    _product(net, desk, first + 2 * stream, n_songs, desk.outputs)


@njit(error_model="numpy")
def _forbid(memory, desk, place, song, grammar):
    """What the grammar does not let follow the last value of stream 0 can't be chosen."""
    last = memory.past[place, (memory.clock[place] - 1) % memory.past.shape[1], 0]
    for value in range(grammar.shape[1]):
        if not grammar[last, value]:
            desk.outputs[song, value] = FORBIDDEN


@njit(error_model="numpy")
def _values(net, memory, desk, task, step, n_songs):
    """task.values of the step, stream by stream: chosen, or known and judged."""
    for stream in range(len(net.sizes)):
        _logits(net, memory, desk, stream, n_songs)
        n_vectors = -(-net.sizes[stream] // LANES)
        for song in range(n_songs):
            if task.modes[song] == JUDGE:
                known = task.values[song, step, stream]
                task.nats[song, step, stream] = log_probability(desk.outputs, song, n_vectors, known)
            else:
                if stream == 0 and task.kinds[song, step]:
                    _forbid(memory, desk, task.places[song], song, task.grammars[task.kinds[song, step]])
                task.values[song, step, stream] = choose(
                    desk.outputs, song, n_vectors, task.temperature[song, stream], task.log_least[song],
                    task.draws[song, step, stream], desk.chances, desk.candidates,
                )  # fmt: skip
            _fetch_row(net.prefix_embedding, net.offsets[stream] + task.values[song, step, stream])
        for song in range(n_songs):
            row = net.offsets[stream] + task.values[song, step, stream]
            _fetch_row(net.token_embedding, row)  # for _remember
            _add_row(desk.prefix[song], net.prefix_embedding[row], net.prefix_scales[row])


@njit(error_model="numpy")
def _remember(net, memory, place, values):
    """The step has been heard."""
    now, embed = memory.clock[place] % memory.past.shape[1], net.token_embedding.shape[1]
    memory.last[place] = 0
    for stream in range(len(values)):
        memory.past[place, now, stream] = values[stream]
        row = net.offsets[stream] + values[stream]
        _add_row(memory.last[place], net.token_embedding[row], net.input_scales[row])
    _round(memory.last, place, embed, memory.sums[place], memory.sums_scale[place], memory.sums_sum[place], now)
    memory.clock[place] += 1


def _compiled(sources: str):
    """The loop over all steps, compiled for these sources."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def run(net, memory, desk, task):
        """All steps of a task: see pack.Net, pack.Memory, pack.Desk and places.Task."""
        assert sources  # named here, so that code kept from other sources is not taken: numba looks at this file alone
        n_songs, n_asked = len(task.places), 0
        for song in range(n_songs):
            n_asked += task.modes[song] != HEAR
        for step in range(task.slots.shape[1]):
            _listen(net, memory, desk, task.places, task.slots, step)
            n_inputs = net.metre_embedding.shape[1]
            for layer in range(memory.hidden.shape[1]):
                _layer(net, memory, desk, task.places, layer, n_inputs)
                n_inputs = memory.hidden.shape[2]
            if n_asked:
                _features(net, memory, desk, task.places, n_asked)
                _values(net, memory, desk, task, step, n_asked)
            for song in range(n_songs):
                _remember(net, memory, task.places[song], task.values[song, step])

    return run


def _sources() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


run = _compiled(_sources())
