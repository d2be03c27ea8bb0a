"""Arithmetic of vectors inside numba's compiled functions, lane by lane or over the lanes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import literally, types
from numba.extending import intrinsic

from graphlth.sparse.kernels._compiled import inlined
from graphlth.sparse.kernels._llvm import (
    SUMS,
    Vector,
    call_llvm,
    constant,
    declare,
    shuffle,
    splat,
    suffix,
)
from graphlth.sparse.kernels._vector import load, store


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
        return builder.fadd(builder.fmul(splat(builder, number, x.type), x, flags=SUMS), y,
                            flags=SUMS)  # fmt: skip

    return y(x.dtype, x, y), emit


@intrinsic
def dot(typing: Any, x: Any, y: Any) -> Any:
    """`Σ x y` over the lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        terms = builder.fmul(*arguments, flags=SUMS)
        item = terms.type.element
        shape = ir.FunctionType(item, [item, terms.type])
        call = declare(builder, shape, f"llvm.vector.reduce.fadd.{suffix(terms.type)}")
        return builder.call(call, [ir.Constant(item, 0.0), terms], fastmath=SUMS)

    return x.dtype(x, y), emit


@intrinsic
def relu(typing: Any, x: Any) -> Any:
    """`max(x, 0)`; a NaN stays one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        zero = constant(x.type, 0.0)
        return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)

    return x(x), emit


@intrinsic
def outside(typing: Any, x: Any, low: Any, high: Any) -> Any:
    """A bit for each lane of 64 with |x| < low, and one for each with |x| > high; of NaN both.

    The bounds are given as the whole numbers of their bits.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, *bounds = arguments
        width = signature.args[0].dtype.bitwidth
        shape = ir.FunctionType(x.type, [x.type])
        x = builder.call(declare(builder, shape, f"llvm.fabs.{suffix(x.type)}"), [x])
        found = []
        for relation, bound in zip("<>", bounds, strict=True):
            bound = builder.trunc(bound, ir.IntType(width)) if width < 64 else bound
            bound = splat(builder, builder.bitcast(bound, x.type.element), x.type)
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
        x = builder.call(declare(builder, shape, f"llvm.fabs.f{signature.args[0].bitwidth}"), [x])
        x = builder.bitcast(x, ir.IntType(signature.args[0].bitwidth))
        return builder.zext(x, ir.IntType(64)) if signature.args[0].bitwidth < 64 else x

    return types.int64(x), emit


@intrinsic(prefer_literal=True)
def dots(typing: Any, x: Any, array: Any, offset: Any, count: Any) -> Any:
    """`Σ x y` over the lanes, a multiple of 16, for each of `count` vectors y from `offset` on.

    They are up to eight, after which zeros come.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, data, at, _ = arguments
        last = _dots(context, builder, array, [x], data, at, count.literal_value)
        even, odd = (shuffle(builder, last, last, [*range(i, 16, 2)]) for i in (0, 1))
        return builder.fadd(even, odd, flags=SUMS)

    return Vector(x.dtype, 8)(x, array, types.int64, count), emit


@intrinsic(prefer_literal=True)
def dots_of_two(typing: Any, x: Any, z: Any, array: Any, offset: Any, count: Any) -> Any:
    """`dots` of `x` and of `z`: every y is read once for both."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, z, data, at, _ = arguments
        both = _dots(context, builder, array, [x, z], data, at, count.literal_value)
        halves = [shuffle(builder, both, both, [*range(i, i + 8)]) for i in (0, 8)]
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
    sums = [[constant(kind, 0.0)] * 8 for _ in given]
    for row in range(count):
        for first in range(0, lanes, 16):
            at = ir.Constant(ir.IntType(64), row * lanes + first)
            pointer = builder.gep(data, [builder.add(offset, at)])
            y = builder.load(builder.bitcast(pointer, kind.as_pointer()))
            y.align = array.dtype.bitwidth // 8
            for x, found in zip(given, sums, strict=True):
                part = shuffle(builder, x, x, [*range(first, first + 16)])
                term = builder.fmul(part, y, flags=SUMS)
                found[row] = builder.fadd(found[row], term, flags=SUMS)
    left, half = [total for found in sums for total in found], 8
    while len(left) > 1:  # lanes of each sum: 16, 8, 4, 2, 1
        low = [i for i in range(32) if i // half % 2 == 0]
        high = [i + half for i in low]
        left = [
            builder.fadd(shuffle(builder, a, b, low), shuffle(builder, a, b, high), flags=SUMS)
            for a, b in zip(left[::2], left[1::2], strict=True)
        ]
        half //= 2
    return left[0]


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
        bound = splat(builder, bound, x.type)
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
        number = partial(constant, x.type)
        # The sum with 1.5 · 2^point is rounded to a whole number: n is in its lowest bits.
        shifted = builder.fadd(builder.fmul(x, number(1 / math.log(2))), number(1.5 * 2.0**point))
        n = builder.fsub(shifted, number(1.5 * 2.0**point))
        rest = x
        for part in ln2:
            rest = call_llvm(builder, "fma", [n, number(-part), rest])
        sum_ = number(1 / math.factorial(terms))
        for k in reversed(range(terms)):
            sum_ = call_llvm(builder, "fma", [sum_, rest, number(1 / math.factorial(k))])
        whole = ir.VectorType(ir.IntType(bits), x.type.count)
        power = builder.shl(builder.bitcast(shifted, whole), constant(whole, point))
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
        return builder.select(builder.fcmp_ordered(">", sign, constant(sign.type, 0.0)), x, y)

    return x(sign, x, y), emit


@intrinsic
def inverse(typing: Any, x: Any) -> Any:
    """`1 / x`, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fdiv(constant(arguments[0].type, 1.0), arguments[0])

    return x(x), emit


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """`Σ x` over the lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        shape = ir.FunctionType(x.type.element, [x.type.element, x.type])
        call = declare(builder, shape, f"llvm.vector.reduce.fadd.{suffix(x.type)}")
        return builder.call(call, [ir.Constant(x.type.element, 0.0), x], fastmath=SUMS)

    return x.dtype(x), emit


@intrinsic(prefer_literal=True)
def fold(typing: Any, x: Any, times: Any) -> Any:
    """The sums of `times` lanes of `x`, a power of 2, side by side: what `repeat_lanes` repeats."""
    kind = Vector(x.dtype, x.lanes // times.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x, _), left = arguments, times.literal_value
        while left > 1:
            even, odd = (shuffle(builder, x, x, [*range(i, x.type.count, 2)]) for i in (0, 1))
            x, left = builder.fadd(even, odd, flags=SUMS), left // 2
        return x

    return kind(x, times), emit


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
        return call_llvm(builder, "fma", arguments)

    return x(x, y, z), emit


@intrinsic
def root(typing: Any, x: Any) -> Any:
    """`√x`, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return call_llvm(builder, "sqrt", arguments)

    return x(x), emit


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
