"""What torch's operations do with units: which keep them, tie them, read them and make others.

A rule returns the units of the first result, or None: then the units that were read stay. A value
is known of a column only if it is that of every row, on every graph, and after a renewal of the
statistics of norms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphlth.compaction.unit_shapes import (
    add_dimension,
    add_up_rows,
    join_units,
    keep_heads,
    keep_indexed_rows,
    keep_selected_rows,
    keep_zeros_like,
    reduce_tied,
    stack_units,
    zeros_of,
)
from graphlth.compaction.units import Map, Operation, Rule, Units, UnitTrace, operation_name

POINTWISE = (
    "abs", "alpha_dropout", "celu", "clamp", "clamp_min", "clone", "contiguous", "detach", "double",
    "elu", "exp", "float", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "logsigmoid", "mish", "neg", "pow", "relu", "relu6", "selu", "sigmoid", "silu", "softplus",
    "softsign", "sqrt", "square", "tanh", "to", "type", "type_as",
)  # fmt: skip


def keep_pointwise(op: Operation) -> Units | None:
    """A function of each number by itself."""
    units = op.trace.units_of(op.args[0])
    if units is None or any(isinstance(a, Tensor) and a.numel() > 1 for a in op.args[1:]):
        return None
    with torch.no_grad():
        value = op.function(units.value.clone()[None], *op.args[1:], **op.kwargs)[0].double()
    return Units(units.ids, value)


def keep_dropout(op: Operation) -> Units | None:
    """Dropout, also where it is not switched off."""
    units = op.trace.units_of(op.args[0])
    if units is None or not op.named("input", "p", "training").get("training", True):
        return units
    return Units(units.ids, zeros_of(units.value))


# --- two tensors ---------------------------------------------------------------------------------

SUMS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "rsub": torch.rsub, "maximum": torch.maximum,
    "minimum": torch.minimum,
}  # fmt: skip


def tie_sum(op: Operation) -> Units | None:
    """A sum, a difference, or the larger or smaller of two."""
    function = SUMS[operation_name(op.function)]
    return _combine(op.trace, op.args, lambda a, b: function(a, b, **op.kwargs), product=False)


def tie_product(op: Operation) -> Units | None:
    """A product: 0 if one of the two is."""
    return _combine(op.trace, op.args, torch.mul, product=True)


def tie_quotient(op: Operation) -> Units | None:
    """A quotient: 0 if the first is and the second is not."""
    if op.trace.units_of(op.args[0]) is None:
        return None
    divisor = op.trace.units_of(op.args[1])
    units = _combine(op.trace, op.args, torch.div, product=True)
    if units is None or divisor is None:
        return units
    return Units(units.ids, torch.where(divisor.value == 0, torch.nan, units.value))


def _combine(
    trace: UnitTrace, args: Any, function: Callable[[Any, Any], Tensor], product: bool
) -> Units | None:
    """The units of a function of two operands, of which one may be a parameter or a number."""
    a, b = (_operand(trace, args[i], args[1 - i]) for i in (0, 1))
    if a is None or b is None:
        return None
    (first, x), (second, y) = a, b
    every = [ids for ids in (first, second) if ids is not None]
    if len({ids.dim() for ids in every}) > 1:
        return None
    ids, *others = torch.broadcast_tensors(*every)
    for other in others:
        trace.tie(ids, other)
    value = function(x, y).double().expand(ids.shape)
    if product:
        absent = (x == 0) | ((y == 0) & (function is torch.mul))
        value = torch.where(absent.expand(ids.shape), 0.0, value)
    return Units(ids, value)


def _operand(trace: UnitTrace, operand: Any, other: Any) -> tuple[Tensor | None, Tensor] | None:
    """The units of an operand, if it has any, and its values; None where neither is known.

    A parameter or buffer of one entry for each unit of the `other` operand is one of these units.
    """
    if (units := trace.units_of(operand)) is not None:
        return units.ids, units.value
    if not isinstance(operand, Tensor):
        return None, torch.tensor(float(operand), dtype=torch.float64)
    if (beside := trace.units_of(other)) is None:
        return None
    if operand.numel() == 1:
        known = id(operand) in trace.axes
        value = operand.detach().double().flatten()[0].cpu()
        return None, value if known else torch.tensor(torch.nan, dtype=torch.float64)
    width = beside.ids.dim()
    shape = beside.ids.shape
    if operand.numel() == shape.numel() and _attach_all(trace, operand, beside.ids):
        return None, operand.detach().double().cpu().reshape(shape)
    if _is_constant_in_rows(operand, width, other.dim()):
        return None, torch.tensor(torch.nan, dtype=torch.float64)
    return None


def _attach_all(trace: UnitTrace, parameter: Tensor, ids: Tensor) -> bool:
    """Whether a parameter [..., C] or [..., H, C] has an entry for each of the units `ids`.

    Of heads [H, C] only whole ones can go: the units of a head are tied.
    """
    if parameter.shape[-ids.dim() :] != ids.shape:
        return False
    if ids.dim() == 1:
        return trace.attach(parameter, parameter.dim() - 1, ids)
    tied = ids.dim() == 2 and trace.are_tied(ids)
    return tied and trace.attach(parameter, parameter.dim() - 2, ids[:, 0])


def _is_constant_in_rows(t: Tensor, width: int, dims: int) -> bool:
    """Whether all columns of `t` are the same number in each row."""
    if t.dim() != dims:
        return False
    return all(t.size(-i) == 1 or t.stride(-i) == 0 for i in range(1, width + 1))


# --- linear maps ---------------------------------------------------------------------------------


def read_linear(op: Operation) -> Units | None:
    """`x Wᵀ + b`."""
    given = op.named("input", "weight", "bias")
    return _read(op.trace, given["input"], given["weight"], given.get("bias"), op.out, (0, 1))


def read_product(op: Operation) -> Units | None:
    """`x W`, W being a parameter."""
    return _read(op.trace, op.args[0], op.args[1], None, op.out, (1, 0))


def _read(
    trace: UnitTrace, x: Tensor, weight: Any, bias: Any, out: Tensor, dims: tuple[int, int]
) -> Units | None:
    """A linear map, whose weight has its outputs and its inputs in the dimensions `dims`."""
    axes = trace.axes.get(id(weight))
    if axes is None or weight.dim() != 2 or (bias is not None and id(bias) not in trace.axes):
        return None
    to, of = dims
    inputs = trace.units_of(x)
    if inputs is None or inputs.ids.dim() != 1:
        if inputs is not None:
            trace.hold(inputs.ids, "a linear map reads it in another dimension")
        ids = trace.new([weight.size(of)])
        trace.hold(ids, "a linear map reads it as an input that is not known")
        inputs = Units(ids, torch.full([len(ids)], torch.nan, dtype=torch.float64))
    outputs = axes.ids.get(to, trace.new([weight.size(to)]))
    trace.attach(weight, to, outputs)
    trace.attach(weight, of, inputs.ids)
    if bias is not None:
        trace.attach(bias, 0, outputs)
    w = weight.detach().double().cpu()
    value = affine_value(w if to == 0 else w.T, inputs.value, bias)
    name = "" if bias is None else trace.axes[id(bias)].name
    trace.maps.append(Map(axes.name, name, inputs, outputs, to == 0))
    if out.dim() == 2:
        return Units(outputs, value)
    trace.hold(outputs, "a linear map makes it in another dimension")
    return None


def affine_value(weight: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """What is known of `W v + b` [out], of a weight [out, in] and what is known of v [in]."""
    terms = torch.where(weight == 0, 0.0, weight * value)
    total = terms.sum(1)
    return total if bias is None else total + bias.detach().double().cpu()


def look_up(op: Operation) -> Units | None:
    """The rows of an embedding, whose columns are units."""
    given = op.named("input", "weight")
    weight = given["weight"]
    axes = op.trace.axes.get(id(weight))
    if axes is None or op.out.dim() != 2:
        return None
    ids = axes.ids.get(1, op.trace.new([weight.size(1)]))
    op.trace.attach(weight, 1, ids)
    empty = ~weight.detach().cpu().any(0)
    return Units(ids, torch.where(empty, 0.0, torch.nan).double())


# --- norms ---------------------------------------------------------------------------------------


def keep_batch_norm(op: Operation) -> Units | None:
    """BatchNorm, whose statistics may be renewed: only a factor of 0 makes a constant."""
    names = ("input", "running_mean", "running_var", "weight", "bias")
    given = op.named(*names)
    units = op.trace.units_of(given["input"])
    if units is None or units.ids.dim() != 1:
        return None
    own = [given.get(n) for n in names[1:] if given.get(n) is not None]
    if not all([op.trace.attach(t, 0, units.ids) for t in own]):
        return None
    value = torch.full_like(units.value, torch.nan)
    if (scale := given.get("weight")) is not None:
        op.trace.scales.add(op.trace.axes[id(scale)].name)
        shift = given["bias"].detach().double().cpu()
        value = torch.where(scale.detach().cpu() == 0, shift, value)
    return Units(units.ids, value)


def hold_layer_norm(op: Operation) -> Units | None:
    """LayerNorm reads all units of a row together, so that all of them stay."""
    units = op.trace.units_of(op.args[0])
    if units is None:
        return None
    op.trace.hold(units.ids, "LayerNorm takes its mean over all units")
    return Units(units.ids, torch.full_like(units.value, torch.nan))


RULES: dict[str, Rule] = {
    **dict.fromkeys(POINTWISE, keep_pointwise),
    **dict.fromkeys(("add", "sub", "rsub", "maximum", "minimum"), tie_sum),
    **dict.fromkeys(("mul", "multiply"), tie_product),
    **dict.fromkeys(("dropout", "feature_dropout", "feature_alpha_dropout"), keep_dropout),
    **dict.fromkeys(("div", "divide"), tie_quotient),
    **dict.fromkeys(("linear",), read_linear),
    **dict.fromkeys(("matmul", "mm"), read_product),
    "embedding": look_up,
    "batch_norm": keep_batch_norm,
    "layer_norm": hold_layer_norm,
    "index_select": keep_selected_rows,
    "__getitem__": keep_indexed_rows,
    **dict.fromkeys(("scatter_add", "scatter_reduce", "index_add", "scatter"), add_up_rows),
    **dict.fromkeys(("cat", "concat"), join_units),
    "stack": stack_units,
    **dict.fromkeys(("max", "mean", "sum", "amax"), reduce_tied),
    **dict.fromkeys(("view", "reshape", "view_as", "expand", "expand_as", "flatten", "squeeze"),
                    keep_heads),
    "unsqueeze": add_dimension,
    "zeros_like": keep_zeros_like,
}  # fmt: skip
