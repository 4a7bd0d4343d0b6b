"""Products of eight-bit weights with eight-bit activations, many songs at a time.

A matrix lies in blocks of 32 rows: for each four of its columns 32 x 4 bytes, weights plus 128, so that one vector load
serves 16 rows and every song of a tile, and a pass over the matrix is a walk through memory. Sums are whole numbers, so
exact: the vector instruction for them (VPDPBUSD, where the processor has it) and plain arithmetic give the same bits.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

from kpop.lstm.vectors import F32, FLOATS, I8, I16, I32, I64, INTS, LANES, call, load, pointer, splat, store

BLOCK_ROWS, COLUMNS_AT_ONCE = 32, 4
SPARE_SONGS = 9
COLUMNS_MULTIPLE = 16  # columns are filled up with noughts to a multiple of this
VECTORS = BLOCK_ROWS // LANES
LARGEST = 127  # of a weight or an activation
WEIGHT_SHIFT = 128  # a weight w is kept as the byte w + 128: the instruction takes one factor unsigned


def _has(feature: str) -> bool:
    """Whether numba compiles for a processor with this feature."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return f"+{feature}" in (config.CPU_FEATURES or "").split(",")
    try:
        return bool(llvm.get_host_cpu_features().get(feature))
    except RuntimeError:  # not known on this system
        return False


_WEIGHTS = ir.VectorType(I8, LANES * COLUMNS_AT_ONCE)
_SHORTS, _EIGHT_INTS = ir.VectorType(I16, 16), ir.VectorType(I32, 8)


class _Vnni:
    """Sums by VPDPBUSD: each lane takes in four products at once."""

    sums = INTS

    @staticmethod
    def add(builder, sums, activations, weights):
        return call(builder, "llvm.x86.avx512.vpdpbusd.512", INTS, sums, weights, activations)

    @staticmethod
    def finish(builder, sums):
        return sums


class _Plain:
    """The same in arithmetic that any processor has: each lane takes in two products, neighbours are added at last."""

    sums = ir.VectorType(I32, 2 * LANES)

    @classmethod
    def add(cls, builder, sums, activations, weights):
        for odd in (0, 1):
            w = builder.zext(_every_other(builder, weights, odd), cls.sums)
            x = builder.sext(_every_other(builder, activations, odd), cls.sums)
            sums = builder.add(sums, builder.mul(w, x))
        return sums

    @staticmethod
    def finish(builder, sums):
        return builder.add(_every_other(builder, sums, 0), _every_other(builder, sums, 1))


class _Avx2(_Plain):
    """The same with VPMADDWD, which takes in 2 x 8 products of 16-bit numbers."""

    @classmethod
    def add(cls, builder, sums, activations, weights):
        x = builder.sext(_lanes(builder, activations, range(16)), _SHORTS)
        parts = []
        for first in range(0, LANES * COLUMNS_AT_ONCE, 16):
            w = builder.zext(_lanes(builder, weights, range(first, first + 16)), _SHORTS)
            parts.append(call(builder, "llvm.x86.avx2.pmadd.wd", _EIGHT_INTS, w, x))
        halves = [_joined(builder, *parts[:2]), _joined(builder, *parts[2:])]
        return builder.add(sums, _joined(builder, *halves))


def _lanes(builder, vector, places):
    mask = ir.Constant(ir.VectorType(I32, len(places)), list(places))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _joined(builder, low, high):
    n = 2 * low.type.count
    return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, n), list(range(n))))


def _every_other(builder, vector, first):
    return _lanes(builder, vector, range(first, vector.type.count, 2))


class _Tile:
    """Writes the code for one block of rows times a few songs."""

    def __init__(self, builder, arithmetic, n_songs: int, at_once: int) -> None:
        """at_once: groups of four columns with sums of their own: a processor adds to many sums in the time of one."""
        self.builder, self.arithmetic, self.n_songs, self.at_once = builder, arithmetic, n_songs, at_once

    def sums(self, weights, songs, n_groups):
        """Exact sums [song][vector] (16 lanes of int32) over n_groups groups of four columns."""
        b, n_sums = self.builder, self.at_once * self.n_songs * VECTORS
        before, loop, after = b.block, b.append_basic_block("columns"), b.append_basic_block("summed")
        b.branch(loop)
        b.position_at_end(loop)
        group = b.phi(I64)
        group.add_incoming(I64(0), before)
        sums = [b.phi(self.arithmetic.sums) for _ in range(n_sums)]
        grown = self._take_in(weights, songs, group, sums)
        following = b.add(group, I64(self.at_once))
        group.add_incoming(following, loop)
        for phi, value in zip(sums, grown, strict=True):
            phi.add_incoming(ir.Constant(self.arithmetic.sums, None), before)
            phi.add_incoming(value, loop)
        b.cbranch(b.icmp_signed("<", following, n_groups), loop, after)
        b.position_at_end(after)
        return self._together(grown)

    def _take_in(self, weights, songs, group, sums):
        b, grown = self.builder, []
        for turn in range(self.at_once):
            here = b.add(group, I64(turn))
            rows = b.gep(weights, [b.mul(here, I64(BLOCK_ROWS * COLUMNS_AT_ONCE))])
            loaded = [load(b, rows, vector * LANES * COLUMNS_AT_ONCE, _WEIGHTS) for vector in range(VECTORS)]
            for song in songs:
                x = b.bitcast(splat(b, load(b, song, b.mul(here, I64(COLUMNS_AT_ONCE)), I32)), _WEIGHTS)
                grown += [self.arithmetic.add(b, sums[len(grown) + i], x, w) for i, w in enumerate(loaded)]
        return grown

    def _together(self, grown):
        b, n = self.builder, self.n_songs * VECTORS
        totals = grown[:n]
        for turn in range(1, self.at_once):
            totals = [b.add(total, more) for total, more in zip(totals, grown[turn * n :], strict=False)]
        return [self.arithmetic.finish(b, total) for total in totals]


def _tile(arithmetic, n_songs: int, at_once: int):
    """tile(weights, first_byte, n_groups, scales, biases, first_row, x, x_scale, x_sum, song, out, column): out of
    n_songs songs from `song` on, 32 columns from `column` on."""

    @intrinsic
    def tile(_, weights, first_byte, n_groups, scales, biases, first_row, x, x_scale, x_sum, song, out, column):
        signature = types.void(
            weights, types.intp, types.intp, scales, biases, types.intp, x, x_scale, x_sum, types.intp, out, types.intp
        )

        def generate(context, builder, sig, args):
            def row_of(argument, index, item_bytes):
                return pointer(context, builder, sig.args[argument], args[argument], index, item_bytes)

            songs = [builder.add(args[9], I64(i)) for i in range(n_songs)]
            tile = _Tile(builder, arithmetic, n_songs, at_once)
            sums = tile.sums(row_of(0, args[1], 1), [row_of(6, s, 1) for s in songs], args[2])
            for i, s in enumerate(songs):
                of_song = [load(builder, row_of(argument, s, 4), 0, kind) for argument, kind in ((7, F32), (8, I32))]
                out_at = builder.gep(row_of(10, s, 4), [builder.mul(args[11], I64(4))])
                of_rows = [row_of(argument, args[5], 4) for argument in (3, 4)]
                _finish(builder, sums[i * VECTORS : (i + 1) * VECTORS], *of_song, *of_rows, out_at)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _finish(builder, sums, x_scale, x_sum, scales, biases, out):
    """One song's sums of a block, of weights that are too large by WEIGHT_SHIFT, as floats in their place."""
    too_much = splat(builder, builder.mul(x_sum, I32(WEIGHT_SHIFT)))
    for vector, total in enumerate(sums):
        offset = vector * LANES * 4
        value = builder.sitofp(builder.sub(total, too_much), FLOATS)
        value = builder.fmul(builder.fmul(value, load(builder, scales, offset, FLOATS)), splat(builder, x_scale))
        store(builder, builder.fadd(value, load(builder, biases, offset, FLOATS)), out, offset)


def _by_tiles(arithmetic):
    """For a processor with room for the sums of ten songs: a block's weights are loaded once for them all."""
    ten, five, two, one = (_tile(arithmetic, *shape) for shape in ((10, 1), (5, 2), (2, 4), (1, 4)))

    @njit(nogil=True)
    def multiply(weights, scales, biases, matrix, x, x_scale, x_sum, n_songs, out):
        """out (n_songs, rows) float32 = x (n_songs, columns) int8 times the matrix, scaled, plus the bias.

        matrix: its first byte, its first row in scales and biases, how many blocks, how many groups of four columns.
        x_scale float32, x_sum int32 (n_songs,): the size of one in x, and the sum of a row of x. All arrays of songs
        have SPARE_SONGS rows more, which may be read and overwritten: a full tile costs less than its remainders.
        """
        first_byte, first_row, n_blocks, n_groups = matrix
        for block in range(n_blocks):
            byte = first_byte + block * n_groups * BLOCK_ROWS * COLUMNS_AT_ONCE
            column = block * BLOCK_ROWS
            row = first_row + column
            song = 0
            while n_songs - song > 5:
                ten(weights, byte, n_groups, scales, biases, row, x, x_scale, x_sum, song, out, column)
                song += 10
            if n_songs - song > 2:
                five(weights, byte, n_groups, scales, biases, row, x, x_scale, x_sum, song, out, column)
            elif n_songs - song == 2:
                two(weights, byte, n_groups, scales, biases, row, x, x_scale, x_sum, song, out, column)
            elif n_songs - song == 1:
                one(weights, byte, n_groups, scales, biases, row, x, x_scale, x_sum, song, out, column)

    return multiply


def _one_by_one(arithmetic):
    one = _tile(arithmetic, 1, 1)

    @njit(nogil=True)
    def multiply(weights, scales, biases, matrix, x, x_scale, x_sum, n_songs, out):
        """As the other."""
        first_byte, first_row, n_blocks, n_groups = matrix
        for block in range(n_blocks):
            byte = first_byte + block * n_groups * BLOCK_ROWS * COLUMNS_AT_ONCE
            column = block * BLOCK_ROWS
            row = first_row + column
            for song in range(n_songs):
                one(weights, byte, n_groups, scales, biases, row, x, x_scale, x_sum, song, out, column)

    return multiply


ARITHMETICS = {"plain": _one_by_one(_Plain)}  # what this processor can do, the quickest last
if _has("avx2"):
    ARITHMETICS["avx2"] = _one_by_one(_Avx2)
if _has("avx512vnni"):
    ARITHMETICS["vnni"] = _by_tiles(_Vnni)
multiply = list(ARITHMETICS.values())[-1]


def in_eight_bits(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rows (n_rows, n_columns) float32 -> int8, scales (n_rows,) float32 (symmetric quantisation; Jacob et al. 2018,
    "Quantization and training of neural networks for efficient integer-arithmetic-only inference")."""
    scales = np.maximum(np.abs(rows).max(1), np.float32(1e-12)) / np.float32(LARGEST)
    return np.rint(rows / scales[:, None]).astype(np.int8), scales


class PackedMatrices:
    """Matrices one after the other as multiply takes them."""

    def __init__(self) -> None:
        self._bytes: list[np.ndarray] = []
        self._scales: list[np.ndarray] = []
        self._biases: list[np.ndarray] = []
        self.places: list[tuple[int, int, int, int]] = []

    def add(self, weight: np.ndarray, bias: np.ndarray | None = None, beyond: float = 0.0) -> None:
        """weight (n_rows, n_columns), bias (n_rows,) float32; beyond: what rows beyond the last come to."""
        n_rows, n_columns = (-(-n // m) * m for n, m in zip(weight.shape, (BLOCK_ROWS, COLUMNS_MULTIPLE), strict=True))
        n_groups = n_columns // COLUMNS_AT_ONCE
        first = sum(part.size for part in self._bytes), sum(part.size for part in self._scales)
        self.places.append((*first, n_rows // BLOCK_ROWS, n_groups))
        full = np.zeros((n_rows, n_columns), np.float32)
        full[: weight.shape[0], : weight.shape[1]] = weight
        rounded, scales = in_eight_bits(full)
        blocks = (
            (rounded.astype(np.int16) + WEIGHT_SHIFT)
            .astype(np.uint8)
            .reshape(-1, BLOCK_ROWS, n_groups, COLUMNS_AT_ONCE)
        )
        self._bytes.append(blocks.swapaxes(1, 2).ravel())
        self._scales.append(scales)
        self._biases.append(np.full(n_rows, beyond, np.float32))
        self._biases[-1][: len(weight)] = 0
        if bias is not None:
            self._biases[-1][: len(bias)] = bias

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """weights uint8, scales and biases float32, places int64 (n_matrices, 4)."""
        parts = (np.concatenate(part) for part in (self._bytes, self._scales, self._biases))
        return *parts, np.array(self.places)
