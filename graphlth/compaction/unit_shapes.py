"""What operations on rows and shapes do with units; the rules are those of `unit_rules`."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlth.compaction.units import Operation, Units, UnitTrace

HEADED = ("GATConv", "GATv2Conv", "TransformerConv")  # with `heads` of `out_channels` units each


def zeros_of(value: Tensor) -> Tensor:
    """0 where `value` is 0, else unknown."""
    return torch.where(value == 0, value, torch.nan)


def keep_selected_rows(op: Operation) -> Units | None:
    """Rows of a tensor."""
    given = op.named("input", "dim", "index")
    units = op.trace.units_of(given["input"])
    return units if units is not None and _axis(given["dim"], given["input"]) == 0 else None


def keep_indexed_rows(op: Operation) -> Units | None:
    """`x[rows]`."""
    x, index = op.args
    index = index if isinstance(index, tuple) else (index,)
    rows = index[0] if index else None
    whole = all(each == slice(None) or each is Ellipsis for each in index[1:])
    fine = isinstance(rows, slice) or (isinstance(rows, Tensor) and rows.dim() == 1)
    return op.trace.units_of(x) if fine and whole else None


def add_up_rows(op: Operation) -> Units | None:
    """Rows that are combined by an index: sums, means, maxima of zeros are 0."""
    names = ("input", "dim", "index", "src")
    given = op.named(*names)
    if "source" in given:
        given["src"] = given["source"]
    units, onto = op.trace.units_of(given.get("src")), op.trace.units_of(given["input"])
    if units is None or _axis(given["dim"], given["input"]) != 0:
        return None
    value = zeros_of(units.value)
    if onto is not None:
        op.trace.tie(onto.ids, units.ids)
        value = torch.where(onto.value == 0, value, torch.nan)
    elif not op.trace.onto_zeros:
        value = torch.full_like(value, torch.nan)
    return Units(units.ids, value)


def _axis(dim: int, t: Tensor) -> int:
    return dim + t.dim() if dim < 0 else dim


# --- several tensors -----------------------------------------------------------------------------


def join_units(op: Operation) -> Units | None:
    """`torch.cat` of columns, or of rows."""
    parts = op.named("tensors")["tensors"]
    axis = _axis(op.named("tensors", "dim").get("dim", 0), op.out)
    every = [_units_or_held(op.trace, t) for t in parts]
    if axis == op.out.dim() - 1 and axis:
        return Units(torch.cat([u.ids for u in every], -1), torch.cat([u.value for u in every], -1))
    if axis or any(u.ids.shape != every[0].ids.shape for u in every):
        return None
    for other in every[1:]:
        op.trace.tie(every[0].ids, other.ids)
    values = torch.stack([u.value for u in every])
    return Units(every[0].ids, torch.where((values == values[0]).all(0), values[0], torch.nan))


def stack_units(op: Operation) -> Units | None:
    """`torch.stack` into a new last dimension, as JumpingKnowledge does before its maximum."""
    parts = op.named("tensors")["tensors"]
    axis = _axis(op.named("tensors", "dim").get("dim", 0), op.out)
    every = [_units_or_held(op.trace, t) for t in parts]
    if axis != op.out.dim() - 1 or axis == 0:
        return None
    for other in every[1:]:
        op.trace.tie(every[0].ids, other.ids)
    return Units(*(torch.stack([getattr(u, n) for u in every], -1) for n in ("ids", "value")))


def _units_or_held(trace: UnitTrace, t: Tensor) -> Units:
    """The units of `t`; new ones, which stay, where it has none."""
    if (units := trace.units_of(t)) is not None:
        return units
    ids = trace.new(t.shape[1:])
    trace.hold(ids, "an input that is not known is joined with it")
    return Units(ids, torch.full(ids.shape, torch.nan, dtype=torch.float64))


def reduce_tied(op: Operation) -> Units | None:
    """The maximum, mean or sum over units that are tied, or over all rows."""
    units, x = op.trace.units_of(op.args[0]), op.args[0]
    dim = op.named("input", "dim").get("dim")
    if units is None or not isinstance(dim, int):
        return None
    axis = _axis(dim, x)
    if axis == 0 and op.out.dim() == x.dim():  # keepdim
        return Units(units.ids, zeros_of(units.value))
    if axis != x.dim() - 1 or op.out.dim() != axis or not op.trace.are_tied(units.ids):
        return None
    value = op.function(units.value, dim=-1)
    return Units(units.ids[..., 0], value if isinstance(value, Tensor) else value[0])


def keep_heads(op: Operation) -> Units | None:
    """A view of the same shape, or the units of a layer's heads apart [H, C] or in a row.

    Of these only whole heads can go.
    """
    units = op.trace.units_of(op.args[0])
    if units is None or op.out.shape == op.args[0].shape:
        return units
    layer, shape = op.trace.calls[-1] if op.trace.calls else None, op.out.shape[1:]
    if shape == (*units.ids.shape, 1):
        return Units(units.ids.unsqueeze(-1), units.value.unsqueeze(-1))
    if type(layer).__name__ not in HEADED or shape.numel() != units.ids.numel():
        return None
    assert layer is not None
    ids = units.ids.reshape(shape)
    if ids.dim() == 2:
        if [*shape] != [getattr(layer, n) for n in ("heads", "out_channels")]:
            return None
        op.trace.tie(ids, ids[:, :1].expand(shape))
        op.trace.heads[layer] = ids
    return Units(ids, units.value.reshape(shape))


def add_dimension(op: Operation) -> Units | None:
    """A new last dimension of size 1."""
    units = op.trace.units_of(op.args[0])
    dim = op.named("input", "dim").get("dim")
    if units is None or dim not in (-1, op.out.dim() - 1):
        return None
    return Units(units.ids.unsqueeze(-1), units.value.unsqueeze(-1))


def keep_zeros_like(op: Operation) -> Units | None:
    """Zeros of as many columns."""
    units = op.trace.units_of(op.args[0])
    return None if units is None else Units(units.ids, torch.zeros_like(units.value))
