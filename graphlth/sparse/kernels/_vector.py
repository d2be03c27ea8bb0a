"""Vectors inside numba's compiled functions: a row of a matrix held in the CPU's registers.

What loads, stores and rearranges them; `_arithmetic` computes with them. Offsets count entries from
the start of a contiguous array. `load_some` and `store_some` touch the first `count` lanes only,
and the others read as 0; they are `load` and `store` where not `some`, but all, are there. Which it
is they are told as a number: a compiled function that holds one of two functions is not found in
numba's cache by another process.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import literally, types
from numba.extending import intrinsic

from graphlth.sparse.kernels._compiled import inlined
from graphlth.sparse.kernels._llvm import (
    Vector,
    chosen_lanes,
    constant,
    declare,
    first_lanes,
    masked_load,
    masked_store,
    move_lanes,
    pointer_to,
    registers,
    shuffle,
    splat,
)
from graphlth.sparse.kernels._memory import LINE, PACKED

AHEAD, SOON = 32, 8  # edges ahead, whose rows go to the second cache, and to the first


@intrinsic(prefer_literal=True)
def zeros(typing: Any, like: Any, lanes: Any) -> Any:
    """A vector of zeros of the number type of the array `like`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return constant(context.get_value_type(signature.return_type), 0.0)

    return Vector(like.dtype, lanes.literal_value)(like, lanes), emit


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, offset: Any, count: Any, lanes: Any) -> Any:
    """The `lanes` entries from `offset` on, whatever `count` is."""
    return Vector(array.dtype, lanes.literal_value)(array, types.int64, types.int64, lanes), _load


@intrinsic(prefer_literal=True)
def load_some(typing: Any, array: Any, offset: Any, count: Any, lanes: Any, some: Any) -> Any:
    """The first `count` of `lanes` entries from `offset` on, then zeros."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        first = first_lanes(builder, arguments[2], kind.count)
        return masked_load(context, builder, array, arguments, kind, first)

    kind = Vector(array.dtype, lanes.literal_value)
    signature = kind(array, types.int64, types.int64, lanes, some)
    return signature, emit if some.literal_value else _load


def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = context.get_value_type(signature.return_type)
    value = builder.load(pointer_to(context, builder, signature.args[0], arguments, kind))
    value.align = signature.args[0].dtype.bitwidth // 8
    return value


@intrinsic
def store(typing: Any, array: Any, offset: Any, count: Any, vector: Any) -> Any:
    """Write `vector` from `offset` on, whatever `count` is."""
    return types.void(array, types.int64, types.int64, vector), _store


@intrinsic(prefer_literal=True)
def store_some(typing: Any, array: Any, offset: Any, count: Any, vector: Any, some: Any) -> Any:
    """Write the first `count` lanes of `vector` from `offset` on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = first_lanes(builder, arguments[2], arguments[3].type.count)
        masked_store(context, builder, array, arguments, arguments[3], first)
        return context.get_dummy_value()

    signature = types.void(array, types.int64, types.int64, vector, some)
    return signature, emit if some.literal_value else _store


def _store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer = pointer_to(context, builder, signature.args[0], arguments, arguments[3].type)
    builder.store(arguments[3], pointer).align = signature.args[0].dtype.bitwidth // 8
    return context.get_dummy_value()


@intrinsic(prefer_literal=True)
def prefetch(typing: Any, array: Any, offset: Any, count: Any, level: Any) -> Any:
    """Begin to read `count` entries from `offset` on, which may lie beyond the end.

    They go to the cache of the `level` 1 or 2; the second waits for more lines at a time.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        size = array.dtype.bitwidth // 8
        for first in range(0, count.literal_value, LINE // size):
            at = builder.add(arguments[1], ir.Constant(arguments[1].type, first))
            kind = context.get_value_type(array.dtype)
            pointer = pointer_to(context, builder, array, [arguments[0], at], kind)
            shape = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
            how = 0, 4 - level.literal_value, 1  # to read, how near, data
            hints = [ir.Constant(number, hint) for hint in how]
            builder.call(declare(builder, shape, "llvm.prefetch.p0"), [pointer, *hints])
        return context.get_dummy_value()

    return types.void(array, types.int64, count, level), emit


@intrinsic
def population(typing: Any, bits: Any) -> Any:
    """How many of 64 bits are 1."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(*arguments)

    return types.int64(types.uint64), emit


@intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """The place of the first of 64 bits, not all 0, that is 1."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(*arguments, ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """What lies at an address, for `numba.carray`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), emit


@intrinsic
def entry(typing: Any, array: Any, offset: Any) -> Any:
    """The one entry at `offset`, which is not below 0: nothing is spent on wrapping it around."""
    whole = isinstance(array.dtype, types.Integer)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        value = builder.load(builder.gep(data, [arguments[1]]))
        return context.cast(builder, value, array.dtype, types.int64) if whole else value

    return (types.int64 if whole else array.dtype)(array, types.int64), emit


@intrinsic(prefer_literal=True)
def full(typing: Any, like: Any, number: Any, lanes: Any) -> Any:
    """A vector whose every lane is `number`, of the number type of the array `like`."""
    kind = Vector(like.dtype, lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return splat(builder, arguments[1], context.get_value_type(signature.return_type))

    return kind(like, like.dtype, lanes), emit


@intrinsic(prefer_literal=True)
def repeat_lanes(typing: Any, x: Any, times: Any) -> Any:
    """Every lane of `x`, `times` times side by side."""
    kind = Vector(x.dtype, x.lanes * times.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        which = [i // times.literal_value for i in range(kind.lanes)]
        return shuffle(builder, arguments[0], arguments[0], which)

    return kind(x, times), emit


@intrinsic
def store_compressed(typing: Any, array: Any, offset: Any, x: Any, bits: Any) -> Any:
    """Write the lanes of `x` whose bit is 1, one next to the other, from `offset` on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at, x, bits = arguments
        for first, kind in registers(x.type):
            chosen, count = chosen_lanes(builder, bits, first, kind)
            part = shuffle(builder, x, x, [*range(first, first + kind.count)])
            part = move_lanes(builder, "compress", part, chosen)
            lanes = first_lanes(builder, count, kind.count)
            masked_store(context, builder, array, [data, at], part, lanes)
            at = builder.add(at, count)
        return context.get_dummy_value()

    return types.void(array, types.int64, x, types.uint64), emit


@intrinsic(prefer_literal=True)
def store_expanded(
    typing: Any, array: Any, offset: Any, values: Any, start: Any, bits: Any, lanes: Any
) -> Any:
    """Write `values` from `start` on to those of `lanes` entries, from `offset` on, of bit 1."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at, given, start, bits, _ = arguments
        whole = context.get_value_type(Vector(array.dtype, lanes.literal_value))
        for first, kind in registers(whole):
            chosen, count = chosen_lanes(builder, bits, first, kind)
            there = first_lanes(builder, count, kind.count)
            part = masked_load(context, builder, values, [given, start], kind, there)
            part = move_lanes(builder, "expand", part, chosen)
            place = [data, builder.add(at, ir.Constant(at.type, first))]
            masked_store(context, builder, array, place, part, chosen)
            start = builder.add(start, count)
        return context.get_dummy_value()

    return types.void(array, types.int64, values, types.int64, types.uint64, lanes), emit


@inlined
def fetch(x, columns, e, stride, start, lanes, far):  # type: ignore[no-untyped-def]
    """Begin to read `lanes` numbers of the rows that edges after `e` start from, into `far` caches.

    Row i of `x` begins at `stride · i`; of it they lie from `start` on.
    """
    if far > 1:
        column = entry(columns, min(e + AHEAD, columns.size - 1))
        prefetch(x, column * stride + start, literally(lanes), 2)
    column = entry(columns, min(e + SOON, columns.size - 1))
    prefetch(x, column * stride + start, literally(lanes), 1)


@inlined
def pick_each(x, bits, out, at, near):  # type: ignore[no-untyped-def]
    """`store_compressed` for any processor; `near` has room for `x`."""
    store(near, 0, 0, x)
    while bits:
        out[np.uint64(at)] = entry(near, lowest(bits))
        bits, at = bits & (bits - np.uint64(1)), at + 1


@inlined
def pick_packed(x, bits, out, at, near):  # type: ignore[no-untyped-def]
    store_compressed(out, at, x, bits)


pick = pick_packed if PACKED else pick_each
