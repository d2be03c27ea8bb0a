"""Multiply–accumulates of one forward pass: of a whole graph, or of one input elsewhere.

Without a graph they are counted by looking at every operation of one pass: every product of a
weight counts, in whatever layer or expression. A weight that is used in a way that is not known
here makes the answer a reason instead of numbers, so that no answer is too low.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten

from graphlth.cost.own_models import own_macs
from graphlth.cost.products import ProductCounter, without_fused_attention
from graphlth.edge_masks import edge_mask, is_edge_key
from graphlth.masks import Masks, matrices
from graphlth.model import CountableGraphModel, CountableModel, check_layers
from graphlth.model_checks import (
    check_arguments,
    check_initialised,
    check_masks,
    passing,
    undisturbed,
)
from graphlth.task import Batch, Task


def macs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | None:
    """Multiply–accumulates per layer under `masks`; None where they cannot be told.

    Without a graph those of `input_macs`, of an input of the task's `shape` (and `dtype`, if it has
    one: text has int64). On a graph as UGS counts them (arXiv:2102.06790), for a model
    with a method `macs`, or whose operators are PyG's and known (`graphlth.cost.own_models`):
    features count as dense, surviving weights and directed edges as what is left of them, and
    self-loops that the model adds always. Weights that are frozen count as well.
    Of many graphs it is the mean over those that are trained on, for a model with `graph_macs`.
    Where there are none `macs_reason` says why.

    Raises:
        ValueError: `model` is no model, `task` no task, or the model fails on such an input.
    """
    found = count_macs(model, task, masks)
    return None if isinstance(found, str) else found


def macs_reason(model: nn.Module, task: Task, masks: Masks) -> str:
    """Why `macs` is None, in a line; "" where it is not."""
    found = count_macs(model, task, masks)
    return found if isinstance(found, str) else ""


def count_macs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | str:
    """What `macs` gives or, where that is None, `macs_reason`."""
    if isinstance(task, nn.Module) or not hasattr(task, "shape"):
        check_arguments(model, task)
    check_initialised(model)
    if (shape := getattr(task, "shape", None)) is not None:
        return input_macs(model, tuple(shape), masks, getattr(task, "dtype", None))
    if next(iter(task.batches("test"))).of_graphs:
        return _mean_of_graphs(model, task, masks)
    if not isinstance(model, CountableModel):
        return own_macs(model, task, masks)
    check_layers(model, masks)
    check_masks(model, getattr(task, "num_edges", None), masks)
    batch = next(iter(task.batches("test")))
    nodes = batch.inputs[0].shape[0]
    per_layer: dict[str, int] = model.macs(
        nodes, _count_edges(batch, masks), _count_kept(model, masks)
    )
    return per_layer


def _mean_of_graphs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | str:
    """Multiply–accumulates of a training graph, whose edges the masks are of: the mean of all."""
    if not isinstance(model, CountableGraphModel):
        return (f"{type(model).__name__} has no method graph_macs(num_graphs, num_nodes, num_edges,"
                " nnz) that tells what it computes on graphs")  # fmt: skip
    check_masks(model, task.num_edges, masks)
    batches = list(task.whole("train"))
    edges = [_count_edges(batch, masks) for batch in batches]
    if not all(isinstance(count, int) for count in edges):
        return "masks of each layer are not counted on graphs"
    count = sum(len(batch.target) for batch in batches)
    nodes = sum(batch.inputs[0].shape[0] for batch in batches)
    total = model.graph_macs(count, nodes, sum(edges), _count_kept(model, masks))  # type: ignore[arg-type]
    return {layer: macs // count for layer, macs in total.items()}


def _count_edges(batch: Batch, masks: Masks) -> int | list[int]:
    """How many edges are kept, in all layers or in each."""
    mask, entries = edge_mask(masks), batch.entries
    if mask is None or entries is None:
        return 0 if entries is None else entries.numel()
    layers = [
        int(m[entries].count_nonzero()) for m in ([mask] if isinstance(mask, Tensor) else mask)
    ]
    return layers[0] if isinstance(mask, Tensor) else layers


@torch.no_grad()
def input_macs(
    model: nn.Module, shape: tuple[int, ...], masks: Masks, dtype: torch.dtype | None = None
) -> dict[str, int] | str:
    """Multiply–accumulates of one input of `shape`, for each weight; or why they cannot be told.

    A surviving weight counts once for each position of the output that it is used at, those at the
    border too, where it meets padding. Found by one pass of zeros through any model. Looking up an
    embedding or adding it costs none, and the products of two activations, as in attention, are
    left out; what the input looks up is an activation, but for a product with one that is not.
    """
    weights = matrices(model)
    x = next(model.parameters()).new_zeros(1, *shape, dtype=dtype)
    products = ProductCounter(weights, masks, x)
    with undisturbed(model), without_fused_attention(), passing(model, (x,), None):
        with products:
            model(x)
        unseen = {n: p for n, p in weights.items() if n not in products.seen}
        if unseen and not products.reason:  # not used at all, or by what is no torch operation
            unknown = {n: torch.full_like(p, torch.nan) for n, p in unseen.items()}
            outputs = tree_flatten(functional_call(model, unknown, (x,)))[0]
            if any(bool(t.isnan().any()) for t in outputs if isinstance(t, Tensor)):
                return f"{next(iter(unseen))!r} is used by something else than torch's operations"
    return products.reason or products.counted


def pass_macs(model: nn.Module, task: Task, masks: Masks) -> int | None:
    """The sum of `macs` over the layers; None where they cannot be told."""
    per_layer = macs(model, task, masks)
    return None if per_layer is None else sum(per_layer.values())


def _count_kept(model: nn.Module, masks: Masks) -> dict[str, int]:
    """How many entries of every weight survive."""
    nnz = {n: p.numel() for n, p in matrices(model).items()}
    return nnz | {n: int(m.count_nonzero()) for n, m in masks.items() if not is_edge_key(n)}
