"""Many graphs in one block-diagonal one, from which batches of them are taken without a loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from graphlth.data import fields

OWN = ("x", "edge_index", "y", "batch", "ptr", "num_nodes")  # what a batch has of its own


@dataclass(frozen=True)
class GraphList:
    """G graphs with N nodes and E directed edges in all; the nodes of each are numbered in a row.

    Edges lie by graph, and within it sorted by (target, source); repeated ones are all there.
    """

    x: Tensor  # [N, F] real numbers, or int64 categories
    edge_index: Tensor  # [2, E] in the numbers of all nodes
    first_node: Tensor  # [G + 1]
    first_edge: Tensor  # [G + 1]
    of_nodes: Mapping[str, Tensor]  # [N, ...] each: what else the graphs hold, by its name
    of_edges: Mapping[str, Tensor]  # [E, ...]
    of_graphs: Mapping[str, Tensor]  # [G, ...]

    @property
    def count(self) -> int:
        """The number of graphs G."""
        return self.first_node.numel() - 1

    @property
    def num_nodes(self) -> int:
        """The number of nodes N."""
        return self.x.size(0)

    @property
    def graph_of_edges(self) -> Tensor:
        """The graph of each edge [E]."""
        return _repeat_numbers(self.first_edge.diff())

    def edges_of(self, graphs: Tensor) -> Tensor:
        """The places [e] of all edges of some `graphs` [B], graph by graph."""
        return _ranges(self.first_edge[graphs], self.first_edge.diff()[graphs])

    def batch(self, graphs: Tensor, edges: Tensor) -> Any:
        """PyG's `Batch` of some `graphs` [B], whose `edges` are those of `edges_of`."""
        from torch_geometric.data import Batch  # loads slowly

        start, size = self.first_node[graphs], self.first_node.diff()[graphs]  # [B]
        nodes = _ranges(start, size)
        ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
        shift = (ptr[:-1] - start).repeat_interleave(self.first_edge.diff()[graphs])  # [e]
        return Batch(
            x=self.x[nodes],
            edge_index=self.edge_index[:, edges] + shift,
            **{name: value[nodes] for name, value in self.of_nodes.items()},
            **{name: value[edges] for name, value in self.of_edges.items()},
            **{name: value[graphs] for name, value in self.of_graphs.items()},
            batch=_repeat_numbers(size),
            ptr=ptr,
        )

    def keep_edges(self, keep: Tensor) -> GraphList:
        """The graphs with those edges alone where `keep` [E] is true."""
        count = self.graph_of_edges[keep].bincount(minlength=self.count)
        return replace(
            self,
            edge_index=self.edge_index[:, keep],
            first_edge=torch.cat([count.new_zeros(1), count.cumsum(0)]),
            of_edges={name: value[keep] for name, value in self.of_edges.items()},
        )

    def to(self, device: torch.device | str) -> GraphList:
        """The same graphs on `device`."""

        def move(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else {
                name: each.to(device) for name, each in value.items()
            }  # fmt: skip

        return GraphList(**{name: move(value) for name, value in vars(self).items()})


def graph_list(graphs: Sequence[Any]) -> tuple[GraphList, tuple[str, ...]]:
    """Some PyG `Data` as one list, and the names of what they hold that no batch has.

    Raises:
        ValueError: features or edges of one of them are missing, of a wrong shape or type, out of
            range or not finite; or features are not alike in all of them.
    """
    xs = [read_field(fields.features, graphs, i) for i in range(len(graphs))]
    x = _features(xs)
    size = torch.tensor([len(each) for each in xs])
    first_node = torch.cat([size.new_zeros(1), size.cumsum(0)])
    edges = [read_field(fields.edge_index, graphs, i) for i in range(len(graphs))]
    count = torch.tensor([each.size(1) for each in edges])
    of = _repeat_numbers(count)  # [E] the graph of each edge
    edge_index = torch.cat(edges, dim=1)
    _check_range(edge_index, of, size)
    edge_index = edge_index + first_node[of]
    order = (edge_index[1] * x.size(0) + edge_index[0]).argsort(stable=True)
    of_nodes, of_edges, of_graphs, unread = _attributes(graphs, size, count)
    of_edges = {name: value[order] for name, value in of_edges.items()}
    first_edge = torch.cat([count.new_zeros(1), count.cumsum(0)])
    found = GraphList(
        x, edge_index[:, order], first_node, first_edge, of_nodes, of_edges, of_graphs
    )
    return found, unread


def read_field(read: Callable[[Any], Any], graphs: Sequence[Any], index: int) -> Any:
    """What `read` says of one of the graphs.

    Raises:
        ValueError: what `read` raises, said of this graph.
    """
    if not hasattr(graphs[index], "edge_index"):
        raise ValueError(f"`graphs[{index}]` must be a PyG `Data`, got "
                         f"{type(graphs[index]).__name__}")  # fmt: skip
    try:
        return read(graphs[index])
    except ValueError as error:
        text = str(error).replace("`data.", f"`graphs[{index}].")
        if text.endswith(".x` is missing"):
            text += (": give each node features, such as those of "
                     "torch_geometric.transforms.Constant()")  # fmt: skip
        raise ValueError(text) from None


def _features(xs: Sequence[Tensor]) -> Tensor:
    """All features [N, F]: whole numbers as they are, others of the default type."""
    whole = [not (x.is_floating_point() or x.dtype == torch.bool) for x in xs]
    for i, x in enumerate(xs):
        if x.size(1) != xs[0].size(1) or whole[i] != whole[0]:
            raise ValueError(f"`graphs[{i}].x` must be like that of the first graph, "
                             f"{xs[0].dtype} [N, {xs[0].size(1)}], got {x.dtype} {list(x.shape)}"
                             )  # fmt: skip
    dtype = torch.int64 if whole[0] else torch.get_default_dtype()
    x = torch.cat([each.to_dense().to(dtype) for each in xs])
    if not x.isfinite().all():
        row = int((~x.isfinite()).any(1).nonzero()[0])
        wrong = next(i for i, n in enumerate(torch.tensor([*map(len, xs)]).cumsum(0)) if row < n)
        raise ValueError(f"`graphs[{wrong}].x` must be finite, got NaN or infinity")
    return x


def _check_range(edge_index: Tensor, of: Tensor, size: Tensor) -> None:
    wrong = ((edge_index < 0) | (edge_index >= size[of])).any(0).nonzero()
    if wrong.numel():
        i = int(of[wrong[0]])
        ends = edge_index[:, of == i]
        worst = int(ends.min()) if int(ends.min()) < 0 else int(ends.max())
        raise ValueError(f"`graphs[{i}].edge_index` must be in [0, {int(size[i])}), got {worst}")


def _attributes(
    graphs: Sequence[Any], nodes: Tensor, edges: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], tuple[str, ...]]:
    """What else the graphs hold of nodes, of edges, of graphs; and the names of what is left out.

    Of nodes or edges is what has one row for each in every graph; where both fit, what is called
    `edge_...` is of edges. Of graphs is what has one shape in all of them.
    """
    of_nodes: dict[str, Tensor] = {}
    of_edges: dict[str, Tensor] = {}
    of_graphs: dict[str, Tensor] = {}
    unread = []
    for name in _names(graphs[0]):
        values = [getattr(graph, name, None) for graph in graphs]
        kind = _kind(name, values, nodes, edges)
        if kind is None:
            unread.append(name)
            continue
        parts = [value.detach().cpu() for value in values if isinstance(value, Tensor)]
        row = parts[0].dim() > 0 and parts[0].size(0) == 1  # as PyG has what is of a graph
        whole = torch.stack(parts) if kind == 2 and not row else torch.cat(parts)
        floats = whole.is_floating_point()
        of = (of_nodes, of_edges, of_graphs)[kind]
        of[name] = whole.to(torch.get_default_dtype()) if floats else whole
    return of_nodes, of_edges, of_graphs, tuple(unread)


def _names(graph: Any) -> list[str]:
    held = graph.to_dict() if hasattr(graph, "to_dict") else vars(graph)
    return [name for name in held if name not in OWN and not name.startswith("_")]


def _kind(name: str, values: Sequence[Any], nodes: Tensor, edges: Tensor) -> int | None:
    """0 for what is of nodes, 1 of edges, 2 of graphs; None for neither."""
    if not all(isinstance(value, Tensor) for value in values) or "index" in name:
        return None
    rows = torch.tensor([value.size(0) if value.dim() else -1 for value in values])
    counts = (edges, nodes) if name.startswith("edge_") else (nodes, edges)
    for count in counts:
        alike = {value.shape[1:] for value in values}
        if torch.equal(rows, count) and len(alike) == 1:
            return 0 if count is nodes else 1
    return 2 if len({value.shape for value in values}) == 1 else None


def _repeat_numbers(count: Tensor) -> Tensor:
    """0 as often as `count` [n] says, then 1, and so on."""
    return torch.arange(count.numel(), device=count.device).repeat_interleave(count)


def _ranges(start: Tensor, count: Tensor) -> Tensor:
    """`count` numbers from `start` on, one range after the other."""
    ends = count.cumsum(0)
    shift = (start - (ends - count)).repeat_interleave(count)
    return torch.arange(shift.numel(), device=count.device) + shift
