"""torch-scatter's `segment_csr` over gathered messages."""

from torch import Tensor
from torch_scatter import segment_csr

from graphlth.sparse.backend import Backend
from graphlth.sparse.graph import Graph


class Scatter(Backend):
    """`segment_csr` of torch-scatter."""

    def weighted_sum(self, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        """`A(weight) @ x` for `x` [N, d] and `weight` [E] or None."""
        rows = graph.by_target
        message = x.index_select(0, rows.columns)  # [E, d]
        if weight is not None:
            message = rows.arrange(weight).unsqueeze(-1) * message
        return segment_csr(message, rows.offsets.long(), reduce="sum")


BACKEND = Scatter()
