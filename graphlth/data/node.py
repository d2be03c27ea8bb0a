"""Classification or regression of the nodes of one graph, from a PyG `Data`."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import EdgeList, check_kind, edge_list, edge_types, unread
from graphlth.data.hetero import HeteroNodeTask, is_heterogeneous
from graphlth.data.node_targets import NodeTargets
from graphlth.data.own_data import (
    Columns,
    attributes_digest,
    kept_entries,
    pyg_data,
    without_fields,
)
from graphlth.data.published import DataWarning
from graphlth.edge_masks import EDGES, AnyEdgeMask, EdgeMask, kept_edges, map_edges
from graphlth.masks import is_binary
from graphlth.metrics import Metric
from graphlth.settings.checks import check_device
from graphlth.sparse.features import Features, sparse_features, sparse_is_faster
from graphlth.sparse.graph import Graph
from graphlth.task import SPLITS, Batch, Forward, Later, Loss, Task, content_digest

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import Data, HeteroData

FEW = 0.5  # of all nodes, below which those that an evaluation needs get a graph of their own


class NodeTask(Task):
    """Prediction for the nodes of one graph: their classes, or numbers; `data` is never changed.

    Args:
        data: a PyG `Data`, or anything else that has x [N, F] finite numbers (dense, or a sparse
            tensor), edge_index [2, E] integers, y [N] or [N, 1] class numbers from 0 or from 1,
            below 0 where a node has none, or text; and train_mask, val_mask, test_mask, each
            boolean or integers of 0 and 1, [N] or [N, splits], or the numbers of the nodes [n]
            (these also as train_idx, val_idx, test_idx). If it has edge_weight, [E] or [E, 1],
            finite and at least 0, that is A in A ⊙ m for every model: the weights of an edge that
            is repeated are added up, and an edge of weight 0 is absent. Without, an edge is there
            once, repeated or not. Other attributes are read by models of a user's own alone, which
            see the whole `data`: there a repeated edge whose edges have attributes stays as often
            as it is, under one mask entry for each of its edge_type; others name those of edges in
            a warning. Or a `HeteroData` (see `graphlth.data.hetero.HeteroNodeTask`).
        edges: what one entry of an edge mask stands for. "undirected": an unordered pair, whose
            two directions (or the one that is there; none is added) live and die together.
            "directed": one direction. Self-loops of the data are edges like any other.
        split: the column of masks that are [N, splits]; or "random": whatever masks there are,
            60 / 20 / 20 % of the labelled nodes of each class train, validate and test.
        split_seed: draws the random split.
        name: what records call the data.
        loss: what training minimises: cross_entropy (of classes), or binary_cross_entropy, mse or
            mae, for which y are numbers [N] or [N, targets]; or a function of the outputs of some
            rows and their `Batch`.
        metric: what results are measured by: accuracy, roc_auc, average_precision, f1_micro,
            f1_macro, rmse, mae, hits@<k>, or a `graphlth.metrics.Metric`; where not given,
            accuracy of classes, and of numbers roc_auc, rmse or mae.
        num_classes: the number of classes where it is known that some may have no training node;
            where not given, that of the labels, and each must have one.
        forward: how a model of a user's own is called, `lambda model, data: model(data.x, ...)`;
            where not given, with what the parameters of its `forward` name of the data.
        node_type: of a `HeteroData`, whose classes are predicted; None: of the type that has y.

    Raises:
        ValueError: something in `data` is missing, of the wrong shape or type, not finite, out of
            range, or several graphs; a split is empty or overlaps another; a class has no training
            node.
    """

    x: Tensor | Features  # [N, F]; in the form whose products cost less (`sparse_is_faster`)
    graph: Graph  # every edge once, sorted by (target, source)
    entries: Tensor  # [E] the mask entry that each edge reads
    num_edges: int  # mask entries: the prunable edges that 100 % stands for
    edge_weight: EdgeMask | None  # A [E] of `graph`, of all layers or of each; None: all are 1
    one_way_edges: int  # of the data, whose reverse is no edge; a self-loop is its own
    duplicate_edges: int  # columns of the data's edge_index that repeat another: one edge with it
    zero_edges: int  # edges of the data whose weight is 0: none of `graph`
    evaluate_every = 1  # an iteration sees the whole graph
    y: Tensor  # [N] classes, or [N, targets] numbers
    label_names: tuple[str, ...]  # what `data` call each class; () where they number them from 0
    rows: dict[str, Tensor]  # "train", "val", "test": the nodes of each split
    notes: tuple[str, ...]  # what was decided about the data, a line each

    def __init__(
        self,
        data: Data | HeteroData,
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
        if is_heterogeneous(data):  # it knows several kinds of edges
            self.__class__ = HeteroNodeTask  # type: ignore[assignment]
            HeteroNodeTask.__init__(
                self, data, edges=edges, split=split, split_seed=split_seed, name=name, loss=loss,  # type: ignore[arg-type]
                metric=metric, num_classes=num_classes, forward=forward, node_type=node_type,
            )  # fmt: skip
            return
        if node_type is not None:
            raise ValueError("`node_type` must go with a HeteroData, got "
                             f"{type(data).__name__}, whose nodes are of one type")  # fmt: skip
        check_kind(edges)
        fields.one_graph(data)
        self.name, self.edges = name, edges
        self.x = features_of(data)
        self.num_nodes, self.num_features = self.x.shape
        found = edges_of(data, self.num_nodes, edges)
        self.graph, self.entries = Graph(found.edge_index, self.num_nodes), found.entries
        self.num_edges, self.edge_weight = found.num_edges, found.weight
        self.duplicate_edges, self.zero_edges = found.duplicates, found.zeros
        self.one_way_edges = _one_way(found.edge_index, self.num_nodes)
        targets = NodeTargets.of(data, self.num_nodes, split, split_seed, loss, metric, num_classes)
        self.loss, self.metric = targets.loss, targets.metric
        self.y, self.rows = targets.y, targets.rows
        self.num_classes, self.label_names = targets.num_classes, targets.label_names
        self.forward = forward
        self._data: Any = None
        self._columns = Columns.of(data, found)
        held = ("x", "edge_index", "edge_weight") if self._columns is None else ("x",)
        self._given = without_fields(data, held)  # of what is held elsewhere no second copy
        self._scale: Tensor | None = None
        ignored = unread(data)
        self.notes = (*fields.notes(self.label_names), *ignored)
        self._inputs = (self.x, self.graph)
        self._batches: dict[str, tuple[Tensor, Batch, tuple[int, int]]] = {}
        for text in ignored:
            warnings.warn(text, DataWarning, stacklevel=2)

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """One batch, the whole graph, scored on the nodes of `split`, whatever `seed`, `index`."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        known, y, rows = self._batches.get(split), self.y, self.rows[split]
        stand = y._version, rows._version
        if known is None or known[0] is not y or known[1].rows is not rows or known[2] != stand:
            nodes = torch.cat([rows, self.rows["train"]]).unique()  # so that the next step of
            few = nodes.numel() < FEW * self.num_nodes  # training need not start from X
            among = (nodes, torch.searchsorted(nodes, rows)) if few else None
            a = self.edge_weight
            known_columns = self._columns
            read = self.entries if known_columns is None else known_columns.entries.to(y.device)
            batch = Batch(self._inputs, y[rows], rows, self.entries, among=among, edge_weight=a,
                          data=Later(self.own_data), columns={EDGES: read},
                          forward=self.forward)  # fmt: skip
            known = self._batches[split] = y, batch, stand
        yield known[1]

    def own_data(self) -> Any:
        """The `Data` that a model of a user's own reads.

        It has all that was given, the features in the type that is computed in, and the edges that
        are left, sorted by (target, source), with their attributes.
        """
        if self._data is None:
            data = pyg_data(self._given)
            if self._columns is not None:
                self._columns.select(self._given, data, self._scale)
            data = data.to(self.graph.device)
            data.x = self.x if isinstance(self.x, Tensor) else self.x.dense
            if self._columns is None:
                data.edge_index, weight = self.graph.edge_index, self.edge_weight
                data.edge_weight = weight if isinstance(weight, Tensor) else None
            self._data = data
        return self._data

    def whole(self, split: str) -> Iterator[Batch]:
        """What `batches` gives: the whole graph."""
        return self.batches(split)

    def without(self, mask: AnyEdgeMask) -> NodeTask:
        """The task on the graph without the edges whose entry of `mask` [num_edges] is 0.

        These edges are gone, not weighted; other entries multiply the weight of their edge. Of one
        mask for each layer, the edges that no layer keeps are gone, and the others have a weight in
        each layer. `num_edges` and the numbers of the entries stay.
        """
        if isinstance(mask, Mapping):
            raise ValueError("`mask` must be one for all edges, which are of one kind, got masks "
                             f"of {', '.join(mask)}")  # fmt: skip
        masks = (mask,) if isinstance(mask, Tensor) else mask
        for each in masks:
            if each.shape != (self.num_edges,):
                raise ValueError(f"`mask` must be [{self.num_edges}], got {list(each.shape)}")
        m = tuple(each.to(self.entries.device)[self.entries] for each in masks)  # [E] each
        dtype = (self.x.values if isinstance(self.x, Features) else self.x).dtype
        keep, weight = kept_edges(m, self.edge_weight, dtype)
        graph, entries, scale = self.graph.subgraph(keep), self.entries[keep], self._scale
        if len(masks) == 1 and not is_binary(masks[0]):  # of several layers no Data can tell
            own = masks[0].detach().to("cpu", dtype)
            scale = own if scale is None else scale * own
        columns = None if self._columns is None else self._columns.keep(kept_entries(masks))
        return self._with(
            graph=graph, entries=entries, edge_weight=weight, _scale=scale, _columns=columns
        )

    def to(self, device: torch.device | str) -> NodeTask:
        """The same task on `device`."""
        check_device(device)
        rows = {split: index.to(device) for split, index in self.rows.items()}
        return self._with(
            x=self.x.to(device),
            graph=self.graph.to(device),
            rows=rows,
            entries=self.entries.to(device),
            edge_weight=map_edges(lambda w: w.to(device), self.edge_weight),
            y=self.y.to(device),
        )

    def fingerprint(self) -> str:
        """Which graph this is: 16 hex digits over nodes, edges and weights, entries and features.

        Labels and splits are left out: a ticket for this graph is one on every split of it.
        """
        edges = self.graph.edge_index, self.entries, self.num_edges, self.edge_weight
        return graph_fingerprint(self.x, *edges)

    def content(self) -> str:
        """All that is learnt from: the graph of `fingerprint`, attributes, labels and splits."""
        graph = self.fingerprint()
        if self._columns is not None:
            graph += attributes_digest(self._given, self._columns)
        return content_digest(graph, self.y, rows=self.rows)

    def _with(self, **changes: Any) -> NodeTask:
        task = copy.copy(self)
        vars(task).update(changes)
        task._inputs, task._batches, task._data = (task.x, task.graph), {}, None
        return task

    def __repr__(self) -> str:
        return (
            f"NodeTask({self.name!r}, nodes={self.num_nodes}, edges={self.num_edges} "
            f"{self.edges}{'' if self.edge_weight is None else ' weighted'}, "
            f"features={self.num_features}, classes={self.num_classes})"
        )


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


SPARSE = 0.1  # of features, below which a fingerprint is one of non-zeros, as it always was


def _values(x: Tensor | Features) -> tuple[Tensor, ...]:
    """What tells features, whatever the form in which they are computed with."""
    n, f = x.shape
    found = x.values.numel() if isinstance(x, Features) else int(x.count_nonzero())
    if found >= SPARSE * n * f:
        return (x.to_dense(),)
    x = x if isinstance(x, Features) else sparse_features(x)
    return x.graph.edge_index, x.values


def split_per_class(
    y: Tensor, train: int, val: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Boolean masks [N]: from every class `train` and `val` nodes at random, the rest for test."""
    order = torch.randperm(y.numel(), generator=generator)
    order = order[y[order].argsort(stable=True)]  # by class, shuffled within each
    sizes = y.bincount()
    place = torch.empty_like(order)  # [N] the place of each node within its class
    place[order] = torch.arange(y.numel()) - (sizes.cumsum(0) - sizes)[y[order]]
    if train < 1 or val < 1 or int(sizes.min()) <= train + val:
        raise ValueError(
            "`train` and `val` must be at least 1 and leave each class a test node, "
            f"got {train} and {val} of {int(sizes.min())}"
        )
    return {
        "train_mask": place < train,
        "val_mask": (place >= train) & (place < train + val),
        "test_mask": place >= train + val,
    }


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
