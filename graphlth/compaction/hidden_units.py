"""The hidden units of a model on graphs that can go as a whole: their weights, scores and masks.

Of graphlth's models they are told by the method `hidden_layers`, of any other by one forward pass
(see `graphlth.compaction.units`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from graphlth.arguments import reads_data
from graphlth.compaction.layers import HiddenLayer
from graphlth.compaction.own_models import call_on_data, call_on_graph
from graphlth.compaction.smaller import trace_units
from graphlth.compaction.units import UnitTrace
from graphlth.masks import Masks, ones
from graphlth.model import UnitModel, takes_graph
from graphlth.task import Task


def hidden_layers(model: nn.Module, task: Task) -> list[HiddenLayer]:
    """The layers of hidden units of `model` that can go; none of a model that keeps them all."""
    if isinstance(model, UnitModel):
        return model.hidden_layers()
    batch = next(iter(task.batches("val")))
    if takes_graph(model) or batch.entries is None:
        return []
    if reads_data(model, batch):
        call, inputs = call_on_data(batch)
    else:
        x, graph = batch.inputs
        call, inputs = call_on_graph(x, graph, batch.edge_weight)
    with torch.no_grad():
        trace, _ = trace_units(model, call, inputs)
    return [*_layers(trace, {n for n, p in model.named_parameters() if p.requires_grad})]


def _layers(trace: UnitTrace, trained: set[str]) -> Sequence[HiddenLayer]:
    """The units that no operation holds, by the parameters that they have entries in."""
    places: dict[int, set[tuple[str, int]]] = {}
    for axes in trace.axes.values():
        for dim, ids in axes.ids.items():
            for unit in {trace.find(each) for each in ids.flatten().tolist()}:
                places.setdefault(unit, set()).add((axes.name, dim))
    makers = {m.weight: trace.roots(m.outputs) for m in trace.maps}
    groups: dict[frozenset[tuple[str, int]], list[int]] = {}
    for unit, where in places.items():
        if not trace.is_held(unit) and any(unit in made for made in makers.values()):
            groups.setdefault(frozenset(where), []).append(unit)
    return [_layer(trace, units, where, makers, trained) for where, units in groups.items()]


def _layer(
    trace: UnitTrace, units: list[int], where: frozenset[tuple[str, int]],
    makers: Mapping[str, set[int]], trained: set[str],
) -> HiddenLayer:  # fmt: skip
    number = {unit: i for i, unit in enumerate(sorted(units))}
    made = [name for name, roots in makers.items() if roots & number.keys()]
    layer = HiddenLayer(made[0].removesuffix(".weight"), len(units))
    for axes in trace.axes.values():
        for dim, ids in axes.ids.items():
            if (axes.name, dim) not in where or axes.name not in trained:
                continue
            flat = [number.get(trace.find(each), -1) for each in ids.flatten().tolist()]
            shape = [1] * axes.tensor.dim()
            shape[dim] = -1
            entries = torch.tensor(flat).view(shape).to(axes.tensor.device)
            out = next((m.outputs_first for m in trace.maps if m.weight == axes.name), None)
            if axes.name in made and out is not None and dim == (0 if out else 1):
                layer.makers[axes.name] = entries
            else:
                layer.others.append((axes.name, entries))
            if axes.name in trace.scales:
                layer.scales.append(axes.name)
    return layer


# --- scores and masks ----------------------------------------------------------------------------


def unit_filter_norms(model: nn.Module, layers: Sequence[HiddenLayer]) -> dict[str, Tensor]:
    """The L1 norm of the weights that make each unit [C], by layer."""
    values = dict(model.named_parameters())
    return {
        layer.name: sum_by_unit({n: values[n].detach().abs() for n in layer.makers}, layer)
        for layer in layers
    }


def unit_norm_scales(model: nn.Module, layers: Sequence[HiddenLayer]) -> dict[str, Tensor]:
    """|γ| of each unit [C] that BatchNorm follows, by layer."""
    values = dict(model.named_parameters())
    scales = {}
    for layer in layers:
        if layer.scales:
            entries = next(e for n, e in layer.others if n == layer.scales[0])
            name = layer.scales[0]
            norm = HiddenLayer(layer.name, layer.size, {name: entries})
            scales[layer.name] = sum_by_unit({name: values[name].detach().abs()}, norm)
    return scales


def sum_by_unit(values: Masks, layer: HiddenLayer) -> Tensor:
    """The sum [C] of the entries that make each unit, of `values` of these parameters."""
    total = torch.zeros(layer.size)
    for name, entries in layer.makers.items():
        index = entries.expand(values[name].shape).flatten()
        inside = index >= 0
        added = values[name].flatten()[inside].to(total)
        total.index_add_(0, index[inside].to(total.device), added)
    return total


def surviving_units(layers: Sequence[HiddenLayer], masks: Masks) -> dict[str, Tensor]:
    """Which units [C] have a weight left that makes them, by layer."""
    return {layer.name: sum_by_unit(masks, layer) > 0 for layer in layers}


def expand_units(
    model: nn.Module, layers: Sequence[HiddenLayer], kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The masks of the parameters of `model` under those of whole units [C], by layer.

    A unit takes with it the weights that make it and those that read it, its biases, and the scale
    and shift of its norm, so these are named too.
    """
    values, masks = dict(model.named_parameters()), ones(model)
    for layer in layers:
        if layer.name not in kept:
            continue
        for name, entries in [*layer.makers.items(), *layer.others]:
            alive = torch.cat([kept[layer.name].float().cpu(), torch.ones(1)])[entries.cpu()]
            mask = masks.get(name, torch.ones_like(values[name], requires_grad=False))
            masks[name] = mask * alive.to(mask)
    return masks
