"""The normalised adjacency of GCN, which several models share."""

import torch
from torch import Tensor

from graphlth.edge_masks import EdgeMask, map_edges
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import normalise


def gcn_norm(
    graph: Graph, weight: EdgeMask | None, *, dtype: torch.dtype, side: str = "in", backend: str
) -> EdgeMask:
    """The edge weights [E + N] of `D^-½ (A ⊙ m + I) D^-½`, differentiable in m.

    Args:
        graph: A + I: it ends with its N loops, which have no mask.
        weight: m [E], or a tuple of one for each layer; None counts every edge once.
        dtype: that of the result without `weight`.
        side: D counts the edges into a node ("in") or out of it ("out").
        backend: the kernel's backend.
    """
    how = {"side": side, "backend": backend}
    known = map_edges(lambda w: normalise(graph, w, **how), weight)
    if known is not None:
        return known

    def constant() -> Tensor:
        return normalise(graph, torch.ones(graph.num_edges, dtype=dtype).to(graph.device), **how)

    return graph.constant((dtype, side), constant)
