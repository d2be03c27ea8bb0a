"""Multiply–accumulates of one full-graph forward pass, as UGS counts them (arXiv:2102.06790)."""

from typing import Any

from graphlth.masks import EDGES, Masks, prunable
from graphlth.task import Task


def macs(model: Any, task: Task, masks: Masks) -> dict[str, int] | None:
    """Multiply–accumulates per layer under `masks`, sparse aggregation included.

    Features count as dense, surviving weights and directed edges as what is left of them, and
    self-loops that the model adds always. None for a model without a method `macs`.
    """
    if not hasattr(model, "macs"):
        return None
    batch = next(iter(task.batches("test")))
    nodes = batch.inputs[0].shape[0]
    edges = 0 if batch.entries is None else batch.entries.numel()
    if EDGES in masks and batch.entries is not None:
        edges = int(masks[EDGES][batch.entries].count_nonzero())
    nnz = {n: p.numel() for n, p in prunable(model).items()}
    nnz |= {n: int(m.count_nonzero()) for n, m in masks.items() if n != EDGES}
    per_layer: dict[str, int] = model.macs(nodes, edges, nnz)
    return per_layer
