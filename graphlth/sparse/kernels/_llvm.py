"""The type of a vector inside numba's compiled functions, and LLVM instructions on vectors.

A vector has a fixed number of lanes, which LLVM maps onto what the processor has.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from graphlth.sparse.kernels._memory import LINE

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


def pointer_to(context: Any, builder: Any, array: Any, place: Sequence[Any], kind: Any) -> Any:
    """Where the vector that starts at `place[1]` of `place[0]`, an array of type `array`, lies."""
    data = context.make_array(array)(context, builder, place[0]).data
    return builder.bitcast(builder.gep(data, [place[1]]), kind.as_pointer())


def masked_load(
    context: Any, builder: Any, array: Any, place: Sequence[Any], kind: Any, lanes: Any
) -> Any:
    """Those `lanes` of the vector at `place`; the others are 0 and not read."""
    pointer = pointer_to(context, builder, array, place, kind)
    align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
    shape = ir.FunctionType(kind, [pointer.type, align.type, lanes.type, kind])
    call = declare(builder, shape, f"llvm.masked.load.{suffix(kind)}.p0")
    return builder.call(call, [pointer, align, lanes, constant(kind, 0.0)])


def masked_store(
    context: Any, builder: Any, array: Any, place: Sequence[Any], x: Any, lanes: Any
) -> None:
    """Write those `lanes` of `x` to `place`."""
    pointer = pointer_to(context, builder, array, place, x.type)
    align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
    shape = ir.FunctionType(ir.VoidType(), [x.type, pointer.type, align.type, lanes.type])
    call = declare(builder, shape, f"llvm.masked.store.{suffix(x.type)}.p0")
    builder.call(call, [x, pointer, align, lanes])


def constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: Any, number: Any, kind: Any) -> Any:
    nothing, places = ir.Constant(kind, ir.Undefined), ir.VectorType(ir.IntType(32), kind.count)
    one = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(places, [0] * kind.count))


def first_lanes(builder: Any, count: Any, lanes: int) -> Any:
    """For each lane, whether it is one of the first `count`."""
    kind = ir.VectorType(ir.IntType(64), lanes)
    place = ir.Constant(kind, list(range(lanes)))
    return builder.icmp_signed("<", place, splat(builder, count, kind))


def suffix(kind: Any) -> str:
    return f"v{kind.count}f{32 if isinstance(kind.element, ir.FloatType) else 64}"


def declare(builder: Any, shape: Any, name: str) -> Any:
    return cgutils.get_or_insert_function(builder.module, shape, name)


def shuffle(builder: Any, x: Any, y: Any, which: list[int]) -> Any:
    """Those lanes of `x` and, counted on, of `y`."""
    places = ir.VectorType(ir.IntType(32), len(which))
    return builder.shuffle_vector(x, y, ir.Constant(places, which))


def registers(kind: Any) -> list[tuple[int, Any]]:
    """The parts of a vector that fill a register, a line long: the first lane of each, its type."""
    count = min(kind.count, LINE // (4 if isinstance(kind.element, ir.FloatType) else 8))
    return [(at, ir.VectorType(kind.element, count)) for at in range(0, kind.count, count)]


def chosen_lanes(builder: Any, bits: Any, first: int, kind: Any) -> tuple[Any, Any]:
    """For each lane whether its bit is 1, counted from `first` on, and how many are."""
    part = builder.lshr(bits, ir.Constant(bits.type, first))
    part = builder.trunc(part, ir.IntType(kind.count))
    count = builder.zext(builder.ctpop(part), ir.IntType(64))
    return builder.bitcast(part, ir.VectorType(ir.IntType(1), kind.count)), count


def move_lanes(builder: Any, how: str, x: Any, chosen: Any) -> Any:
    """`x` with its chosen lanes at its start, or with those at its start in the chosen lanes."""
    shape = ir.FunctionType(x.type, [x.type, x.type, chosen.type])
    call = declare(builder, shape, f"llvm.x86.avx512.mask.{how}.{suffix(x.type)}")
    return builder.call(call, [x, constant(x.type, 0.0), chosen])


def call_llvm(builder: Any, name: str, arguments: Any) -> Any:
    kind = arguments[0].type
    shape = ir.FunctionType(kind, [kind] * len(arguments))
    name = f"llvm.{name}.{suffix(kind)}"
    return builder.call(declare(builder, shape, name), arguments)
