"""Gather, multiply, `index_add`: what the other backends are compared with."""

from torch import Tensor

from graphlth.sparse.backend import Backend
from graphlth.sparse.graph import Graph


class Reference(Backend):
    """Gather, multiply and `index_add`."""

    def weighted_sum(self, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        """`A(weight) @ x` for `x` [N, d] and `weight` [E] or None."""
        source, target = graph.edge_index
        message = x[source] if weight is None else weight.unsqueeze(-1) * x[source]  # [E, d]
        return x.new_zeros(graph.num_nodes, x.size(1)).index_add(0, target, message)


BACKEND = Reference()
