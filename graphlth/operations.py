"""Multiply–accumulates of one forward pass: of a whole graph, or of one input elsewhere."""

from typing import Any

import torch
from torch import Tensor, nn

from graphlth.masks import EDGES, Masks, prunable
from graphlth.task import Task


def macs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | None:
    """Multiply–accumulates per layer under `masks`; None where they cannot be told.

    Without a graph those of `input_macs`, of an input of the task's `shape` (and `dtype`, if it has
    one: text has int64). On a graph as UGS counts them (arXiv:2102.06790), for a model
    with a method `macs`: features count as dense, surviving weights and directed edges as what is
    left of them, and self-loops that the model adds always.
    """
    if (shape := getattr(task, "shape", None)) is not None:
        return input_macs(model, tuple(shape), masks, getattr(task, "dtype", None))
    count: Any = getattr(model, "macs", None)
    if count is None:
        return None
    batch = next(iter(task.batches("test")))
    nodes = batch.inputs[0].shape[0]
    edges = 0 if batch.entries is None else batch.entries.numel()
    if EDGES in masks and batch.entries is not None:
        edges = int(masks[EDGES][batch.entries].count_nonzero())
    per_layer: dict[str, int] = count(nodes, edges, _kept(model, masks))
    return per_layer


@torch.no_grad()
def input_macs(
    model: nn.Module, shape: tuple[int, ...], masks: Masks, dtype: torch.dtype | None = None
) -> dict[str, int]:
    """Multiply–accumulates of one input of `shape`, for each weight of a convolution or linear map.

    A surviving weight counts once for each position of the output that it is used at, those at the
    border too, where it meets padding. Found by one pass of zeros through any model. Looking up an
    embedding costs none, and the products of two activations, as in attention, are left out.
    """
    kept, names = _kept(model, masks), {p: n for n, p in model.named_parameters()}
    counted: dict[str, int] = {}

    def count(layer: Any, _: Any, output: Tensor) -> None:
        name = names[layer.weight]
        positions = output.numel() // layer.weight.size(0)
        counted[name] = counted.get(name, 0) + positions * kept[name]

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    like, training = next(model.parameters()), model.training
    try:
        model.eval()(like.new_zeros(1, *shape, dtype=dtype))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return counted


def pass_macs(model: nn.Module, task: Task, masks: Masks) -> int | None:
    """The sum of `macs` over the layers; None where they cannot be told."""
    per_layer = macs(model, task, masks)
    return None if per_layer is None else sum(per_layer.values())


def _kept(model: nn.Module, masks: Masks) -> dict[str, int]:
    """How many entries of every weight survive."""
    nnz = {n: p.numel() for n, p in prunable(model).items()}
    return nnz | {n: int(m.count_nonzero()) for n, m in masks.items() if n != EDGES}
