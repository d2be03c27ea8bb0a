"""Any model without its dead units: ordinary, smaller layers that compute the same function.

A unit is dead if no weight reads it, or if it is the same number on every graph and only linear
maps read it, into whose biases that number moves. One forward pass tells which units there are (see
`graphlth.compaction.units`); what it cannot show to be safe stays, and the result says why. The
smaller model is compared with the whole one before it is returned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.compaction.unit_rules import RULES
from graphlth.compaction.units import Axes, Map, UnitTrace, tensors_in
from graphlth.model_checks import undisturbed

CLOSE = 1e-9  # how far outputs may differ in float64, against their size
SIZES = {  # what layers call the size of a dimension of their weight
    "in_features": 1, "out_features": 0, "in_channels": 1, "out_channels": 0,
}  # fmt: skip

Inputs = dict[str, Tensor]  # the features [N, F] of the nodes, or of those of each type
Call = Callable[[nn.Module, Inputs], Any]  # what a model returns of the features


@dataclass(frozen=True)
class Smaller:
    """A model without its dead units."""

    model: nn.Module  # of smaller layers, in evaluation mode
    features: dict[str, Tensor | None]  # [F'] the columns of each input that it reads; None: all
    removed: dict[str, int] = field(default_factory=dict)  # units that are gone, by weight
    whole: dict[str, str] = field(default_factory=dict)  # why others keep all units, by weight


@torch.no_grad()
def remove_units(model: nn.Module, call: Call, inputs: Inputs) -> Smaller:
    """`model` without its dead units, in evaluation mode; `model` itself stays as it is.

    Args:
        model: its masks multiplied into its weights.
        call: how it is called with features, of whatever floating type; what else it is given has
            no units.
        inputs: the features.
    """
    small = copy.deepcopy(model).eval().requires_grad_(False).double()
    inputs = {n: x.double() for n, x in inputs.items()}
    trace, columns = trace_units(small, call, inputs)
    dead = dead_units(trace, small)
    removed, whole = _report(trace, dead)
    features = {n: (~_is_in(ids, dead, trace)).nonzero().squeeze(1) for n, ids in columns.items()}
    move_constants(trace, dead, small)
    for axes in trace.axes.values():
        _cut(small, axes, trace, dead)
    for layer, ids in trace.heads.items():
        layer.heads = int((~_is_in(ids[:, 0], dead, trace)).sum())
    if dead and (reason := difference(model, small, call, features, inputs)):
        whole, removed = dict.fromkeys([m.weight for m in trace.maps], reason), {}
        small = copy.deepcopy(model)
        features = {n: torch.arange(x.size(1)) for n, x in inputs.items()}
    _restore_types(small, model)
    read = {n: None if f.numel() == inputs[n].size(1) else f.to(inputs[n].device)
            for n, f in features.items()}  # fmt: skip
    return Smaller(small.eval().requires_grad_(False), read, removed, whole)


def _restore_types(small: nn.Module, model: nn.Module) -> None:
    """Give every parameter and buffer the number type that it has in `model`."""
    types = {n: t.dtype for n, t in [*model.named_parameters(), *model.named_buffers()]}
    default = next(model.parameters()).dtype  # of a bias that the model does not have
    for n, t in [*small.named_parameters(), *small.named_buffers()]:
        t.data = t.data.to(types.get(n, default))


def trace_units(model: nn.Module, call: Call, inputs: Inputs) -> tuple[UnitTrace, Inputs]:
    """The units of a pass of `model`, and those of the columns of each input."""
    trace = UnitTrace(model, RULES)
    given = {n: x.clone() for n, x in inputs.items()}  # or what is done in place would last
    columns = {n: trace.start(x) for n, x in given.items()}
    with undisturbed(model), trace.watch_calls(model), trace:
        output = call(model, given)
    for t in tensors_in(output):
        if (units := trace.units_of(t)) is not None:
            trace.hold(units.ids, "the model returns it")
    return trace, columns


def dead_units(trace: UnitTrace, model: nn.Module) -> set[int]:
    """The units, each by the one that stands for its group, that can go."""
    weights = dict(model.named_parameters()) | dict(model.named_buffers())
    groups = {trace.find(unit) for unit in range(len(trace.parents))}
    dead: set[int] = set()
    while True:
        heeded = set(_heeded(trace, weights, dead))
        more = {g for g in groups - dead if g not in trace.reasons and g not in heeded}
        if not more:
            break
        dead |= more
    for axes in trace.axes.values():  # a layer keeps one unit
        for ids in axes.ids.values():
            roots = [trace.find(unit) for unit in ids.flatten().tolist()]
            if roots and all(root in dead for root in roots):
                dead.discard(roots[0])
    return dead


def _heeded(trace: UnitTrace, weights: Mapping[str, Tensor], dead: set[int]) -> Iterator[int]:
    """The units whose value a living unit of some map reads and that no bias can stand for."""
    uses = [m.weight for m in trace.maps]
    for m in trace.maps:
        alive = torch.tensor([trace.find(u) not in dead for u in m.outputs.tolist()])
        w = _oriented(weights[m.weight], m).cpu()
        read = (w[alive] != 0).any(0) if len(alive) else torch.zeros(w.size(1), dtype=torch.bool)
        can_move = uses.count(m.weight) == 1 and _has_own_bias(m)
        known = m.inputs.value.isfinite() if can_move else m.inputs.value == 0
        for unit in m.inputs.ids[read & ~known].tolist():
            yield trace.find(unit)


def _oriented(weight: Tensor, m: Map) -> Tensor:
    """The weight as [out, in]."""
    return weight if m.outputs_first else weight.T


def _has_own_bias(m: Map) -> bool:
    """Whether the map is that of a module which has a bias or can be given one."""
    return m.outputs_first and m.weight.rpartition(".")[2] == "weight"


def move_constants(trace: UnitTrace, dead: set[int], model: nn.Module) -> None:
    """Add what dead units are, where it is not 0, to the biases of the maps that read them."""
    for m in trace.maps:
        gone = torch.tensor([trace.find(u) in dead for u in m.inputs.ids.tolist()])
        moved = torch.where(gone & m.inputs.value.isfinite(), m.inputs.value, 0.0)
        if not moved.any():
            continue
        layer = model.get_submodule(m.weight.rpartition(".")[0])
        weight = model.get_parameter(m.weight)
        more = weight @ moved.to(weight)
        if m.bias:
            model.get_parameter(m.bias).add_(more)
        elif more.any():
            layer.bias = nn.Parameter(more, requires_grad=False)
            axes = Axes(f"{m.weight.rpartition('.')[0]}.bias", layer.bias, {0: m.outputs})
            trace.axes[id(layer.bias)] = axes


def _is_in(ids: Tensor, dead: set[int], trace: UnitTrace) -> Tensor:
    """Which units are dead, shaped like `ids`."""
    flat = [trace.find(unit) in dead for unit in ids.flatten().tolist()]
    return torch.tensor(flat, dtype=torch.bool).view(ids.shape)


def _cut(model: nn.Module, axes: Axes, trace: UnitTrace, dead: set[int]) -> None:
    """Take the entries of dead units out of a parameter or buffer, under all of its names."""
    t = axes.tensor
    for dim, ids in axes.ids.items():
        kept = (~_is_in(ids, dead, trace)).nonzero().squeeze(1).to(t.device)
        t = t.index_select(dim, kept)
    if t is axes.tensor or t.shape == axes.tensor.shape:
        return
    new = nn.Parameter(t, False) if isinstance(axes.tensor, nn.Parameter) else t
    for module in model.modules():
        named: list[dict[str, Any]] = [module._parameters, module._buffers]
        for held in named:
            for name in [name for name, value in held.items() if value is axes.tensor]:
                held[name] = new
                _update_sizes(module, name, t)


def _update_sizes(module: Any, name: str, t: Tensor) -> None:
    """Write the new sizes where a layer names its own."""
    if name == "weight" and t.dim() == 2:
        for size, dim in SIZES.items():
            if isinstance(getattr(module, size, None), int):
                setattr(module, size, t.size(dim))
    elif name in ("weight", "running_mean") and hasattr(module, "num_features"):
        module.num_features = t.numel()


def _report(trace: UnitTrace, dead: set[int]) -> tuple[dict[str, int], dict[str, str]]:
    """By weight that makes them, how many units are gone, and why others stay."""
    removed: dict[str, int] = {}
    whole: dict[str, str] = {}
    for m in trace.maps:
        gone = int(_is_in(m.outputs, dead, trace).sum())
        if gone:
            removed[m.weight] = gone
        reasons = {trace.reasons.get(trace.find(u), "") for u in m.outputs.tolist()}
        if reasons != {""}:
            whole[m.weight] = "; ".join(sorted(reasons - {""}))
    return removed, whole


def difference(
    model: nn.Module, small: nn.Module, call: Call, features: Inputs, inputs: Inputs
) -> str:
    """How `small`, which is given some features, differs from `model`; "" if it does not.

    In float64, on the inputs and on random ones.
    """
    draw = torch.Generator().manual_seed(0)
    noise = {n: torch.randn(x.shape, generator=draw).to(x) for n, x in inputs.items()}
    for given in (inputs, noise):
        less = {n: x[:, features[n].to(x.device)] for n, x in given.items()}
        try:
            outputs = _outputs(model, call, given), _outputs(small, call, less)
        except Exception as error:  # the model's own code can raise anything
            first = (str(error).splitlines() or [""])[0]
            return f"without dead units it raises {type(error).__name__}: {first}"
        for a, b in zip(*outputs, strict=True):
            size = max(1.0, float(a.abs().max())) if a.numel() else 1.0
            if a.shape != b.shape or not torch.allclose(
                a, b, rtol=0, atol=CLOSE * size, equal_nan=True
            ):
                return "without dead units it computes something else"
    return ""


def _outputs(model: nn.Module, call: Call, inputs: Inputs) -> list[Tensor]:
    """The numbers that a copy of `model` in float64 returns."""
    wide = copy.deepcopy(model).double()
    with undisturbed(wide):
        torch.manual_seed(0)
        return [t for t in tensors_in(call(wide, inputs)) if t.is_floating_point()]
