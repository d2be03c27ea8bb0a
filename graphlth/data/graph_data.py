"""The graph of a PyG `Data` as models and scores read it: features, edges and mask entries.

Nothing here knows of labels and splits: `NodeTask`, `LinkTask` and `PruneEdges` hold one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import EdgeList, check_kind, edge_list, edge_types, unread
from graphlth.data.own_data import (
    Columns,
    attributes_digest,
    kept_entries,
    pyg_data,
    without_fields,
)
from graphlth.edge_masks import EDGES, AnyEdgeMask, EdgeMask, kept_edges, map_edges
from graphlth.masks import is_binary
from graphlth.sparse.features import Features, sparse_features, sparse_is_faster
from graphlth.sparse.graph import Graph
from graphlth.task import Batch, Later

SPARSE = 0.1  # of features, below which a fingerprint is one of non-zeros, as it always was


@dataclass(frozen=True, eq=False)
class GraphData:
    """One kind of nodes and one kind of edges, each of which reads an entry of an edge mask."""

    name: str  # what errors call it
    edges: str  # what an entry stands for: "undirected" or "directed"
    x: Tensor | Features | None  # [N, F] in the form whose products cost less; None: no features
    graph: Graph  # every edge once, sorted by (target, source)
    entries: Tensor  # [E] the mask entry that each edge reads
    num_edges: int  # mask entries: the prunable edges that 100 % stands for
    edge_weight: EdgeMask | None  # A [E] of `graph`, of all layers or of each; None: all are 1
    duplicate_edges: int = 0  # columns of the data's edge_index that repeat another: one edge
    zero_edges: int = 0  # edges of the data whose weight is 0: none of `graph`
    one_way_edges: int = 0  # whose reverse is no edge of the data; a self-loop is its own
    bipartite: bool = False  # of a relation: between two types of nodes
    notes: tuple[str, ...] = ()  # what of the data is not read, a line each
    given: Any = None  # the data, without what is held here
    columns: Columns | None = None  # those of the data, where edges have attributes
    scale: Tensor | None = None  # [num_edges] what multiplies the weights of `given`

    @classmethod
    def of(cls, data: Any, edges: str, name: str = "data") -> GraphData:
        """The graph of a PyG `Data`, or of anything else that has x and edge_index.

        Raises:
            ValueError: one of them is missing, of the wrong shape or type, not finite or out of
                range; or there are several graphs.
        """
        check_kind(edges)
        fields.one_graph(data)
        x = features_of(data)
        listed = edges_of(data, x.shape[0], edges)
        columns = Columns.of(data, listed)
        held = ("x", "edge_index", "edge_weight") if columns is None else ("x",)
        return replace(
            cls.of_edges(listed, x, x.shape[0], edges, name), notes=unread(data),
            one_way_edges=_one_way(listed.edge_index, x.shape[0]), columns=columns,
            given=without_fields(data, held),  # of what is held here no second copy
        )  # fmt: skip

    @classmethod
    def of_edges(
        cls, listed: EdgeList, x: Tensor | Features | None, num_nodes: int, edges: str, name: str
    ) -> GraphData:
        """The graph of some edges alone, of which no model of a user's own reads the data."""
        return cls(
            name, edges, x, Graph(listed.edge_index, num_nodes), listed.entries, listed.num_edges,
            listed.weight, listed.duplicates, listed.zeros,
        )  # fmt: skip

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.graph.num_nodes

    @property
    def num_features(self) -> int:
        """F."""
        return 0 if self.x is None else self.x.shape[1]

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        """What graphlth's models are given: the same for every split, whose output they share."""
        return self.x, self.graph

    @cached_property
    def data(self) -> Any:
        """The `Data` that a model of a user's own reads.

        It has all that was given, the features in the type that is computed in, and the edges that
        are left, sorted by (target, source), with their attributes.
        """
        data = pyg_data(self.given)
        if self.columns is not None:
            self.columns.select(self.given, data, self.scale)
        data = data.to(self.graph.device)
        data.x = self.x.dense if isinstance(self.x, Features) else self.x
        if self.columns is None:
            data.edge_index, weight = self.graph.edge_index, self.edge_weight
            data.edge_weight = weight if isinstance(weight, Tensor) else None
        return data

    def batch(self, target: Tensor, **scored: Any) -> Batch:
        """The whole graph, with what is scored of it."""
        columns = self.columns
        read = self.entries if columns is None else columns.entries.to(self.graph.device)
        return Batch(
            self.inputs, target, entries=self.entries, edge_weight=self.edge_weight,
            data=Later(partial(getattr, self, "data")), columns={EDGES: read}, **scored,
        )  # fmt: skip

    def without(self, mask: AnyEdgeMask) -> GraphData:
        """The graph without the edges whose entry of `mask` [num_edges] is 0.

        These edges are gone, not weighted; other entries multiply the weight of their edge. Of one
        mask for each layer, the edges that no layer keeps are gone, and the others have a weight in
        each layer. `num_edges` and the numbers of the entries stay.
        """
        if isinstance(mask, Mapping):
            raise ValueError("`mask` must be one for all edges, which are of one kind, got masks "
                             f"of {', '.join(mask)}")  # fmt: skip
        masks = layer_masks(mask, self.num_edges)
        m = tuple(each.to(self.entries.device)[self.entries] for each in masks)  # [E] each
        x = self.x.values if isinstance(self.x, Features) else self.x
        dtype = torch.get_default_dtype() if x is None else x.dtype
        keep, weight = kept_edges(m, self.edge_weight, dtype)
        scale = self.scale
        if len(masks) == 1 and not is_binary(masks[0]):  # of several layers no Data can tell
            own = masks[0].detach().to("cpu", dtype)
            scale = own if scale is None else scale * own
        columns = None if self.columns is None else self.columns.keep(kept_entries(masks))
        return replace(
            self, graph=self.graph.subgraph(keep), entries=self.entries[keep], edge_weight=weight,
            scale=scale, columns=columns,
        )  # fmt: skip

    def to(self, device: torch.device | str) -> GraphData:
        """The same graph on `device`."""
        return replace(
            self, x=None if self.x is None else self.x.to(device), graph=self.graph.to(device),
            entries=self.entries.to(device),
            edge_weight=map_edges(lambda w: w.to(device), self.edge_weight),
        )  # fmt: skip

    def fingerprint(self) -> str:
        """Which graph this is: 16 hex digits over nodes, edges and weights, entries and features.

        A ticket for this graph is one on every split of it.
        """
        assert self.x is not None  # of a task
        edges = self.graph.edge_index, self.entries, self.num_edges, self.edge_weight
        return graph_fingerprint(self.x, *edges)

    def content(self) -> str:
        """A digest of the graph and of its attributes."""
        return self.fingerprint() + self.attributes()

    def attributes(self) -> str:
        """A digest of what a model of a user's own may read besides; "" where there is nothing."""
        return "" if self.given is None else attributes_digest(self.given, self.columns)

    @property
    def summary(self) -> str:
        """Its sizes, in a line."""
        weighted = "" if self.edge_weight is None else " weighted"
        return (f"nodes={self.num_nodes}, edges={self.num_edges} {self.edges}{weighted}, "
                f"features={self.num_features}")  # fmt: skip


def layer_masks(mask: EdgeMask, num_edges: int) -> tuple[Tensor, ...]:
    """The mask of all layers, or those of each.

    Raises:
        ValueError: one of them is not [num_edges].
    """
    masks = (mask,) if isinstance(mask, Tensor) else mask
    for each in masks:
        if each.shape != (num_edges,):
            raise ValueError(f"`mask` must be [{num_edges}], got {list(each.shape)}")
    return masks


def features_of(data: Any) -> Tensor | Features:
    """The features of `data` [N, F], sparse where few of them are not 0."""
    return _features(fields.features(data))


def edges_of(data: Any, num_nodes: int, edges: str) -> EdgeList:
    """The edges of `data`, with their weights if it has any."""
    given = getattr(data, "edge_weight", None)
    weight = None if given is None else fields.field(data, "edge_weight")
    return edge_list(fields.edge_index(data), num_nodes, edges, weight, edge_types(data))


def graph_fingerprint(
    x: Tensor | Features, edge_index: Tensor, entries: Tensor, num_edges: int,
    weight: EdgeMask | None,
) -> str:  # fmt: skip
    """16 hex digits over a graph; weights that are all 1 count as none."""
    digest = hashlib.sha256(f"{x.shape[0]} {x.shape[1]} {num_edges}".encode())
    values = _values(x)
    layers = () if weight is None else (weight,) if isinstance(weight, Tensor) else weight
    weights = [w for w in layers if len(layers) > 1 or not bool((w == 1).all())]
    for part in (edge_index, entries, *values, *weights):
        digest.update(part.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _values(x: Tensor | Features) -> tuple[Tensor, ...]:
    """What tells features, whatever the form in which they are computed with."""
    n, f = x.shape
    found = x.values.numel() if isinstance(x, Features) else int(x.count_nonzero())
    if found >= SPARSE * n * f:
        return (x.to_dense(),)
    x = x if isinstance(x, Features) else sparse_features(x)
    return x.graph.edge_index, x.values


def _features(x: Tensor) -> Tensor | Features:
    x = x.to(torch.get_default_dtype())
    if x.layout != torch.strided:
        x = x.to_sparse_coo().coalesce()
    values = x if x.layout == torch.strided else x.values()
    if not values.isfinite().all():
        raise ValueError("`data.x` must be finite, got NaN or infinity")
    if not sparse_is_faster(x.size(0), x.size(1), int(values.count_nonzero())):
        return x.to_dense()
    if x.layout == torch.strided:
        return sparse_features(x)
    some = values != 0
    return Features(Graph(x.indices()[:, some].flip(0), (x.size(1), x.size(0))), values[some])


def _one_way(edge_index: Tensor, num_nodes: int) -> int:
    """How many edges [2, E] have no reverse."""
    source, target = edge_index
    return int((~torch.isin(target * num_nodes + source, source * num_nodes + target)).sum())
