"""The normalised adjacency of GCN, which several models share."""

import torch
from torch import Tensor

from graphlth.sparse.graph import Graph
from graphlth.sparse.message import normalise


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
    how = {"side": side, "backend": backend}
    if weight is not None:
        return normalise(graph, weight, **how)

    def constant() -> Tensor:
        return normalise(graph, torch.ones(graph.num_edges, dtype=dtype).to(graph.device), **how)

    return graph.constant((dtype, side), constant)
