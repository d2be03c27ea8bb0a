"""Prediction for the nodes of one type of a heterogeneous graph, from a PyG `HeteroData`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import check_kind, edge_list
from graphlth.data.node_targets import NodeTargets
from graphlth.data.own_data import Columns
from graphlth.edge_masks import AnyEdgeMask, RelationCounts, relation_key
from graphlth.masks import is_binary
from graphlth.metrics import Metric
from graphlth.settings.checks import check_device
from graphlth.task import SPLITS, Batch, Forward, Loss, Task, content_digest

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import HeteroData


class HeteroNodeTask(Task):
    """Prediction for the nodes of one type; `data` is never changed. `NodeTask(data)` makes one.

    Each relation has an edge mask of its own, `edges.<source>__<relation>__<target>`; pruning ranks
    the edges of all of them together. Models are a user's own, as `to_hetero` makes them: they are
    given `x_dict` and `edge_index_dict`, or what else their `forward` names of the data.

    Args:
        data: a PyG `HeteroData`. The nodes of `node_type` have y and train_mask, val_mask and
            test_mask, as `NodeTask` has it; repeated edges of a relation share a mask entry.
        edges: "undirected": in a relation from a type to itself, both directions of a pair share an
            entry; "directed": no two do. A relation and its reverse are two relations.
        split: as of `NodeTask`.
        split_seed: as of `NodeTask`.
        name: what records call the data.
        loss: as of `NodeTask`.
        metric: as of `NodeTask`.
        num_classes: as of `NodeTask`.
        forward: how a model is called, `lambda model, data: model(data.x_dict, ...)`; where not
            given, with what the parameters of its `forward` name of the data.
        node_type: whose classes or numbers are predicted; None: the one type that has y.

    Raises:
        ValueError: as `NodeTask`; or no type or several types have y, and `node_type` is none.
    """

    evaluate_every = 1  # an iteration sees the whole graph
    graph = None  # that models of one kind of edges read
    entries: Tensor  # [E] the mask entry that each edge reads, relation by relation
    edge_weight = None

    def __init__(
        self,
        data: HeteroData,
        *,
        edges: str = "undirected",
        split: int | str = 0,
        split_seed: int = 0,
        name: str = "data",
        loss: str | Loss = "cross_entropy",
        metric: str | Metric | None = None,
        num_classes: int | None = None,
        forward: Forward | None = None,
        node_type: str | None = None,
    ):
        check_kind(edges)
        self.name, self.edges, self.forward = name, edges, forward
        self.node_type = _find_type(data, node_type)
        self.data, self.columns, counts = _prepare(data, edges)
        self.num_edges = RelationCounts(counts)  # an int: the sum
        store = data[self.node_type]
        self.num_nodes = int(store.num_nodes)
        self.x = self.data[self.node_type].get("x")
        self.num_features = 0 if self.x is None else self.x.size(-1)
        targets = NodeTargets.of(
            store, self.num_nodes, split, split_seed, loss, metric, num_classes
        )
        self.loss, self.metric = targets.loss, targets.metric
        self.y, self.rows = targets.y, targets.rows
        self.num_classes, self.label_names = targets.num_classes, targets.label_names
        self.notes = fields.notes(self.label_names)
        self._inputs, self.entries = (self.data,), torch.cat([*self.columns.values()])

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """One batch, the whole graph, scored on the nodes of `split`, whatever `seed`, `index`."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        rows = self.rows[split]
        yield Batch(
            self._inputs, self.y[rows], rows, self.entries, data=self.data, columns=self.columns,
            node_type=self.node_type, forward=self.forward,
        )  # fmt: skip

    def whole(self, split: str) -> Iterator[Batch]:
        """What `batches` gives: the whole graph."""
        return self.batches(split)

    def without(self, mask: AnyEdgeMask) -> HeteroNodeTask:
        """The task on the graph without the edges whose entry of the mask of their relation is 0.

        Other entries multiply the weight of their edge; a relation without a mask stays whole.
        """
        data, columns = copy.copy(self.data), dict(self.columns)
        for key, m in _by_relation(mask, self.num_edges).items():
            store = data[next(kind for kind in data.edge_types if relation_key(kind) == key)]
            own = m.to(columns[key].device)[columns[key]]
            keep = own != 0
            for name in [n for n, value in store.items() if _is_of_edges(store, n, value)]:
                along = -1 if name == "edge_index" else 0
                store[name] = store[name].index_select(along, keep.nonzero().view(-1))
            if not is_binary(m):
                a = store.get("edge_weight")
                store["edge_weight"] = own[keep] if a is None else a.reshape(-1) * own[keep]
            columns[key] = columns[key][keep]
        return self._with(data=data, columns=columns)

    def to(self, device: torch.device | str) -> HeteroNodeTask:
        """The same task on `device`."""
        check_device(device)
        data = copy.copy(self.data).to(device)
        return self._with(
            data=data,
            x=data[self.node_type].get("x"),
            columns={key: c.to(device) for key, c in self.columns.items()},
            rows={split: index.to(device) for split, index in self.rows.items()},
            y=self.y.to(device),
        )

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
        """Everything that is learnt from: the graph, attributes of edges, labels and splits."""
        digest = hashlib.sha256(self.fingerprint().encode())
        for kind in self.data.edge_types:
            for name, value in self.data[kind].items():
                if name not in ("edge_index", "edge_weight") and isinstance(value, Tensor):
                    digest.update(name.encode())
                    digest.update(value.detach().cpu().contiguous().numpy().data)
        return content_digest(digest.hexdigest(), self.y, rows=self.rows)

    def _with(self, **changes: Any) -> HeteroNodeTask:
        task = copy.copy(self)
        vars(task).update(changes)
        task._inputs, task.entries = (task.data,), torch.cat([*task.columns.values()])
        return task

    def __repr__(self) -> str:
        return (
            f"HeteroNodeTask({self.name!r}, {self.node_type}={self.num_nodes}, "
            f"edges={self.num_edges} in {len(self.columns)} relations, classes={self.num_classes})"
        )


def is_heterogeneous(data: Any) -> bool:
    """Whether `data` are a PyG `HeteroData`."""
    return hasattr(data, "edge_types") and hasattr(data, "node_types")


def _find_type(data: Any, node_type: str | None) -> str:
    known = [kind for kind in data.node_types if "y" in data[kind]]
    if node_type is None and len(known) == 1:
        return str(known[0])
    if node_type is None or node_type not in data.node_types:
        raise ValueError(f"`node_type` must be one of {', '.join(data.node_types)}, got "
                         f"{node_type!r}, while y is there for {', '.join(known) or 'none'}"
                         )  # fmt: skip
    return node_type


def _prepare(data: Any, edges: str) -> tuple[Any, dict[str, Tensor], dict[str, int]]:
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
        ends = [int(out[end].num_nodes) for end in (kind[0], kind[2])]
        known = edge_list(
            fields.edge_index(store), max(*ends, 1), edges if kind[0] == kind[2] else "directed",
            store.get("edge_weight"),
        )  # fmt: skip
        names = [n for n, value in store.items() if _is_of_edges(store, n, value)]
        if {*names} <= {"edge_index", "edge_weight"}:
            store.edge_index, columns[key] = known.edge_index, known.entries
            if "edge_weight" in names:
                ones = torch.ones(known.entries.numel())
                store.edge_weight = ones if known.weight is None else known.weight
        else:
            given = data[kind]
            own = Columns.in_order(known, tuple(n for n in names if n != "edge_index"))
            own.select(given, store)
            columns[key] = own.entries
        counts[key] = known.num_edges
    return out, columns, counts


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
