"""How the matrix A of a layer follows from a graph: the loops that the model adds, and the norm.

All of it in torch's own operators, which `torch.export` takes for any graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphlth.edge_masks import EdgeMask, per_layer

NORMS = ("sum", "mean", "in", "out")


@dataclass(frozen=True)
class Adjacency:
    """A of a graph whose edges have the weights m [E], each loop among them.

    By `norm`, the entry of edge e = (s, t) is

    - "sum": m_e;
    - "mean": m_e / Σ m over the edges into t, and 0 where that sum is 0;
    - "in" and "out": d_s^-½ m_e d_t^-½, where d_i = Σ m over the edges into node i, or out of it.
    """

    norm: str
    loops: Tensor | None = None  # [1] m of a loop at every node, or [layers]; None: there are none

    def add_loops(self, edge_index: Tensor, num_nodes: int) -> Tensor:
        """The edges [2, E'] of A: those of the graph, then the loops if there are any."""
        if self.loops is None:
            return edge_index
        loops = torch.arange(num_nodes, device=edge_index.device)
        return torch.cat([edge_index, loops.expand(2, -1)], dim=1)

    def weigh(
        self, edge_index: Tensor, weight: EdgeMask | None, num_nodes: int, layers: int,
        dtype: torch.dtype,
    ) -> list[Tensor]:  # fmt: skip
        """The entries [E'] of A of each layer; the same tensor where layers do not differ.

        Args:
            edge_index: the edges with their loops [2, E'].
            weight: m [E] without loops, a tensor or one for each layer; None: all are 1.
            num_nodes: N.
            layers: how many there are.
            dtype: of the entries.
        """
        if weight is None:
            count = edge_index.size(1) - (0 if self.loops is None else num_nodes)
            weight = torch.ones(count, dtype=dtype, device=edge_index.device)
        loops = [None] if self.loops is None else [*self.loops.to(dtype).unsqueeze(1)]
        alike = isinstance(weight, Tensor) and len(loops) == 1
        count = 1 if alike else layers
        pairs = zip(per_layer(weight, count), loops * (count // len(loops)), strict=True)
        entries = [self._weigh(edge_index, m.to(dtype), loop, num_nodes) for m, loop in pairs]
        return entries * (layers // count)

    def _weigh(
        self, edge_index: Tensor, m: Tensor, loop: Tensor | None, num_nodes: int
    ) -> Tensor:  # fmt: skip
        source, target = edge_index[0], edge_index[1]
        m = m if loop is None else torch.cat([m, loop.expand(num_nodes)])
        if self.norm == "sum":
            return m
        ends = source if self.norm == "out" else target
        total = m.new_zeros(num_nodes).index_add(0, ends, m)  # [N]
        if self.norm == "mean":
            return m / total.where(total > 0, torch.ones_like(total)).index_select(0, target)
        root = torch.where(total > 0, total.clamp(min=1e-12).rsqrt(), torch.zeros_like(total))
        return root.index_select(0, source) * m * root.index_select(0, target)
