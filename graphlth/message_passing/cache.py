"""What the passes of one training over the same edges share: graphs, and loops found in them."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor

from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo

Size = tuple[int, int]


class Split(NamedTuple):
    """The edges of an edge_index [2, E] without its loops."""

    rest: Tensor  # [2, E']
    edges: Tensor | None  # [E'] which of the edges these are; None: all
    loops: Tensor  # [L] which of the edges are loops
    is_single: bool  # whether no node has two of them


class LoopCache:
    """The edges without loops, and with one for every node, of each edge_index, by identity."""

    def __init__(self) -> None:
        self._splits: Memo[Split] = Memo()
        self._sums: dict[int, Memo[Tensor]] = {}

    def split(self, edge_index: Tensor) -> Split:
        """`edge_index` without loops, in memory of its own."""
        return self._splits(edge_index, lambda: _split(edge_index))

    def extend(self, edge_index: Tensor, num_nodes: int) -> Tensor:
        """`edge_index` and, after its edges, a loop for each of `num_nodes` nodes."""
        memo = self._sums.setdefault(num_nodes, Memo())
        return memo(edge_index, lambda: _extend(edge_index, num_nodes))


def _split(edge_index: Tensor) -> Split:
    is_loop = edge_index[0] == edge_index[1]
    edges, loops = (~is_loop).nonzero().view(-1), is_loop.nonzero().view(-1)
    if not len(loops):
        return Split(edge_index.clone(), None, loops, True)
    single = len(edge_index[0][loops].unique()) == len(loops)
    return Split(edge_index[:, edges], edges, loops, single)


def _extend(edge_index: Tensor, num_nodes: int) -> Tensor:
    loops = torch.arange(num_nodes, dtype=edge_index.dtype, device=edge_index.device)
    return torch.cat([edge_index, loops.expand(2, -1)], dim=1)


class GraphCache:
    """The graphs of the edges that operators were called with, over the passes of a training.

    Args:
        most: how many graphs are kept; the one that was asked for longest ago goes first.
    """

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._graphs: OrderedDict[int, tuple[Tensor, int, Graph]] = OrderedDict()
        self._next = 0
        self.loops = LoopCache()

    def graph(self, edge_index: Tensor, size: Size) -> Graph:
        """The graph of `edge_index` [2, E], from sources to targets, of (sources, targets) nodes.

        It is the same object while the edges are equal.
        """
        return self._find(edge_index, size) or self._keep(edge_index, edge_index.clone(), size)

    def incidence(self, index: Tensor, count: int) -> Graph:
        """The graph from E rows to the `count` that they are added to, by `index` [E]."""
        size = len(index), count
        found = self._find(index, size)
        if found is not None:
            return found
        return self._keep(index, torch.stack([torch.arange(size[0]).to(index), index]), size)

    def _find(self, index: Tensor, size: Size) -> Graph | None:
        for number, (known, version, graph) in reversed(self._graphs.items()):
            if graph.size == size and known.dim() == index.dim():
                kept = graph.edge_index[1] if index.dim() == 1 else graph.edge_index
                is_known = known is index and known._version == version
                if is_known or _is_equal(kept, index):
                    self._graphs.move_to_end(number)
                    return graph
        return None

    def _keep(self, index: Tensor, edge_index: Tensor, size: Size) -> Graph:
        graph = Graph(edge_index, size)
        self._graphs[self._next] = index, index._version, graph
        self._next += 1
        if len(self._graphs) > self._most:
            self._graphs.popitem(last=False)
        return graph

    def __len__(self) -> int:
        return len(self._graphs)


def _is_equal(kept: Tensor, index: Tensor) -> bool:
    return kept.device == index.device and kept.shape == index.shape and bool((kept == index).all())
