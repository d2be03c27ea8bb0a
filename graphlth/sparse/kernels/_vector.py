"""Vectors inside numba's compiled functions: a row of a matrix held in the CPU's registers.

A vector has a fixed number of lanes, which LLVM maps onto what the processor has. Offsets count
entries from the start of a contiguous array. `load_some` and `store_some` touch the first `count`
lanes only, and the others read as 0; they are `load` and `store` where not `some`, but all, are
there. Which it is they are told as a number: a compiled function that holds one of two functions
is not found in numba's cache by another process.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import literally, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from graphlth.sparse.kernels._compiled import inlined
from graphlth.sparse.kernels._memory import LINE, PACKED

AHEAD, SOON = 32, 8  # edges ahead, whose rows go to the second cache, and to the first
SUMS = ("contract", "reassoc", "nsz")  # sums may be fused and reordered


class Vector(types.Type):
    """The type of a vector of `lanes` numbers."""

    def __init__(self, dtype: Any, lanes: int):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector):
        item = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(item, fe_type.lanes))


@intrinsic(prefer_literal=True)
def zeros(typing: Any, like: Any, lanes: Any) -> Any:
    """A vector of zeros of the number type of the array `like`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _constant(context.get_value_type(signature.return_type), 0.0)

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
        first = _first(builder, arguments[2], kind.count)
        return _masked_load(context, builder, array, arguments, kind, first)

    kind = Vector(array.dtype, lanes.literal_value)
    signature = kind(array, types.int64, types.int64, lanes, some)
    return signature, emit if some.literal_value else _load


def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = context.get_value_type(signature.return_type)
    value = builder.load(_pointer(context, builder, signature.args[0], arguments, kind))
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
        first = _first(builder, arguments[2], arguments[3].type.count)
        _masked_store(context, builder, array, arguments, arguments[3], first)
        return context.get_dummy_value()

    signature = types.void(array, types.int64, types.int64, vector, some)
    return signature, emit if some.literal_value else _store


def _store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer = _pointer(context, builder, signature.args[0], arguments, arguments[3].type)
    builder.store(arguments[3], pointer).align = signature.args[0].dtype.bitwidth // 8
    return context.get_dummy_value()


@intrinsic
def add(typing: Any, x: Any, y: Any) -> Any:
    """`x + y`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments, flags=SUMS)

    return x(x, y), emit


@intrinsic
def axpy(typing: Any, a: Any, x: Any, y: Any) -> Any:
    """`a x + y` for a number `a`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, x, y = arguments
        return builder.fadd(builder.fmul(_splat(builder, number, x.type), x, flags=SUMS), y,
                            flags=SUMS)  # fmt: skip

    return y(x.dtype, x, y), emit


@intrinsic
def dot(typing: Any, x: Any, y: Any) -> Any:
    """`Σ x y` over the lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        terms = builder.fmul(*arguments, flags=SUMS)
        item = terms.type.element
        shape = ir.FunctionType(item, [item, terms.type])
        call = _function(builder, shape, f"llvm.vector.reduce.fadd.{_suffix(terms.type)}")
        return builder.call(call, [ir.Constant(item, 0.0), terms], fastmath=SUMS)

    return x.dtype(x, y), emit


@intrinsic
def relu(typing: Any, x: Any) -> Any:
    """`max(x, 0)`; a NaN stays one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        zero = _constant(x.type, 0.0)
        return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)

    return x(x), emit


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
            pointer = _pointer(context, builder, array, [arguments[0], at], kind)
            shape = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
            how = 0, 4 - level.literal_value, 1  # to read, how near, data
            hints = [ir.Constant(number, hint) for hint in how]
            builder.call(_function(builder, shape, "llvm.prefetch.p0"), [pointer, *hints])
        return context.get_dummy_value()

    return types.void(array, types.int64, count, level), emit


@intrinsic
def outside(typing: Any, x: Any, low: Any, high: Any) -> Any:
    """A bit for each lane of 64 with |x| < low, and one for each with |x| > high; of NaN both.

    The bounds are given as the whole numbers of their bits.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, *bounds = arguments
        width = signature.args[0].dtype.bitwidth
        shape = ir.FunctionType(x.type, [x.type])
        x = builder.call(_function(builder, shape, f"llvm.fabs.{_suffix(x.type)}"), [x])
        found = []
        for relation, bound in zip("<>", bounds, strict=True):
            bound = builder.trunc(bound, ir.IntType(width)) if width < 64 else bound
            bound = _splat(builder, builder.bitcast(bound, x.type.element), x.type)
            is_outside = builder.fcmp_unordered(relation, x, bound)
            found.append(builder.bitcast(is_outside, ir.IntType(x.type.count)))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.uint64, 2)(x, types.int64, types.int64), emit


@intrinsic
def whole(typing: Any, x: Any) -> Any:
    """The bits of |x|, of a single number, as a whole one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        shape = ir.FunctionType(x.type, [x.type])
        x = builder.call(_function(builder, shape, f"llvm.fabs.f{signature.args[0].bitwidth}"), [x])
        x = builder.bitcast(x, ir.IntType(signature.args[0].bitwidth))
        return builder.zext(x, ir.IntType(64)) if signature.args[0].bitwidth < 64 else x

    return types.int64(x), emit


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


def _pointer(context: Any, builder: Any, array: Any, place: Sequence[Any], kind: Any) -> Any:
    """Where the vector that starts at `place[1]` of `place[0]`, an array of type `array`, lies."""
    data = context.make_array(array)(context, builder, place[0]).data
    return builder.bitcast(builder.gep(data, [place[1]]), kind.as_pointer())


def _masked_load(
    context: Any, builder: Any, array: Any, place: Sequence[Any], kind: Any, lanes: Any
) -> Any:
    """Those `lanes` of the vector at `place`; the others are 0 and not read."""
    pointer = _pointer(context, builder, array, place, kind)
    align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
    shape = ir.FunctionType(kind, [pointer.type, align.type, lanes.type, kind])
    call = _function(builder, shape, f"llvm.masked.load.{_suffix(kind)}.p0")
    return builder.call(call, [pointer, align, lanes, _constant(kind, 0.0)])


def _masked_store(
    context: Any, builder: Any, array: Any, place: Sequence[Any], x: Any, lanes: Any
) -> None:
    """Write those `lanes` of `x` to `place`."""
    pointer = _pointer(context, builder, array, place, x.type)
    align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
    shape = ir.FunctionType(ir.VoidType(), [x.type, pointer.type, align.type, lanes.type])
    call = _function(builder, shape, f"llvm.masked.store.{_suffix(x.type)}.p0")
    builder.call(call, [x, pointer, align, lanes])


def _constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _splat(builder: Any, number: Any, kind: Any) -> Any:
    nothing, places = ir.Constant(kind, ir.Undefined), ir.VectorType(ir.IntType(32), kind.count)
    one = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(places, [0] * kind.count))


def _first(builder: Any, count: Any, lanes: int) -> Any:
    """For each lane, whether it is one of the first `count`."""
    kind = ir.VectorType(ir.IntType(64), lanes)
    place = ir.Constant(kind, list(range(lanes)))
    return builder.icmp_signed("<", place, _splat(builder, count, kind))


def _suffix(kind: Any) -> str:
    return f"v{kind.count}f{32 if isinstance(kind.element, ir.FloatType) else 64}"


def _function(builder: Any, shape: Any, name: str) -> Any:
    return cgutils.get_or_insert_function(builder.module, shape, name)


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
def dots(typing: Any, x: Any, array: Any, offset: Any, count: Any) -> Any:
    """`Σ x y` over the lanes, a multiple of 16, for each of `count` vectors y from `offset` on.

    They are up to eight, after which zeros come.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, data, at, _ = arguments
        last = _dots(context, builder, array, [x], data, at, count.literal_value)
        even, odd = (_lanes(builder, last, last, [*range(i, 16, 2)]) for i in (0, 1))
        return builder.fadd(even, odd, flags=SUMS)

    return Vector(x.dtype, 8)(x, array, types.int64, count), emit


@intrinsic(prefer_literal=True)
def dots_of_two(typing: Any, x: Any, z: Any, array: Any, offset: Any, count: Any) -> Any:
    """`dots` of `x` and of `z`: every y is read once for both."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, z, data, at, _ = arguments
        both = _dots(context, builder, array, [x, z], data, at, count.literal_value)
        halves = [_lanes(builder, both, both, [*range(i, i + 8)]) for i in (0, 8)]
        return context.make_tuple(builder, signature.return_type, halves)

    pair = types.UniTuple(Vector(x.dtype, 8), 2)
    return pair(x, z, array, types.int64, count), emit


def _dots(
    context: Any, builder: Any, array: Any, given: list[Any], data: Any, offset: Any, count: int
) -> Any:
    """`Σ x y` of each vector x of `given` with each of 8 vectors y, in turn, as 16 numbers.

    For one x, two numbers are left that each sum is to be added up from. The sums are added up
    together, by halves: a third of the steps of eight sums one by one.
    """
    kind, lanes = ir.VectorType(given[0].type.element, 16), given[0].type.count
    data = context.make_array(array)(context, builder, data).data
    sums = [[_constant(kind, 0.0)] * 8 for _ in given]
    for row in range(count):
        for first in range(0, lanes, 16):
            at = ir.Constant(ir.IntType(64), row * lanes + first)
            pointer = builder.gep(data, [builder.add(offset, at)])
            y = builder.load(builder.bitcast(pointer, kind.as_pointer()))
            y.align = array.dtype.bitwidth // 8
            for x, found in zip(given, sums, strict=True):
                part = _lanes(builder, x, x, [*range(first, first + 16)])
                term = builder.fmul(part, y, flags=SUMS)
                found[row] = builder.fadd(found[row], term, flags=SUMS)
    left, half = [total for found in sums for total in found], 8
    while len(left) > 1:  # lanes of each sum: 16, 8, 4, 2, 1
        low = [i for i in range(32) if i // half % 2 == 0]
        high = [i + half for i in low]
        left = [
            builder.fadd(_lanes(builder, a, b, low), _lanes(builder, a, b, high), flags=SUMS)
            for a, b in zip(left[::2], left[1::2], strict=True)
        ]
        half //= 2
    return left[0]


def _lanes(builder: Any, x: Any, y: Any, which: list[int]) -> Any:
    """Those lanes of `x` and, counted on, of `y`."""
    places = ir.VectorType(ir.IntType(32), len(which))
    return builder.shuffle_vector(x, y, ir.Constant(places, which))


@intrinsic
def multiply(typing: Any, x: Any, y: Any) -> Any:
    """`x y`, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments, flags=SUMS)

    return x(x, y), emit


@intrinsic
def maximum(typing: Any, x: Any, y: Any) -> Any:
    """The larger of `x` and `y`, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y = arguments
        return builder.select(builder.fcmp_ordered(">", y, x), y, x)

    return x(x, y), emit


@intrinsic
def minimum(typing: Any, x: Any, bound: Any) -> Any:
    """The smaller of `x` and the number `bound`, lane by lane; a NaN stays one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, bound = arguments
        bound = _splat(builder, bound, x.type)
        return builder.select(builder.fcmp_ordered(">", x, bound), bound, x)

    return x(x, x.dtype), emit


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """`eˣ`, lane by lane, for x up to 80; 0 where that is no longer a normal number.

    `2ⁿ eʳ` with n whole and |r| ≤ ln 2 / 2, by the Taylor series of eʳ; a NaN stays one.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        bits = signature.args[0].dtype.bitwidth
        point, terms, low, ln2 = _EXP[bits]
        number = partial(_constant, x.type)
        # The sum with 1.5 · 2^point is rounded to a whole number: n is in its lowest bits.
        shifted = builder.fadd(builder.fmul(x, number(1 / math.log(2))), number(1.5 * 2.0**point))
        n = builder.fsub(shifted, number(1.5 * 2.0**point))
        rest = x
        for part in ln2:
            rest = _called(builder, "fma", [n, number(-part), rest])
        sum_ = number(1 / math.factorial(terms))
        for k in reversed(range(terms)):
            sum_ = _called(builder, "fma", [sum_, rest, number(1 / math.factorial(k))])
        whole = ir.VectorType(ir.IntType(bits), x.type.count)
        power = builder.shl(builder.bitcast(shifted, whole), _constant(whole, point))
        one = builder.bitcast(number(1.0), whole)
        scale = builder.bitcast(builder.add(power, one), x.type)
        is_low = builder.fcmp_ordered("<", x, number(low))
        return builder.select(is_low, number(0.0), builder.fmul(sum_, scale))

    return x(x), emit


# Bits of the fraction of a number, terms of the series, where results are no longer normal, and
# ln 2 as two numbers of which the first has zeros for its last bits.
_EXP = {
    32: (23, 7, -87.0, (0.693359375, math.log(2) - 0.693359375)),
    64: (52, 13, -708.0, (0.693145751953125, 1.42860682030941723212e-6)),
}


@intrinsic
def choose(typing: Any, sign: Any, x: Any, y: Any) -> Any:
    """`x` in the lanes where `sign` is above 0, elsewhere `y`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sign, x, y = arguments
        return builder.select(builder.fcmp_ordered(">", sign, _constant(sign.type, 0.0)), x, y)

    return x(sign, x, y), emit


@intrinsic
def inverse(typing: Any, x: Any) -> Any:
    """`1 / x`, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fdiv(_constant(arguments[0].type, 1.0), arguments[0])

    return x(x), emit


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """`Σ x` over the lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        shape = ir.FunctionType(x.type.element, [x.type.element, x.type])
        call = _function(builder, shape, f"llvm.vector.reduce.fadd.{_suffix(x.type)}")
        return builder.call(call, [ir.Constant(x.type.element, 0.0), x], fastmath=SUMS)

    return x.dtype(x), emit


@intrinsic(prefer_literal=True)
def full(typing: Any, like: Any, number: Any, lanes: Any) -> Any:
    """A vector whose every lane is `number`, of the number type of the array `like`."""
    kind = Vector(like.dtype, lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[1], context.get_value_type(signature.return_type))

    return kind(like, like.dtype, lanes), emit


@intrinsic(prefer_literal=True)
def spread(typing: Any, x: Any, times: Any) -> Any:
    """Every lane of `x`, `times` times side by side."""
    kind = Vector(x.dtype, x.lanes * times.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        which = [i // times.literal_value for i in range(kind.lanes)]
        return _lanes(builder, arguments[0], arguments[0], which)

    return kind(x, times), emit


@intrinsic(prefer_literal=True)
def fold(typing: Any, x: Any, times: Any) -> Any:
    """The sums of `times` lanes of `x`, a power of 2, side by side: what `spread` spreads."""
    kind = Vector(x.dtype, x.lanes // times.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x, _), left = arguments, times.literal_value
        while left > 1:
            even, odd = (_lanes(builder, x, x, [*range(i, x.type.count, 2)]) for i in (0, 1))
            x, left = builder.fadd(even, odd, flags=SUMS), left // 2
        return x

    return kind(x, times), emit


@intrinsic
def store_picked(typing: Any, array: Any, offset: Any, x: Any, bits: Any) -> Any:
    """Write the lanes of `x` whose bit is 1, one next to the other, from `offset` on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at, x, bits = arguments
        for first, kind in _registers(x.type):
            chosen, count = _chosen(builder, bits, first, kind)
            part = _lanes(builder, x, x, [*range(first, first + kind.count)])
            part = _moved(builder, "compress", part, chosen)
            lanes = _first(builder, count, kind.count)
            _masked_store(context, builder, array, [data, at], part, lanes)
            at = builder.add(at, count)
        return context.get_dummy_value()

    return types.void(array, types.int64, x, types.uint64), emit


@intrinsic(prefer_literal=True)
def store_spread(
    typing: Any, array: Any, offset: Any, values: Any, start: Any, bits: Any, lanes: Any
) -> Any:
    """Write `values` from `start` on to those of `lanes` entries, from `offset` on, of bit 1."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at, given, start, bits, _ = arguments
        whole = context.get_value_type(Vector(array.dtype, lanes.literal_value))
        for first, kind in _registers(whole):
            chosen, count = _chosen(builder, bits, first, kind)
            there = _first(builder, count, kind.count)
            part = _masked_load(context, builder, values, [given, start], kind, there)
            part = _moved(builder, "expand", part, chosen)
            place = [data, builder.add(at, ir.Constant(at.type, first))]
            _masked_store(context, builder, array, place, part, chosen)
            start = builder.add(start, count)
        return context.get_dummy_value()

    return types.void(array, types.int64, values, types.int64, types.uint64, lanes), emit


def _registers(kind: Any) -> list[tuple[int, Any]]:
    """The parts of a vector that fill a register, a line long: the first lane of each, its type."""
    count = min(kind.count, LINE // (4 if isinstance(kind.element, ir.FloatType) else 8))
    return [(at, ir.VectorType(kind.element, count)) for at in range(0, kind.count, count)]


def _chosen(builder: Any, bits: Any, first: int, kind: Any) -> tuple[Any, Any]:
    """For each lane whether its bit is 1, counted from `first` on, and how many are."""
    part = builder.lshr(bits, ir.Constant(bits.type, first))
    part = builder.trunc(part, ir.IntType(kind.count))
    count = builder.zext(builder.ctpop(part), ir.IntType(64))
    return builder.bitcast(part, ir.VectorType(ir.IntType(1), kind.count)), count


def _moved(builder: Any, how: str, x: Any, chosen: Any) -> Any:
    """`x` with its chosen lanes at its start, or with those at its start in the chosen lanes."""
    shape = ir.FunctionType(x.type, [x.type, x.type, chosen.type])
    call = _function(builder, shape, f"llvm.x86.avx512.mask.{how}.{_suffix(x.type)}")
    return builder.call(call, [x, _constant(x.type, 0.0), chosen])


def _rounded(operation: str) -> Callable[..., Any]:
    @intrinsic
    def apply(typing: Any, x: Any, y: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, operation)(*arguments)  # without leave to fuse or reorder

        return x(x, y), emit

    found: Callable[..., Any] = apply
    return found


times, plus, minus, over = map(_rounded, ("fmul", "fadd", "fsub", "fdiv"))


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """`x y + z`, rounded once."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _called(builder, "fma", arguments)

    return x(x, y, z), emit


@intrinsic
def root(typing: Any, x: Any) -> Any:
    """`√x`, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _called(builder, "sqrt", arguments)

    return x(x), emit


def _called(builder: Any, name: str, arguments: Any) -> Any:
    kind = arguments[0].type
    shape = ir.FunctionType(kind, [kind] * len(arguments))
    name = f"llvm.{name}.{_suffix(kind)}"
    return builder.call(_function(builder, shape, name), arguments)


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
def add_dots(x, w, begin, count, out, at):  # type: ignore[no-untyped-def]
    """Add `dots` to the eight numbers from `at` on."""
    store(out, at, 8, add(load(out, at, 8, 8), dots(x, w, begin, literally(count))))


@inlined
def add_dots_of_two(x, z, w, begin, count, out, at, other):  # type: ignore[no-untyped-def]
    """The same for two vectors; those of `z` go to `other`, which is `at` if `z` is `x`."""
    first, second = dots_of_two(x, z, w, begin, literally(count))
    before, after = load(out, at, 8, 8), load(out, other, 8, 8)
    store(out, at, 8, add(before, first))
    store(out, other, 8, add(after, second))


@inlined
def pick_each(x, bits, out, at, near):  # type: ignore[no-untyped-def]
    """`store_picked` for any processor; `near` has room for `x`."""
    store(near, 0, 0, x)
    while bits:
        out[np.uint64(at)] = entry(near, lowest(bits))
        bits, at = bits & (bits - np.uint64(1)), at + 1


@inlined
def pick_packed(x, bits, out, at, near):  # type: ignore[no-untyped-def]
    store_picked(out, at, x, bits)


pick = pick_packed if PACKED else pick_each
