"""Classification or regression of whole graphs, from a list of PyG `Data` or a dataset."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.data import fields
from graphlth.data.edge_list import check_kind
from graphlth.data.graph_labels import (
    count_classes,
    graph_labels,
    graph_loss,
    graph_metric,
    graph_rows,
)
from graphlth.data.graph_list import GraphList, graph_list
from graphlth.data.published import DataWarning
from graphlth.edge_masks import EDGES, EdgeMask, kept_edges, map_edges
from graphlth.metrics import Metric
from graphlth.prune import drop_lowest
from graphlth.registry import find, names_for
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_device
from graphlth.settings.types import OptionalBatchSize
from graphlth.sparse.graph import Graph
from graphlth.streams import stream
from graphlth.task import SPLITS, Batch, Loss, Task, content_digest

BUDGETS = ("graph", "global")
WHOLE = "whole"  # graphs that are not trained on keep all edges
EVALUATED = 500  # graphs in a batch of an evaluation
Split = Mapping[str, Any] | str


class GraphTask(Task):
    """Prediction for whole graphs: their classes, or numbers; `graphs` are never changed.

    A mask of edges has one entry for each edge of each training graph, all graphs in a row. Edges
    of the others have none: they get no gradient of the loss. An output is a row for each graph.

    Args:
        graphs: PyG `Data` in a list, or a dataset of them, each with x [n, F], finite numbers or
            int64 categories, edge_index [2, e], and y: a class number from 0 or from 1, or numbers
            [T] where the `loss` is of numbers, NaN for a label that is missing, which loss and
            metric leave out. What else has a row for each node, edge or graph goes along into the
            batches that a model reads. An edge that is repeated is there as often; its repetitions
            of one `edge_type` share an entry. `edge_weight` is A in A ⊙ m; 0: there is no edge.
        split: the numbers of graphs, or masks, by "train", "val" (or "valid") and "test";
            "random": 80 / 10 / 10 % of each class; None: that of the dataset's `get_idx_split`, or
            random where it has none.
        split_seed: draws the random split.
        edges: what one entry of a mask stands for: an "undirected" pair of nodes, or one
            "directed" edge.
        budget: "graph": each training graph loses its own share of its edges, rounded down or up
            so that all of them together lose the share exactly (`graphlth.prune.drop_lowest`);
            "global": edges of all graphs are ranked together.
        unseen: what becomes of the edges of graphs that validate and test when those of training
            graphs are removed: "whole", they stay; or the name of a score of edges, such as
            "degree": each of these graphs loses the same share, by that score.
        batch_size: the most graphs in a training batch; 0: all in one. Each pass over the training
            graphs is a permutation drawn from the seed, in batches that are as large as each other.
        name: what records call the data.
        forward: how a model is called with PyG's `Batch` of graphs; None: with what of it the
            parameters of its `forward` name, such as x, edge_index, edge_attr and batch.
        loss: cross_entropy (one class), or binary_cross_entropy (labels of 0 and 1), mse or mae; or
            a function of the outputs and their `Batch`.
        metric: accuracy, roc_auc, average_precision, rmse, mae, …, or a `graphlth.metrics.Metric`;
            of several targets the mean, as OGB has it. Where not given, accuracy of classes, and of
            numbers roc_auc, rmse or mae.

    Raises:
        ValueError: something of a graph is missing, of the wrong shape or type, not finite or out
            of range; a split is empty or overlaps another; a class has no training graph.
    """

    graphs: GraphList  # edges whose weight is 0, or that a mask removed, are not in it
    columns: Tensor  # [E] the mask entry of each edge of `graphs`; −1: none
    num_edges: int  # mask entries: the prunable edges that 100 % stands for
    edge_groups: Tensor | None  # [num_edges] the graph of each entry; None: one budget for all
    weights: EdgeMask | None  # A [E] of `graphs`, of all layers or of each; None: all are 1
    evaluate_every: int  # training batches in a pass over all training graphs
    y: Tensor  # [G] classes, or [G, T] numbers, NaN where one is missing
    label_names: tuple[str, ...]  # what the data call each class; () where they number them from 0
    rows: dict[str, Tensor]  # "train", "val", "test": the graphs of each split
    notes: tuple[str, ...]  # what was decided about the data, a line each

    def __init__(
        self,
        graphs: Sequence[Any],
        *,
        split: Split | None = None,
        split_seed: int = 0,
        edges: str = "undirected",
        budget: str = "graph",
        unseen: str | Callable[..., Any] = WHOLE,
        batch_size: OptionalBatchSize = 0,
        name: str = "graphs",
        forward: Callable[[Any, Any], Any] | None = None,
        loss: str | Loss = "cross_entropy",
        metric: str | Metric | None = None,
    ):
        check_kind(edges)
        _check_choice("budget", budget, BUDGETS)
        check_value("batch_size", batch_size, OptionalBatchSize)
        self.name, self.edges, self.budget, self.unseen = name, edges, budget, unseen
        self.forward, self._score = forward, _edge_score(unseen)
        listed = _listed(graphs)
        self.graphs, unread = graph_list(listed)
        self._take_weights()
        self.num_features = self.graphs.x.size(1)
        self.y, self.label_names = graph_labels(listed, loss)
        own = getattr(graphs, "get_idx_split", None)
        given = (own() if own else "random") if split is None else split
        self.rows = graph_rows(given, self.y, split_seed)
        self.num_classes = count_classes(self.y, self.rows)
        self.loss = graph_loss(loss, self.y)
        self.metric = graph_metric(metric, loss, self.y, self.rows)
        self.batch_size = min(batch_size or len(listed), self.rows["train"].numel())
        self.evaluate_every = -(-self.rows["train"].numel() // self.batch_size)
        self._number_edges(self.rows["train"])
        ignored = _unread_note(unread)
        self.notes = (*fields.notes(self.label_names), *_missing_note(self.y), *ignored)
        self._known: dict[str, tuple[Tensor, Tensor, list[Batch]]] = {}
        for text in ignored:
            warnings.warn(text, DataWarning, stacklevel=2)

    @cached_property
    def graph(self) -> Graph:
        """The edges that masks are of: those of the training graphs, among all N nodes."""
        return Graph(self.graphs.edge_index[:, self.columns >= 0], self.graphs.num_nodes)

    @property
    def x(self) -> Tensor:
        """The features of all nodes [N, F]."""
        return self.graphs.x

    @property
    def entries(self) -> Tensor:
        """The mask entry that each edge of `graph` reads."""
        return self.columns[self.columns >= 0]

    @property
    def edge_weight(self) -> EdgeMask | None:
        """A of the edges of `graph`, of all layers or of each; None: all are 1."""
        return map_edges(lambda a: a[self.columns >= 0], self.weights)

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """The `index`-th pass over the training graphs in an order of `seed`, or a whole split."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        if split != "train" or self.evaluate_every == 1:
            yield from self.whole(split)
            return
        rows = self.rows["train"]
        order = torch.randperm(rows.numel(), generator=stream(seed, "order", index))
        for graphs in rows[order.to(rows.device)].tensor_split(self.evaluate_every):
            yield self._batch(graphs)

    def whole(self, split: str) -> Iterator[Batch]:
        """The graphs of `split` as they lie; they are put together once."""
        rows, known = self.rows[split], self._known.get(split)
        if known is None or known[0] is not self.y or known[1] is not rows:
            size = self.batch_size if split == "train" else max(EVALUATED, self.batch_size)
            parts = rows.tensor_split(-(-rows.numel() // size))
            batches = [self._batch(graphs) for graphs in parts]
            known = self._known[split] = self.y, rows, batches
        yield from known[2]

    def without(self, mask: EdgeMask) -> GraphTask:
        """The task without the edges of training graphs whose entry of `mask` [num_edges] is 0.

        These edges are gone, not weighted; other entries multiply the weight of their edge. Of one
        mask for each layer, the edges that no layer keeps are gone. `num_edges` and the numbers of
        the entries stay. Edges of other graphs are removed as `unseen` says.
        """
        masks = (mask,) if isinstance(mask, Tensor) else mask
        for each in masks:
            if each.shape != (self.num_edges,):
                raise ValueError(f"`mask` must be [{self.num_edges}], got {list(each.shape)}")
        masks = tuple(each.to(self.columns.device) for each in masks)
        there = self._unseen(torch.stack(masks).any(0))  # [E]
        m = tuple(torch.cat([each, each.new_ones(1)])[self.columns] * there for each in masks)
        keep, weights = kept_edges(m, self.weights, torch.get_default_dtype())
        graphs = self.graphs.keep_edges(keep)
        return self._with(graphs=graphs, columns=self.columns[keep], weights=weights)

    def to(self, device: torch.device | str) -> GraphTask:
        """The same task on `device`."""
        check_device(device)
        groups = self.edge_groups
        return self._with(
            graphs=self.graphs.to(device),
            columns=self.columns.to(device),
            edge_groups=None if groups is None else groups.to(device),
            weights=map_edges(lambda a: a.to(device), self.weights),
            y=self.y.to(device),
            rows={split: rows.to(device) for split, rows in self.rows.items()},
        )

    def fingerprint(self) -> str:
        """Which graphs these are: 16 hex digits over all that models read, and the mask entries.

        Labels and splits are left out but for what is masked, the edges of training graphs.
        """
        about, g = hashlib.sha256(f"{list(self.x.shape)} {self.num_edges}".encode()), self.graphs
        layers = (self.weights,) if isinstance(self.weights, Tensor) else self.weights or ()
        held = {**g.of_nodes, **g.of_edges, **g.of_graphs}
        about.update(" ".join(held).encode())
        parts = g.x, g.edge_index, g.first_node, self.columns, *layers, *held.values()
        for part in parts:
            about.update(part.cpu().contiguous().numpy().data)
        return about.hexdigest()[:16]

    def content(self) -> str:
        """Everything that is learnt from: the graphs of `fingerprint`, labels and splits."""
        return content_digest(self.fingerprint(), self.y, rows=self.rows)

    def _batch(self, graphs: Tensor) -> Batch:
        edges = self.graphs.edges_of(graphs)
        data = self.graphs.batch(graphs, edges)
        columns, weight = self.columns[edges], map_edges(lambda a: a[edges], self.weights)
        if isinstance(weight, Tensor):
            data.edge_weight = weight
        inputs = data.x, Graph(data.edge_index, len(data.x))
        return Batch(inputs, self.y[graphs], entries=columns, edge_weight=weight, data=data,
                     columns={EDGES: columns}, forward=self.forward, of_graphs=True)  # fmt: skip

    def _take_weights(self) -> None:
        """Take `edge_weight` from among the attributes of edges, and those of weight 0 out."""
        self.weights = None
        others = dict(self.graphs.of_edges)
        if (given := others.pop("edge_weight", None)) is not None:
            weight = _edge_weights(given)
            self.graphs = replace(self.graphs, of_edges=others).keep_edges(weight > 0)
            weight = weight[weight > 0]
            self.weights = None if bool((weight == 1).all()) else weight

    def _number_edges(self, graphs: Tensor) -> None:
        """Give each edge of some `graphs` its mask entry, in the order of the graphs."""
        of = self.graphs.graph_of_edges
        listed = torch.isin(of, graphs)
        source, target = self.graphs.edge_index[:, listed]
        if self.edges == "undirected":
            source, target = torch.maximum(source, target), torch.minimum(source, target)
        key = target * self.graphs.num_nodes + source
        if (kind := self.graphs.of_edges.get("edge_type")) is not None:
            kind = kind[listed].flatten()
            key = key * (int(kind.max()) + 1 if kind.numel() else 1) + kind
        found, entries = key.unique(return_inverse=True)
        self.num_edges = found.numel()
        self.columns = of.new_full(of.shape, -1)
        self.columns[listed] = entries
        groups = of.new_empty(self.num_edges).scatter_(0, entries, of[listed])
        self.edge_groups = groups if self.budget == "graph" else None

    def _unseen(self, alive: Tensor) -> Tensor:
        """Which edges [E] stay of graphs without masks, where of the entries these are `alive`."""
        there = torch.ones_like(self.columns, dtype=torch.bool)
        left = int(self.entries.unique().numel())
        if self._score is None or not left or not alive.any():
            return there
        others = self._with(weights=None, budget="graph", _score=None)
        others._number_edges(torch.cat([self.rows["val"], self.rows["test"]]))
        share = 1 - int(alive[self.entries.unique()].count_nonzero()) / left
        masks = {EDGES: torch.ones(others.num_edges, device=there.device)}
        scores = self._score(nn.Identity(), others, masks)
        kept = drop_lowest(masks, scores, share, groups=others.edge_groups)[EDGES]
        return torch.cat([kept, kept.new_ones(1)])[others.columns] != 0

    def _with(self, **changes: Any) -> GraphTask:
        task = copy.copy(self)
        vars(task).pop("graph", None)
        vars(task).update(changes, _known={})
        return task

    def __repr__(self) -> str:
        return (
            f"GraphTask({self.name!r}, graphs={self.graphs.count}, edges={self.num_edges} "
            f"{self.edges}{'' if self.weights is None else ' weighted'} in "
            f"{self.rows['train'].numel()} for training, features={self.num_features}, "
            f"classes={self.num_classes})"
        )


def _listed(graphs: Any) -> list[Any]:
    dataset = hasattr(graphs, "indices") or hasattr(graphs, "get_idx_split")
    if hasattr(graphs, "edge_index") and not dataset:  # PyG's datasets in memory have one, too
        raise ValueError("`graphs` must be a list of PyG `Data`, or a dataset of them, got one "
                         f"{type(graphs).__name__}: use NodeTask for one graph")  # fmt: skip
    try:
        listed = [graphs[i] for i in range(len(graphs))]
    except TypeError:
        raise ValueError("`graphs` must be a list of PyG `Data`, or a dataset of them, got "
                         f"{type(graphs).__name__}") from None  # fmt: skip
    if len(listed) < len(SPLITS):
        raise ValueError(f"`graphs` must be three at least, one for each split, got {len(listed)}")
    return listed


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        known = " or ".join(f'"{each}"' for each in choices)
        raise ValueError(f"`{name}` must be {known}, got {value!r}")


def _edge_score(unseen: str | Callable[..., Any]) -> Callable[..., Any] | None:
    """The score of edges of that name, or the given function; None for "whole"."""
    if unseen == WHOLE:
        return None
    if callable(unseen):
        return unseen
    known = [*names_for("scores", "edges")]
    if unseen not in known:
        raise ValueError(f"`unseen` must be {WHOLE}, or a score of edges, one of "
                         f"{', '.join(known)}, got {unseen!r}")  # fmt: skip
    score: Callable[..., Any] = find("scores", unseen)
    return score


def _edge_weights(given: Tensor) -> Tensor:
    """Edge weights [E] of all graphs."""
    if given.dim() > 2 or given.numel() != given.size(0) or given.is_complex():
        raise ValueError("`edge_weight` of the graphs must be a real number for each edge, got "
                         f"{given.dtype} {list(given.shape[1:])}")  # fmt: skip
    weight = given.reshape(-1).to(torch.get_default_dtype())
    wrong = weight[~weight.isfinite() | (weight < 0)]
    if wrong.numel():
        raise ValueError("`edge_weight` of the graphs must be finite and at least 0, got "
                         f"{float(wrong[0])}: take these edges out")  # fmt: skip
    return weight


def _missing_note(y: Tensor) -> tuple[str, ...]:
    missing = int(y.isnan().sum())
    if not missing:
        return ()
    return (f"{missing:,} of {y.numel():,} labels are missing: loss and metric leave them out",)


def _unread_note(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    every = ", ".join(f"`{name}`" for name in names)
    return (
        f"{every} of the graphs {'is' if len(names) == 1 else 'are'} not read: batches hold "
        "what has a row for each node, edge or graph",
    )
