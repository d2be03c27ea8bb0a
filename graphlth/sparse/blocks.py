"""The part of a graph that some nodes' outputs depend on, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from graphlth.sparse import vmap
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo

MOST = 0.75  # of all nodes: a copy of the features of more than these saves too little


@dataclass(frozen=True, eq=False)
class Block:
    """The edges into some nodes, as one layer of a network needs them.

    PyG and DGL call it a message-flow-graph block. Without `edges` and `nodes` it is the graph.
    """

    graph: Graph  # bipartite: from the nodes of the layer before to these
    edges: Tensor | None = None  # [E'] which edges of the whole graph; None: all
    nodes: Tensor | None = None  # [R] these nodes' numbers in the layer before; None: all
    _features: Memo[Features] = field(default_factory=Memo, repr=False)
    _rows: Memo[Tensor] = field(default_factory=Memo, repr=False)
    _positions: Memo[Tensor | None] = field(default_factory=Memo, repr=False)

    def select_edges(self, values: Tensor) -> Tensor:
        """The rows of `values` [E, ...], given for the whole graph, of these edges: [E', ...]."""
        return values if self.edges is None else values.index_select(0, self.edges)

    def select_nodes(self, values: Tensor) -> Tensor:
        """The rows of `values`, given for the nodes of the layer before, of these nodes."""
        return values if self.nodes is None else values.index_select(0, self.nodes)

    def select_features(self, x: Features) -> Features:
        """The rows of `x` that this block reads: of its edges' sources and of its own nodes."""
        if self.edges is None or self.nodes is None:
            return x
        return self._features(x, lambda: self._select_rows(x))

    def _select_rows(self, x: Features) -> Features:
        rows = self.row_mask if x.row_mask is None else self.row_mask & x.row_mask
        entries = rows[x.graph.edge_index[1]].nonzero().squeeze(1)
        return x.select(entries, rows, x.graph.subgraph(entries))

    def restrict(self, x: Tensor | Features) -> tuple[Block, Tensor | Features]:
        """This block and `x`, as the first layer needs them: without rows that it does not read.

        Of dense features, rows are left out where that saves enough, and the sources of the block
        are then those that stay.
        """
        if isinstance(x, Features):
            return self, self.select_features(x)
        if self.smaller is None:
            return self, x
        block, nodes = self.smaller
        if x.requires_grad or vmap.inside():
            return block, x.index_select(0, nodes)
        return block, self._rows(x, lambda: x.index_select(0, nodes))

    @cached_property
    def row_mask(self) -> Tensor:
        """[N] whether a node of the layer before is a source of these edges, or one of these."""
        read = torch.zeros(self.graph.num_sources, dtype=torch.bool, device=self.graph.device)
        read[self.graph.edge_index[0]] = True
        return read.fill_(True) if self.nodes is None else read.index_fill(0, self.nodes, True)

    @cached_property
    def smaller(self) -> tuple[Block, Tensor] | None:
        """This block from the nodes of `row_mask` only, and their numbers; None if most are."""
        nodes = self.row_mask.nonzero().squeeze(1)
        if nodes.numel() > MOST * self.graph.num_sources:
            return None
        position = self.row_mask.cumsum(0) - 1
        source, target = self.graph.edge_index
        ends, size = torch.stack([position[source], target]), (nodes.numel(), self.graph.num_nodes)
        return Block(Graph(ends, size), self.edges, self.select_nodes(position)), nodes

    def positions_in(self, other: Block) -> Tensor | None:
        """[R] each of these nodes' position among those of `other`, −1 for none of them.

        None if `other` has nodes that are none of these. Both are first blocks of their layers.
        """
        return self._positions(other, lambda: _positions(self, other))


def _positions(block: Block, other: Block) -> Tensor | None:
    if other.nodes is None:
        return None
    position = torch.full((block.graph.num_sources,), -1, device=other.nodes.device)
    position[other.nodes] = torch.arange(other.nodes.numel(), device=other.nodes.device)
    position = block.select_nodes(position)
    return position if int((position >= 0).sum()) == other.nodes.numel() else None


def blocks(graph: Graph, depth: int, rows: Tensor | None = None) -> list[Block]:
    """For each of `depth` layers, the part of `graph` that the nodes `rows` depend on.

    The first starts from all nodes; each next one from the nodes that the one before gave. Blocks
    of the same tensor `rows` are built once.

    Args:
        graph: the whole graph.
        depth: the number of layers.
        rows: [R], no node twice; None asks for all nodes.
    """
    if rows is None:
        return [Block(graph)] * depth
    memo: Memo[list[Block]] = graph.constant(("blocks", depth), Memo)
    return memo(rows, lambda: _blocks(graph, depth, rows.clone()))  # a memo's value holds no key


def _blocks(graph: Graph, depth: int, rows: Tensor) -> list[Block]:
    """Built from the last layer back: each needs what it reads from the one before."""
    found: list[Block] = []
    position = torch.full((graph.num_nodes,), -1, device=graph.device)
    for layer in reversed(range(depth)):
        position.fill_(-1)[rows] = torch.arange(rows.numel(), device=graph.device)
        edges = (position[graph.edge_index[1]] >= 0).nonzero().squeeze(1)
        source, target = graph.edge_index[:, edges]
        target, nodes, size = position[target], rows, graph.num_sources
        if layer:
            needed = torch.cat([rows, source]).unique()
            position[needed] = torch.arange(needed.numel(), device=graph.device)
            source, nodes, size = position[source], position[rows], needed.numel()
        ends = Graph(torch.stack([source, target]), (size, rows.numel()))
        found.append(Block(ends, edges, nodes))
        rows = needed if layer else rows
    return found[::-1]
