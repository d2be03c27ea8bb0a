"""SynFlow (Tanaka et al., NeurIPS 2020, arXiv:2006.05467)."""

from copy import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from graphlth.edge_masks import map_edges
from graphlth.masks import Masks
from graphlth.scores.weights._gradient import gradient, masked_copy
from graphlth.sparse.features import Features
from graphlth.task import Batch, Later, Task, apply_edge_masks
from graphlth.training.forward import forward


def synflow(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """|∂R/∂θ ⊙ θ| with R = Σ f(1), where f has the weights |θ|, and its input is all ones.

    The sum of the strengths of all paths through a weight. It reads no data but the shape and the
    graph of the first training batch: on a graph every feature of every node is 1, elsewhere the
    input is one example. In float64 and in evaluation mode; of networks whose activations are
    homogeneous and whose biases are 0, the scores into a unit add up to those out of it.
    """
    net, theta = masked_copy(model, masks)
    if not theta:
        return {}
    net.eval().double()
    for p in net.parameters():
        p.detach().abs_()
    task = apply_edge_masks(task, masks)
    r = forward(net, batch_of_ones(next(iter(task.batches("train")))), {}).sum()
    return {n: (g * theta[n].detach()).abs() for n, g in gradient(r, theta).items()}


def batch_of_ones(batch: Batch) -> Batch:
    """`batch` with ones for its features, edge weights as they are; elsewhere, of one example."""
    count = 1 if batch.entries is None else None
    weight = map_edges(Tensor.double, batch.edge_weight)
    inputs = tuple(_ones(x, count) for x in batch.inputs)
    data = Later(lambda: batch.data and copy(batch.data).apply(_ones_of_features))
    return replace(batch, inputs=inputs, edge_weight=weight, data=data)


def _ones_of_features(value: Tensor) -> Tensor:
    """Ones for what describes nodes and edges, [n, d]; weights of edges as they are."""
    if not value.is_floating_point():
        return value
    return value.double() if value.dim() < 2 else torch.ones_like(value, dtype=torch.float64)


def _ones(x: object, count: int | None) -> object:
    if isinstance(x, Features):
        return torch.ones(x.shape, dtype=torch.float64, device=x.values.device)
    if isinstance(x, Tensor) and x.is_floating_point():
        return torch.ones_like(x[:count], dtype=torch.float64)
    return x
