"""Classification or regression of the nodes of one graph, from a PyG `Data` or `HeteroData`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.graph_data import GraphData
from graphlth.data.hetero import is_heterogeneous
from graphlth.data.node_targets import NodeTargets
from graphlth.data.whole_graph import WholeGraphTask, graph_data, warn_of
from graphlth.metrics import Metric
from graphlth.settings.annotations import check_value
from graphlth.settings.types import ProtectedEdges
from graphlth.task import Batch, Forward, Loss, content_digest

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import Data, HeteroData

FEW = 0.5  # of all nodes, below which those that an evaluation needs get a graph of their own


class NodeTask(WholeGraphTask):
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
            a warning. Or a `HeteroData`: of the type that is predicted the nodes have y and the
            masks, and each relation has an edge mask of its own, whose edges are ranked together
            with those of the others (`graphlth.data.hetero.HeteroGraphData`).
        edges: what one entry of an edge mask stands for. "undirected": an unordered pair of nodes
            of one type, whose two directions (or the one that is there; none is added) live and die
            together. "directed": one direction, as always between two types; a relation and its
            reverse are two relations. Self-loops of the data are edges like any other.
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
        protected_edges: which edges stay whatever their mask entry scores: "none"; or "training",
            those that leave or enter a training node, which the loss sees first. Fractions that a
            round removes are then of the others; `num_edges` and sparsities are of all.

    Raises:
        ValueError: something in `data` is missing, of the wrong shape or type, not finite, out of
            range, or several graphs; a split is empty or overlaps another; a class has no training
            node.
    """

    y: Tensor  # [N] classes, or [N, targets] numbers
    label_names: tuple[str, ...]  # what `data` call each class; () where they number them from 0

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
        protected_edges: str = "none",
    ):
        store = data if (kind := _node_kind(data, node_type)) is None else data[kind]
        self.graph_data = graph_data(data, edges, name, kind)
        targets = NodeTargets.of(
            store, self.num_nodes, split, split_seed, loss, metric, num_classes
        )
        self.name, self.forward = name, forward
        self.loss, self.metric = targets.loss, targets.metric
        self.y, self.rows = targets.y, targets.rows
        self.num_classes, self.label_names = targets.num_classes, targets.label_names
        self.notes = (*fields.notes(self.label_names), *self.graph_data.notes)
        self._known = {}
        self.edge_groups = self._protect(protected_edges)
        warn_of(self.graph_data.notes)

    def _protect(self, edges: str) -> Tensor | None:
        """The groups of the edges: -1 of those that stay, 0 of the others; None where all may go.

        Raises:
            ValueError: there is no such choice, the edges are of several relations, or none may go.
        """
        check_value("protected_edges", edges, ProtectedEdges)
        if edges == "none":
            return None
        if not isinstance(self.graph_data, GraphData):
            raise ValueError("`protected_edges` must be none for a HeteroData, whose relations "
                             f"share one ranking, got {edges!r}")  # fmt: skip
        trains = torch.zeros(self.num_nodes, dtype=torch.bool)
        trains[self.rows["train"]] = True
        groups = torch.zeros(self.num_edges, dtype=torch.int64)
        groups[self.entries[trains[self.graph.edge_index].any(dim=0)]] = -1
        if not bool((groups == 0).any()):
            raise ValueError("`protected_edges` must leave edges that may go, got 'training' where "
                             "every edge has an end at a training node")  # fmt: skip
        return groups

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """One batch, the whole graph, scored on the nodes of `split`, whatever `seed`, `index`."""
        return self.whole(split)

    def _batch(self, rows: Tensor) -> Batch:
        among = None
        if isinstance(self.graph_data, GraphData):
            nodes = torch.cat([rows, self.rows["train"]]).unique()  # so that the next step of
            if nodes.numel() < FEW * self.num_nodes:  # training need not start from X
                among = nodes, torch.searchsorted(nodes, rows)
        return self.graph_data.batch(self.y[rows], rows=rows, among=among, forward=self.forward)

    def content(self) -> str:
        """All that is learnt from: the graph of `fingerprint`, attributes, labels and splits."""
        return content_digest(self.graph_data.content(), self.y, rows=self.rows)

    def __repr__(self) -> str:
        graph = self.graph_data.summary
        return f"NodeTask({self.name!r}, {graph}, classes={self.num_classes})"


def _node_kind(data: Any, node_type: str | None) -> str | None:
    """The type of nodes that is predicted; None where there is one.

    Raises:
        ValueError: no type or several have y, and `node_type` is none of them.
    """
    if not is_heterogeneous(data):
        if node_type is not None:
            raise ValueError("`node_type` must go with a HeteroData, got "
                             f"{type(data).__name__}, whose nodes are of one type")  # fmt: skip
        return None
    known = [kind for kind in data.node_types if "y" in data[kind]]
    if node_type is None and len(known) == 1:
        return str(known[0])
    if node_type is None or node_type not in data.node_types:
        raise ValueError(f"`node_type` must be one of {', '.join(data.node_types)}, got "
                         f"{node_type!r}, while y is there for {', '.join(known) or 'none'}"
                         )  # fmt: skip
    return node_type


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
