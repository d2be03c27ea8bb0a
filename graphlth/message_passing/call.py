"""What an operator is called with while its edges are masked, and graphs kept for later calls."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from graphlth.message_passing.loops import LoopCache
from graphlth.sparse.graph import Graph

Size = tuple[int, int]


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
        for number, (known, version, graph) in reversed(self._graphs.items()):
            if graph.size == size and _equal(known, version, graph, edge_index):
                self._graphs.move_to_end(number)
                return graph
        graph = Graph(edge_index.clone(), size)
        self._graphs[self._next] = edge_index, edge_index._version, graph
        self._next += 1
        if len(self._graphs) > self._most:
            self._graphs.popitem(last=False)
        return graph

    def __len__(self) -> int:
        return len(self._graphs)


def _equal(known: Tensor, version: int, graph: Graph, edge_index: Tensor) -> bool:
    if known is edge_index and known._version == version:
        return True
    kept = graph.edge_index
    return (
        kept.shape == edge_index.shape
        and kept.device == edge_index.device
        and bool((kept == edge_index).all())
    )


@dataclass(frozen=True)
class Call:
    """One call of an operator's `propagate` or `edge_updater`."""

    edge_index: Tensor  # [2, E'] with the loops that the layer has added
    kwargs: Mapping[str, Any]  # what it was called with besides, but for `size`
    size: tuple[int | None, int | None] | None
    weight: Tensor | None  # [E'] of each of these edges, 1 of loops added; None: not masked
    graph: Callable[[], Graph]  # of edge_index by the operator's flow; the same over the passes
    returns_attention: bool = False  # whether the operator is asked for its attention, too
