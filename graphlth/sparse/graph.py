"""Graphs as compressed sparse rows, built once and shared by every product over them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor

from graphlth.sparse import vmap


class Graph:
    """A directed graph; edge `e` sends from `edge_index[0, e]` to `edge_index[1, e]`.

    Args:
        edge_index: [2, E] integers; edges may come in any order, repeat, and be self-loops.
        num_nodes: the number of nodes N, or `(num_sources, num_targets)` of a bipartite graph.

    Raises:
        ValueError: the shape, type or range of `edge_index` is wrong.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int | tuple[int, int]):
        sources, targets = num_nodes if isinstance(num_nodes, tuple) else (num_nodes, num_nodes)
        _check(edge_index, sources, targets)
        self.edge_index = edge_index.long()  # [2, E]
        self.num_sources, self.num_nodes = int(sources), int(targets)
        self._heads: dict[int, Graph] = {}
        self._blocks: dict[tuple[int, int], tuple[Tensor, list[Block]]] = {}
        self._constants: dict[Hashable, Tensor] = {}
        self._ahead: tuple[Tensor, Features, Features | None] | None = None
        self.learning: dict[int, Block] = {}  # by depth, the first block of the last training step

    @staticmethod
    def of(graph: Graph | Tensor, num_nodes: int) -> Graph:
        """`graph` itself, or the graph of an `edge_index` [2, E]."""
        return graph if isinstance(graph, Graph) else Graph(graph, num_nodes)

    @property
    def num_edges(self) -> int:
        """The number of edges E."""
        return self.edge_index.size(1)

    @property
    def size(self) -> tuple[int, int]:
        """`(num_sources, num_targets)`."""
        return self.num_sources, self.num_nodes

    @property
    def device(self) -> torch.device:
        """Where the structure lies."""
        return self.edge_index.device

    @cached_property
    def by_target(self) -> Rows:
        """Edges grouped by target: row i of the matrix that aggregates into node i."""
        return _rows(self.edge_index[1], self.edge_index[0], self.num_nodes)

    @cached_property
    def by_source(self) -> Rows:
        """Edges grouped by source: the transpose of `by_target`."""
        return _rows(self.edge_index[0], self.edge_index[1], self.num_sources)

    @cached_property
    def with_loops(self) -> Graph:
        """This graph and, as its last N edges, one self-loop for every node."""
        loops = torch.arange(self.num_nodes, device=self.device).expand(2, -1)
        return Graph(torch.cat([self.edge_index, loops], dim=1), self.num_nodes)

    @cached_property
    def reversed(self) -> Graph:
        """The graph whose edges, in the same order, run the other way."""
        other = Graph(self.edge_index.flip(0), (self.num_nodes, self.num_sources))
        vars(other).update(by_target=self.by_source, by_source=self.by_target)
        return other

    def heads(self, count: int) -> Graph:
        """`count` copies: copy h of node i is node `i · count + h`, and of edge e likewise."""
        if count not in self._heads:
            copy = torch.arange(count, device=self.device)
            edge_index = (self.edge_index.unsqueeze(-1) * count + copy).flatten(1)  # [2, E·count]
            size = (self.num_sources * count, self.num_nodes * count)
            self._heads[count] = Graph(edge_index, size)
        return self._heads[count]

    def blocks(self, depth: int, rows: Tensor | None = None) -> list[Block]:
        """For each of `depth` layers, the part of this graph that the nodes `rows` depend on.

        The first starts from all nodes; each next one from the nodes that the one before gave.
        `rows` [R] holds no node twice; None asks for all.
        """
        if rows is None:
            return [Block(self)] * depth
        key = id(rows), depth
        if key not in self._blocks:
            self._blocks[key] = rows, _blocks(self, depth, rows)  # `rows` stays: so does its id
        return self._blocks[key][1]

    def constant(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """`make()`, which depends on nothing but this graph and `key`: made once."""
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]

    def ahead(self, weight: Tensor, x: Features) -> Features | None:
        """`A(weight) x`, kept for the next call with the same; None where it fills up too much.

        The gradient of W in `A (x W)` is one product with its transpose, without the N × d numbers
        between the two. That pays while there are few edges, as those towards some `rows`.
        """
        if self._ahead is None or self._ahead[0] is not weight or self._ahead[1] is not x:
            self._ahead = weight, x, _ahead(self, weight, x)
        return self._ahead[2]

    def subgraph(self, keep: Tensor) -> Graph:
        """The graph of the edges where `keep` [E] is true; nodes stay."""
        return Graph(self.edge_index[:, keep], self.size)

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on `device`."""
        return Graph(self.edge_index.to(device), self.size)

    def __repr__(self) -> str:
        return f"Graph(num_nodes={self.num_nodes}, num_edges={self.num_edges})"


MOST = 0.75  # of all nodes; a copy of the features of more than these saves too little


@dataclass(frozen=True)
class Block:
    """The edges into some nodes, as one layer of a network needs them (None: all)."""

    graph: Graph  # from the nodes of the layer before to these
    edges: Tensor | None = None  # [E'] which edges of the whole graph
    nodes: Tensor | None = None  # [R] where these nodes lie among those of the layer before
    _features: dict[int, tuple[Features, Features]] = field(default_factory=dict, repr=False)
    _rows: list[tuple[Tensor, int, Tensor]] = field(default_factory=list, repr=False)
    _places: dict[int, tuple[Block, Tensor | None]] = field(default_factory=dict, repr=False)

    def of_edges(self, values: Tensor) -> Tensor:
        """What `values` [E, ...] of the whole graph are on these edges."""
        return values if self.edges is None else values.index_select(0, self.edges)

    def of_nodes(self, values: Tensor) -> Tensor:
        """What `values` of the layer before are on these nodes."""
        return values if self.nodes is None else values.index_select(0, self.nodes)

    def of_features(self, x: Features) -> Features:
        """`x`, of nodes that these edges start from, or that these are."""
        if self.edges is None or self.nodes is None:
            return x
        if id(x) not in self._features:
            read = self.read if x.read is None else self.read & x.read
            keep = read[x.graph.edge_index[1]]
            part = Features(x.graph.subgraph(keep), x.values[keep], read, x._known)
            self._features[id(x)] = x, part  # `x` stays: so does its id
        return self._features[id(x)][1]

    def reading(self, x: Tensor | Features) -> tuple[Block, Tensor | Features]:
        """This block and `x`, as the first layer needs them: without what it does not read.

        Of dense features, rows are left out where that saves enough, and the sources of the block
        are then those that stay.
        """
        if isinstance(x, Features):
            return self, self.of_features(x)
        if self.few is None:
            return self, x
        block, nodes = self.few
        if x.requires_grad or x.is_inference() or vmap.inside():
            return block, x.index_select(0, nodes)
        if not any(known is x and version == x._version for known, version, _ in self._rows):
            part = x.index_select(0, nodes)
            self._rows[:] = [(x, x._version, part)]  # one alone: every call may have its own `x`
        return block, self._rows[0][2]

    @cached_property
    def read(self) -> Tensor:
        """[N] whether a node is a source of these edges, or one of these itself."""
        read = torch.zeros(self.graph.num_sources, dtype=torch.bool, device=self.graph.device)
        read[self.graph.edge_index[0]] = True
        return read.fill_(True) if self.nodes is None else read.index_fill(0, self.nodes, True)

    @cached_property
    def few(self) -> tuple[Block, Tensor] | None:
        """This block from the nodes that are `read`, and their numbers; None if most are."""
        nodes = self.read.nonzero().squeeze(1)
        if nodes.numel() > MOST * self.graph.num_sources:
            return None
        place = self.read.cumsum(0) - 1
        source, target = self.graph.edge_index
        ends, size = torch.stack([place[source], target]), (nodes.numel(), self.graph.num_nodes)
        return Block(Graph(ends, size), self.edges, self.of_nodes(place)), nodes

    def places(self, part: Block) -> Tensor | None:
        """[R] where each of these nodes lies among those of `part`, or −1; None if some of its
        nodes are none of these. Both are the first of their blocks.
        """
        if id(part) not in self._places:
            self._places[id(part)] = part, _places(self, part)  # `part` stays: so does its id
        return self._places[id(part)][1]


def _places(block: Block, part: Block) -> Tensor | None:
    if part.nodes is None:
        return None
    place = torch.full((block.graph.num_sources,), -1, device=part.nodes.device)
    place[part.nodes] = torch.arange(part.nodes.numel(), device=part.nodes.device)
    place = block.of_nodes(place)
    return place if int((place >= 0).sum()) == part.nodes.numel() else None


def _blocks(graph: Graph, depth: int, rows: Tensor) -> list[Block]:
    """Built from the last layer back: each needs what it reads from the one before."""
    found: list[Block] = []
    place = torch.full((graph.num_nodes,), -1, device=graph.device)
    for layer in reversed(range(depth)):
        place.fill_(-1)[rows] = torch.arange(rows.numel(), device=graph.device)
        edges = (place[graph.edge_index[1]] >= 0).nonzero().squeeze(1)
        source, target = graph.edge_index[:, edges]
        target, nodes, size = place[target], rows, graph.num_sources
        if layer:
            needed = torch.cat([rows, source]).unique()
            place[needed] = torch.arange(needed.numel(), device=graph.device)
            source, nodes, size = place[source], place[rows], needed.numel()
        found.append(
            Block(Graph(torch.stack([source, target]), (size, rows.numel())), edges, nodes)
        )
        rows = needed if layer else rows
    return found[::-1]


@dataclass(frozen=True)
class Rows:
    """One grouping of a graph's edges, as compressed sparse rows."""

    offsets: Tensor  # [R + 1]
    columns: Tensor  # [E]
    order: Tensor | None  # [E] the edge at each position; None where edges already lie in order
    position: Tensor | None  # [E] the position of each edge, the inverse of `order`
    _cuts: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def count(self) -> int:
        """The number of edges E."""
        return self.columns.numel()

    @cached_property
    def arrays(self) -> tuple[Any, Any]:
        """`offsets` and `columns` as NumPy arrays, which share their memory."""
        return self.offsets.numpy(), self.columns.numpy()

    def cut(self, count: int, num_columns: int) -> Tensor:
        """[R · count + 1] where each row's edges begin to each of `count` ranges of columns."""
        if count not in self._cuts:
            rows = self.offsets.numel() - 1
            row = torch.arange(rows, device=self.columns.device)
            row = row.repeat_interleave(self.offsets.diff())  # [E]
            part = row * count + self.columns // -(-num_columns // count)
            cut = self.offsets.new_zeros(rows * count + 1)
            cut[1:] = torch.bincount(part, minlength=rows * count).cumsum(0)
            self._cuts[count] = cut
        return self._cuts[count]

    def arrange(self, values: Tensor) -> Tensor:
        """`values` [E, ...], given by edge, by position."""
        return values if self.order is None else values.index_select(0, self.order)

    def restore(self, values: Tensor) -> Tensor:
        """`values` [E, ...], given by position, by edge."""
        return values if self.position is None else values.index_select(0, self.position)


def _rows(row: Tensor, column: Tensor, num_rows: int) -> Rows:
    count = column.numel()
    key = row * (int(column.max()) + 1 if count else 1) + column
    whole = torch.int32 if max(count, num_rows) < 1 << 31 else torch.int64  # half the traffic
    offsets = torch.zeros(num_rows + 1, dtype=whole, device=row.device)
    offsets[1:] = torch.bincount(row, minlength=num_rows).cumsum(0)
    if bool((key[1:] >= key[:-1]).all()):
        return Rows(offsets, column.to(whole), None, None)
    order = key.argsort(stable=True)
    position = torch.empty(count, dtype=whole, device=row.device)
    position[order] = torch.arange(count, dtype=whole, device=row.device)
    return Rows(offsets, column[order].to(whole), order.to(whole), position)


def _check(edge_index: Tensor, sources: int, targets: int) -> None:
    if not isinstance(edge_index, Tensor) or edge_index.dim() != 2 or edge_index.size(0) != 2:
        shape = list(edge_index.shape) if isinstance(edge_index, Tensor) else type(edge_index)
        raise ValueError(f"`edge_index` must be a tensor of shape [2, E], got {shape}")
    if edge_index.is_floating_point() or edge_index.dtype == torch.bool:
        raise ValueError(f"`edge_index` must hold integers, got {edge_index.dtype}")
    if sources < 0 or targets < 0:
        raise ValueError(f"`num_nodes` must be at least 0, got {min(sources, targets)}")
    for name, ends, limit in zip(
        ("sources", "targets"), edge_index, (sources, targets), strict=True
    ):
        if ends.numel() and not (0 <= int(ends.min()) and int(ends.max()) < limit):
            worst = int(ends.min()) if int(ends.min()) < 0 else int(ends.max())
            raise ValueError(f"`edge_index` must hold {name} in [0, {limit}), got {worst}")


class Sum(NamedTuple):
    """`A(weight) x` of some x, over a graph."""

    graph: Graph
    weight: Tensor  # [E]
    out: Tensor  # [N, d]

    def over(self, graph: Graph, weight: Tensor) -> Tensor | None:
        """It, if it is the one over `graph` with these weights."""
        return self.out if self.graph is graph and torch.equal(self.weight, weight) else None


@dataclass(frozen=True)
class Features:
    """A constant sparse feature matrix [N, F], as a weighted graph from features to nodes."""

    graph: Graph  # F sources, N targets
    values: Tensor  # [nnz]
    read: Tensor | None = field(default=None, compare=False)  # [N] whose these are; None: all's
    _known: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        """`(N, F)`."""
        return self.graph.num_nodes, self.graph.num_sources

    def to_dense(self) -> Tensor:
        """The matrix [N, F] with its zeros."""
        column, row = self.graph.edge_index
        return self.values.new_zeros(self.shape).index_put((row, column), self.values)

    @cached_property
    def places(self) -> Tensor | None:
        """[N] the number of each node whose these are, −1 for the others; None: all's."""
        if self.read is None:
            return None
        return torch.arange(self.read.numel(), device=self.read.device).where(self.read, -1)

    @cached_property
    def dense(self) -> Tensor:
        """`to_dense()`, made once and kept: for models that cannot use the sparse form."""
        return self.to_dense()

    def remember(self, w: Tensor, out: Tensor, summed: Sum | None = None) -> None:
        """Keep `out`, the product with `w`, until it is recalled: an evaluation is followed by a
        training step with the same weights. `summed` is a sum of its rows that may be asked for.
        """
        for key, (last, version, *_) in [*self._known.items()]:
            if (kept := last()) is None or kept._version != version:
                del self._known[key]
        self._known[id(w)] = ref(w), w._version, self.read, out, summed

    def recall(self, w: Tensor) -> tuple[Tensor | None, Sum | None]:
        """The product with `w`, if it is the one remembered and `w` has not changed since, and a
        sum of its rows, if there is one.

        What was remembered may have the rows of other nodes, too, but all of these.
        """
        last, version, read, *known = self._known.pop(id(w), (None, 0, None, None, None))
        same = last is not None and last() is w and version == w._version
        out, summed = known if same and self._within(read) else (None, None)
        return out, summed

    def _within(self, read: Tensor | None) -> bool:
        """Whether these are features of no other nodes than `read`."""
        return read is None or (self.read is not None and not bool((self.read & ~read).any()))

    def to(self, device: torch.device | str) -> Features:
        """The same features on `device`."""
        return Features(self.graph.to(device), self.values.to(device))


def sparse_features(x: Tensor) -> Features:
    """The non-zero entries of `x` [N, F]."""
    row, column = x.nonzero(as_tuple=True)
    return Features(Graph(torch.stack([column, row]), (x.size(1), x.size(0))), x[row, column])


# What products of [N, F] features cost, in steps of those of a dense matrix of a step an entry.
NONZERO = (
    2.5  # of an entry that is not 0: its number and value are read, and a row of W is looked up
)
ROW = 8  # of a row, whose sum is begun and written


def sparse_is_faster(num_rows: int, num_columns: int, nonzeros: int) -> bool:
    """Whether products with features [N, F] of so many non-zeros cost less in their sparse form.

    `NONZERO · nnz + ROW · N < N · F`, a model of the shapes alone: the form decides in which order
    sums are taken, so no run may measure it. The width of W is in both costs. Rows that are not
    read are left out of both forms, so that N stands for those that are.

    The constants are those of mask-training and training epochs of GCN and GraphSAGE with either
    form (`benchmarks/speed_features.py`), rounded to the side of the dense form, whose products are
    faster on some processors and which takes less memory from a tenth of non-zeros on.
    """
    return NONZERO * nonzeros + ROW * num_rows < num_rows * num_columns


FILL = 3  # terms of a sum of rows for each entry summed: with more, two products are faster


def _ahead(graph: Graph, weight: Tensor, x: Features) -> Features | None:
    source, target = graph.edge_index
    rows = x.graph.by_target
    count = rows.offsets.diff()[source]  # [E]
    if int(count.sum()) > FILL * rows.count:
        return None
    edge = torch.arange(graph.num_edges, device=graph.device).repeat_interleave(count)  # [terms]
    at = torch.arange(edge.numel(), device=graph.device) - (count.cumsum(0) - count)[edge]
    at = at + rows.offsets[source][edge]
    key = target[edge] * x.shape[1] + rows.columns[at]
    key, place = key.unique(return_inverse=True)
    terms = weight[edge] * rows.arrange(x.values)[at]
    values = terms.new_zeros(key.numel()).index_add(0, place, terms)
    ends = torch.stack([key % x.shape[1], key // x.shape[1]])
    return Features(Graph(ends, (x.shape[1], graph.num_nodes)), values)


@dataclass(frozen=True)
class Places:
    """Where the entries of a tensor lie that may differ from 0."""

    index: Tensor  # [entries] in the tensor, flattened, ascending
    shape: torch.Size
    _strides: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _strips: dict[int, tuple[Any, Any, int]] = field(default_factory=dict, repr=False)
    _parts: dict[int, tuple[Features, Tensor, Features]] = field(default_factory=dict, repr=False)

    def within(self, whole: Tensor) -> Tensor:
        """[entries] where they lie in the memory of `whole`, which may have gaps between rows."""
        if whole.is_contiguous():
            return self.index
        stride = whole.stride(0)
        if stride not in self._strides:
            row = self.index // self.shape[1]
            self._strides[stride] = self.index + row * (stride - self.shape[1])
        return self._strides[stride]

    def by_strips(self, width: int) -> tuple[Any, Any, int]:
        """As NumPy arrays, for each strip of up to 64 columns of each row: a bit for each column,
        as one word, and where its entries begin; and how many strips a row has.

        A tensor that is no matrix is one row.
        """
        if width not in self._strips:
            rows, columns = self.shape if len(self.shape) == 2 else (1, self.shape.numel())
            row, column, strips = self.index // columns, self.index % columns, -(-columns // width)
            word = row * strips + column // width
            counts = word.bincount(minlength=rows * strips)
            bits = torch.zeros_like(counts).index_add(0, word, 1 << (column % width))
            starts = (counts.cumsum(0) - counts).int()
            self._strips[width] = bits.numpy().view("u8"), starts.numpy(), strips
        return self._strips[width]

    def read(self, x: Features) -> Features:
        """`x` without the features of which a matrix with these entries makes nothing."""
        if id(x.graph) not in self._parts:
            rows = torch.zeros(self.shape[0], dtype=torch.bool, device=self.index.device)
            rows[self.index // self.shape[1]] = True
            edges = rows[x.graph.edge_index[0]].nonzero().squeeze(1)
            whole = edges.numel() == x.graph.num_edges
            left = Features(x.graph.subgraph(edges), x.values[edges], x.read, x._known)
            part = x if whole else left
            self._parts[id(x.graph)] = x, edges, part  # `x` stays: so does its graph's id
        known, edges, part = self._parts[id(x.graph)]
        if part is known or x.values is known.values:
            return x if part is known else part
        return Features(part.graph, x.values.index_select(0, edges), x.read, x._known)
