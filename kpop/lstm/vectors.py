"""Loops over rows that the compiler does not turn into vector code by itself: written as vectors, for any processor.

Rows are C arrays (n_rows, n_columns) float32; they are taken in vectors of 16, and beyond their own end they must hold
what changes nothing (noughts, or for `largest` minus infinity).
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
I1, I8, I16, I32, I64, F32 = (*(ir.IntType(bits) for bits in (1, 8, 16, 32, 64)), ir.FloatType())
FLOATS, INTS, BYTES = (ir.VectorType(kind, LANES) for kind in (F32, I32, I8))
NO_SIGN = 0x7FFFFFFF


def pointer(context, builder, kind, array, index, item_bytes: int):
    """Bytes from row `index` (or item, of one dimension) of an array on."""
    struct = context.make_array(kind)(context, builder, array)
    stride = cgutils.unpack_tuple(builder, struct.strides)[0] if kind.ndim > 1 else I64(item_bytes)
    return builder.gep(builder.bitcast(struct.data, I8.as_pointer()), [builder.mul(index, stride)])


def load(builder, at, offset, kind, align: int = 4):
    """What lies `offset` bytes (an int, or a value) on."""
    offset = I64(offset) if isinstance(offset, int) else offset
    return builder.load(builder.bitcast(builder.gep(at, [offset]), kind.as_pointer()), align=align)


def store(builder, value, at, offset, align: int = 4) -> None:
    """The other way round."""
    offset = I64(offset) if isinstance(offset, int) else offset
    builder.store(value, builder.bitcast(builder.gep(at, [offset]), value.type.as_pointer()), align=align)


def splat(builder, value, n_lanes: int = LANES):
    """A vector of one value."""
    nothing = ir.Constant(ir.VectorType(value.type, n_lanes), ir.Undefined)
    first = builder.insert_element(nothing, value, I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(I32, n_lanes), [0] * n_lanes))


def constant(kind, value):
    """A vector that holds one number in all lanes."""
    return ir.Constant(kind, [value] * kind.count)


def call(builder, name: str, result, *arguments):
    """One of LLVM's own functions."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def over_vectors(builder, n_vectors, starts, body):
    """values = body(number of vector, values), for each vector; returns the last values."""
    before, loop, after = builder.block, builder.append_basic_block("vectors"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    index, values = builder.phi(I64), [builder.phi(start.type) for start in starts]
    grown = body(index, values)
    following = builder.add(index, I64(1))
    for phi, start, value in zip([index, *values], [I64(0), *starts], [following, *grown], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, n_vectors), loop, after)
    builder.position_at_end(after)
    return grown


@intrinsic
def largest_size(_, rows, row, n_vectors):
    """The largest absolute value, float32: without its sign, a number's bits grow as it does."""

    def generate(context, builder, signature, args):
        at = pointer(context, builder, signature.args[0], args[0], args[1], 4)

        def body(index, values):
            bits = builder.and_(load(builder, at, builder.mul(index, I64(4 * LANES)), INTS), constant(INTS, NO_SIGN))
            return [call(builder, "llvm.smax.v16i32", INTS, values[0], bits)]

        (top,) = over_vectors(builder, args[2], [constant(INTS, 0)], body)
        return builder.bitcast(call(builder, "llvm.vector.reduce.smax.v16i32", I32, top), F32)

    return types.float32(rows, types.intp, types.intp), generate


@intrinsic
def largest(_, rows, row, n_vectors):
    """The largest value, float32."""

    def generate(context, builder, signature, args):
        at = pointer(context, builder, signature.args[0], args[0], args[1], 4)

        def body(index, values):
            x = load(builder, at, builder.mul(index, I64(4 * LANES)), FLOATS)
            return [builder.select(builder.fcmp_ordered(">", x, values[0]), x, values[0])]

        (top,) = over_vectors(builder, args[2], [constant(FLOATS, float("-inf"))], body)
        return _largest_lane(builder, top)

    return types.float32(rows, types.intp, types.intp), generate


def _largest_lane(builder, vector):
    while vector.type.count > 1:
        half = vector.type.count // 2
        parts = []
        for first in (0, half):
            mask = ir.Constant(ir.VectorType(I32, half), list(range(first, first + half)))
            parts.append(builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask))
        vector = builder.select(builder.fcmp_ordered(">", *parts), *parts)
    return builder.extract_element(vector, I32(0))


@intrinsic
def to_bytes(_, rows, row, n_vectors, per_unit, to_nearest, rounded, to):
    """Row `to` of rounded int8 = a row times per_unit, rounded; returns its total, int32."""

    def generate(context, builder, signature, args):
        at = pointer(context, builder, signature.args[0], args[0], args[1], 4)
        out = pointer(context, builder, signature.args[5], args[5], args[6], 1)
        per_unit, to_nearest = splat(builder, args[3]), splat(builder, args[4])

        def body(index, values):
            x = load(builder, at, builder.mul(index, I64(4 * LANES)), FLOATS)
            whole = builder.fsub(builder.fadd(builder.fmul(x, per_unit), to_nearest), to_nearest)
            whole = builder.fptosi(whole, INTS)
            store(builder, builder.trunc(whole, BYTES), out, builder.mul(index, I64(LANES)), align=1)
            return [builder.add(values[0], whole)]

        (total,) = over_vectors(builder, args[2], [constant(INTS, 0)], body)
        return call(builder, "llvm.vector.reduce.add.v16i32", I32, total)

    kinds = rows, types.intp, types.intp, types.float32, types.float32, rounded, types.intp
    return types.int32(*kinds), generate


@intrinsic
def at_least(_, rows, row, vector, floor):
    """Which of a vector's 16 values are no less than floor: a bit each, int64."""

    def generate(context, builder, signature, args):
        at = pointer(context, builder, signature.args[0], args[0], args[1], 4)
        x = load(builder, at, builder.mul(args[2], I64(4 * LANES)), FLOATS)
        bits = builder.bitcast(builder.fcmp_ordered(">=", x, splat(builder, args[3])), I16)
        return builder.zext(bits, I64)

    return types.int64(rows, types.intp, types.intp, types.float32), generate


@intrinsic
def lowest_bit(_, bits):
    """Number of the lowest bit that is set; at least one must be."""

    def generate(context, builder, signature, args):
        return call(builder, "llvm.cttz.i64", I64, args[0], I1(1))

    return types.int64(types.int64), generate


@intrinsic
def fetch(_, rows, row, byte):
    """Ask for a line of the cache, `byte` bytes into a row of int8, before it is needed."""

    def generate(context, builder, signature, args):
        at = builder.gep(pointer(context, builder, signature.args[0], args[0], args[1], 1), [args[2]])
        kind = ir.FunctionType(ir.VoidType(), [at.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [at, I32(0), I32(3), I32(1)])  # to read, soon again, data
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp), generate
