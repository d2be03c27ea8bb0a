"""Graphs as compressed sparse rows, built once and shared by every product over them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


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
        self._constants: dict[Hashable, Any] = {}

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
    def reverse(self) -> Graph:
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

    def constant(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, which depends on nothing but this graph and `key`: made once."""
        if key not in self._constants:
            self._constants[key] = make()
        made: T = self._constants[key]
        return made

    def subgraph(self, keep: Tensor) -> Graph:
        """The graph of the edges where `keep` [E] is true; nodes stay."""
        return Graph(self.edge_index[:, keep], self.size)

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on `device`."""
        return Graph(self.edge_index.to(device), self.size)

    def __repr__(self) -> str:
        return f"Graph(num_nodes={self.num_nodes}, num_edges={self.num_edges})"


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
