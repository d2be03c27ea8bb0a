"""The graph of a PyG `HeteroData` as models and scores read it: an edge mask for each relation."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import EdgeList, check_kind, edge_list
from graphlth.data.graph_data import GraphData
from graphlth.data.own_data import Columns, bytes_of, is_attribute
from graphlth.edge_masks import AnyEdgeMask, RelationCounts, relation_key
from graphlth.masks import is_binary
from graphlth.task import Batch

EdgeType = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class HeteroGraphData:
    """Several kinds of nodes and edges; each relation has an edge mask of its own.

    The key of a mask is `edges.<source>__<relation>__<target>`. Models are a user's own: they are
    given `x_dict` and `edge_index_dict`, or what else their `forward` names of the data.
    """

    edges: str  # "undirected": in a relation from a type to itself a pair shares an entry
    node_type: str  # whose outputs are scored
    data: Any  # a copy of what was given, whose edges are sorted by (target, source)
    columns: Mapping[str, Tensor]  # by relation: the entry [E] of its mask that each edge reads
    num_edges: RelationCounts  # an int: the sum of the entries of all relations

    graph = None  # that models of one kind of edges read
    edge_weight = None
    notes = ()  # everything is given to models

    @classmethod
    def of(cls, data: Any, edges: str, node_type: str) -> HeteroGraphData:
        """The graph of a `HeteroData`; repeated edges of a relation share a mask entry.

        Raises:
            ValueError: features are not finite, or an edge_index is none.
        """
        check_kind(edges)
        return cls(edges, node_type, *_prepare(data, edges))

    @property
    def x(self) -> Any:
        """The features [N, F] of the nodes that are scored, if they have any."""
        return self.data[self.node_type].get("x")

    @property
    def num_nodes(self) -> int:
        """How many nodes are of the type that is scored."""
        return node_count(self.data, self.node_type)

    @property
    def num_features(self) -> int:
        """F."""
        return 0 if self.x is None else self.x.size(-1)

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        """What stands for the graph: the same for every split."""
        return (self.data,)

    @cached_property
    def entries(self) -> Tensor:
        """The mask entry [E] that each edge reads, relation by relation."""
        return torch.cat([*self.columns.values()])

    def batch(self, target: Tensor, **scored: Any) -> Batch:
        """The whole graph, with what is scored of it."""
        return Batch(self.inputs, target, entries=self.entries, data=self.data,
                     columns=self.columns, node_type=self.node_type, **scored)  # fmt: skip

    def without(self, mask: AnyEdgeMask) -> HeteroGraphData:
        """The graph without the edges whose entry of the mask of their relation is 0.

        Other entries multiply the weight of their edge; a relation without a mask stays whole.
        """
        data, columns = copy.copy(self.data), dict(self.columns)
        for key, m in _by_relation(mask, self.num_edges).items():
            store = data[edge_type(data, key)]
            own = m.to(columns[key].device)[columns[key]]
            keep = own != 0
            for name in [n for n, value in store.items() if _is_of_edges(store, n, value)]:
                along = -1 if name == "edge_index" else 0
                store[name] = store[name].index_select(along, keep.nonzero().view(-1))
            if not is_binary(m):
                a = store.get("edge_weight")
                store["edge_weight"] = own[keep] if a is None else a.reshape(-1) * own[keep]
            columns[key] = columns[key][keep]
        return replace(self, data=data, columns=columns)

    def to(self, device: torch.device | str) -> HeteroGraphData:
        """The same graph on `device`."""
        columns = {key: c.to(device) for key, c in self.columns.items()}
        return replace(self, data=copy.copy(self.data).to(device), columns=columns)

    def relation(self, key: str) -> GraphData:
        """The edges of one relation, with the entries of its mask; see `relation_graph`."""
        kind, entries = edge_type(self.data, key), self.columns[key].cpu()
        listed = relation_edges(self.data, kind, "directed")
        own, there = torch.zeros_like(listed.entries), listed.columns >= 0
        own[listed.columns[there]] = entries[there]
        listed = replace(listed, entries=own, num_edges=self.num_edges.by_key[key])
        return relation_graph(self.data, kind, listed, self.edges)

    def fingerprint(self) -> str:
        """Which graph this is: 16 hex digits over the edges, entries and features of all types."""
        digest = hashlib.sha256(f"{self.node_type} {self.num_edges}".encode())
        for kind in (*self.data.node_types, *self.data.edge_types):
            store = self.data[kind]
            parts = [store.get("x"), store.get("edge_index"), store.get("edge_weight")]
            digest.update(f"{kind} {store.num_nodes if isinstance(kind, str) else ''}".encode())
            parts += [] if parts[1] is None else [self.columns[relation_key(kind)]]
            for part in parts:
                if part is not None:
                    digest.update(part.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def content(self) -> str:
        """A digest of the graph and of its attributes."""
        digest = hashlib.sha256(self.fingerprint().encode())
        for part in self._attributes():
            digest.update(part)
        return digest.hexdigest()

    def attributes(self) -> str:
        """A digest of what a model of a user's own may read besides; "" where there is nothing."""
        parts = [*self._attributes()]
        return hashlib.sha256(b"".join(parts)).hexdigest() if parts else ""

    def _attributes(self) -> Iterator[bytes]:
        """The names and values of what edges have besides weights, then nodes besides features."""
        for kind in (*self.data.edge_types, *self.data.node_types):
            for name, value in self.data[kind].items():
                of_edges = isinstance(kind, tuple) and name not in ("edge_index", "edge_weight")
                if isinstance(value, Tensor) and (of_edges or is_attribute(name, value)):
                    yield name.encode()
                    yield bytes(bytes_of(value))

    @property
    def summary(self) -> str:
        """Its sizes, in a line."""
        return (f"{self.node_type}={self.num_nodes}, edges={self.num_edges} in "
                f"{len(self.columns)} relations")  # fmt: skip


def is_heterogeneous(data: Any) -> bool:
    """Whether `data` are a PyG `HeteroData`."""
    return hasattr(data, "edge_types") and hasattr(data, "node_types")


def edge_type(data: Any, key: str) -> EdgeType:
    """The relation of `data` whose mask is called `key`."""
    found: EdgeType = next(kind for kind in data.edge_types if relation_key(kind) == key)
    return found


def node_count(data: Any, node_type: str) -> int:
    """How many nodes of a type there are.

    Raises:
        ValueError: the data do not say it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyG's, where it cannot tell
        count = data[node_type].num_nodes
    if count is None:
        raise ValueError(
            f"`data` must say how many nodes {node_type!r} has: give it x or num_nodes"
        )
    return int(count)


def relation_edges(data: Any, kind: EdgeType, edges: str) -> EdgeList:
    """The edges of a relation; a pair is one entry only where both of its ends are of one type."""
    ends = [node_count(data, end) for end in (kind[0], kind[2])]
    store = data[kind]
    return edge_list(
        fields.edge_index(store), max(*ends, 1), edges if kind[0] == kind[2] else "directed",
        store.get("edge_weight"),
    )  # fmt: skip


def relation_graph(data: Any, kind: EdgeType, listed: EdgeList, edges: str) -> GraphData:
    """Some edges of one relation as a graph of its own.

    Between two types, the nodes of the target follow those of the source. Their features are there
    if both types have as many.
    """
    ends = [*dict.fromkeys((kind[0], kind[2]))]
    sizes = [node_count(data, end) for end in ends]
    found = [x for end in ends if (x := data[end].get("x")) is not None and x.dim() == 2]
    x = None
    if len(found) == len(ends) and len({each.size(1) for each in found}) == 1:
        x = torch.cat([each.to(torch.get_default_dtype()) for each in found])
    if len(ends) == 2:
        after = torch.tensor([[0], [sizes[0]]], device=listed.edge_index.device)
        listed = replace(listed, edge_index=listed.edge_index + after)
    graph = GraphData.of_edges(listed, x, sum(sizes), edges, relation_key(kind))
    return replace(graph, bipartite=len(ends) == 2)


def _prepare(data: Any, edges: str) -> tuple[Any, dict[str, Tensor], RelationCounts]:
    """A copy of `data` whose edges are sorted, the entries of its columns, and how many there are.

    Raises:
        ValueError: features are not finite, or an edge_index is none.
    """
    out, columns, counts = copy.copy(data), dict[str, Tensor](), dict[str, int]()
    for kind in out.node_types:
        if (x := out[kind].get("x")) is not None and x.is_floating_point():
            if not x.isfinite().all():
                raise ValueError(f"`data[{kind!r}].x` must be finite, got NaN or infinity")
            out[kind].x = x.to(torch.get_default_dtype())
    for kind in out.edge_types:
        key, store = relation_key(kind), out[kind]
        if key in counts:
            raise ValueError(f"`data` must name relations apart by letters and digits, got two "
                             f"that are {key!r}")  # fmt: skip
        known = relation_edges(data, kind, edges)
        names = [n for n, value in store.items() if _is_of_edges(store, n, value)]
        if {*names} <= {"edge_index", "edge_weight"}:
            store.edge_index, columns[key] = known.edge_index, known.entries
            if "edge_weight" in names:
                ones = torch.ones(known.entries.numel())
                store.edge_weight = ones if known.weight is None else known.weight
        else:
            own = Columns.in_order(known, tuple(n for n in names if n != "edge_index"))
            own.select(data[kind], store)
            columns[key] = own.entries
        counts[key] = known.num_edges
    return out, columns, RelationCounts(counts)


def _is_of_edges(store: Any, name: str, value: Any) -> bool:
    count = store.edge_index.size(1)
    if not isinstance(value, Tensor) or not value.dim():
        return False
    return name == "edge_index" or value.size(0) == count


def _by_relation(mask: AnyEdgeMask, counts: RelationCounts) -> Mapping[str, Tensor]:
    """The masks by relation.

    Raises:
        ValueError: they are something else.
    """
    if not isinstance(mask, Mapping):
        raise ValueError("`mask` must hold a mask for each relation, "
                         f"{', '.join(counts.by_key)}, got one for all")  # fmt: skip
    for key, m in mask.items():
        if key not in counts.by_key or m.shape != (counts.by_key[key],):
            raise ValueError(f"`mask` must hold masks of {dict(counts.by_key)}, got {key!r} of "
                             f"{list(m.shape)}")  # fmt: skip
    return mask
