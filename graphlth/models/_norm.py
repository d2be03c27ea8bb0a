"""The normalised adjacency of GCN, which several models share."""

import torch
from torch import Tensor

from graphlth.graph import Graph
from graphlth.message import at, degree


def normalised(
    graph: Graph, weight: Tensor | None, *, dtype: torch.dtype, side: str = "in", backend: str
) -> Tensor:
    """The edge weights [E + N] of `D^-½ (A ⊙ m + I) D^-½`, differentiable in m.

    Args:
        graph: A + I: it ends with its N loops, which have no mask.
        weight: m [E]; None counts every edge once.
        dtype: that of the result without `weight`.
        side: D counts the edges into a node ("in") or out of it ("out").
        backend: the kernel's backend.
    """
    ones = graph.constant(dtype, lambda: torch.ones(graph.num_edges, dtype=dtype).to(graph.device))
    if weight is None:
        return graph.constant((dtype, side), lambda: _normalised(graph, ones, side, backend))
    return _normalised(graph, torch.cat([weight, ones[weight.size(0) :]]), side, backend)


def _normalised(graph: Graph, w: Tensor, side: str, backend: str) -> Tensor:
    counted = graph if side == "in" else graph.reversed
    deg = degree(counted, w, dtype=w.dtype, backend=backend)
    root = torch.where(deg > 0, deg.clamp(min=1e-12).rsqrt(), 0)
    source, target = graph.edge_index
    return at(root, source) * w * at(root, target)
