"""Node classification on one graph, from a PyG `Data`: yours or a task's."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from graphlth.graph import Features, Graph, sparse_features
from graphlth.task import SPLITS, Batch

SPARSE = 0.1  # features with fewer non-zeros than this fraction are kept sparse
FEW = 0.5  # of all nodes, below which those that an evaluation needs get a graph of their own


class GraphTask:
    """Node classification on one graph; `data` itself is never changed.

    Args:
        data: a PyG `Data`, or anything else that has x [N, F] finite numbers (dense, or a sparse
            tensor), edge_index [2, E] integers, y [N] class numbers, and boolean train_mask,
            val_mask, test_mask, each [N] or [N, splits]. Other attributes, edge weights among
            them, are ignored.
        edges: what one entry of an edge mask stands for. "undirected": an unordered pair, whose
            two directions (or the one that is there; none is added) live and die together.
            "directed": one direction. Self-loops of the data are edges like any other.
        split: the column of masks that are [N, splits].
        name: what records call the data.

    Raises:
        ValueError: something in `data` is missing, of the wrong shape or type, not finite, out of
            range; a split is empty or overlaps another; a class has no training node.
    """

    x: Tensor | Features  # [N, F]; sparse where fewer than a tenth of the entries are non-zero
    graph: Graph  # every edge once, sorted by (target, source)
    entries: Tensor  # [E] the mask entry that each edge reads
    num_edges: int  # mask entries: the prunable edges that 100 % stands for
    evaluate_every = 1  # an iteration sees the whole graph
    y: Tensor  # [N]
    rows: dict[str, Tensor]  # "train", "val", "test": the nodes of each split

    def __init__(self, data: Any, *, edges: str = "undirected", split: int = 0, name: str = "data"):
        if edges not in ("undirected", "directed"):
            raise ValueError(f'`edges` must be "undirected" or "directed", got {edges!r}')
        if not hasattr(data, "edge_index"):
            raise ValueError(f"`data` must be a PyG `Data`, got {type(data).__name__}")
        self.name, self.edges = name, edges
        self.x = _features(_tensor(data, "x"))
        self.num_nodes, self.num_features = self.x.shape
        pairs, self.entries, self.num_edges = _universe(
            _tensor(data, "edge_index"), self.num_nodes, edges
        )
        self.graph = Graph(pairs, self.num_nodes)
        self.y = _labels(_tensor(data, "y"), self.num_nodes)
        self.rows = _rows(data, self.num_nodes, split)
        self.num_classes = _classes(self.y, self.rows)
        self._inputs = (self.x, self.graph)
        self._batches: dict[str, tuple[Tensor, Batch, tuple[int, int]]] = {}

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
            batch = Batch(self._inputs, y[rows], rows, self.entries, among=among)
            known = self._batches[split] = y, batch, stand
        yield known[1]

    def whole(self, split: str) -> Iterator[Batch]:
        """What `batches` gives: the whole graph."""
        return self.batches(split)

    def without(self, mask: Tensor) -> GraphTask:
        """The task on the graph without the edges whose entry of `mask` [num_edges] is 0.

        The edges are gone, not weighted; `num_edges` and the numbers of the entries stay.
        """
        if mask.shape != (self.num_edges,):
            raise ValueError(f"`mask` must be [{self.num_edges}], got {list(mask.shape)}")
        keep = mask.to(self.entries.device)[self.entries] != 0
        return self._with(graph=self.graph.subgraph(keep), entries=self.entries[keep])

    def to(self, device: torch.device | str) -> GraphTask:
        """The same task on `device`."""
        rows = {split: index.to(device) for split, index in self.rows.items()}
        return self._with(
            x=self.x.to(device),
            graph=self.graph.to(device),
            rows=rows,
            entries=self.entries.to(device),
            y=self.y.to(device),
        )

    def fingerprint(self) -> str:
        """Which graph this is: 16 hex digits over its nodes, edges, mask entries and features.

        Labels and splits are left out: a ticket for this graph is one on every split of it.
        """
        digest = hashlib.sha256(f"{self.num_nodes} {self.num_features} {self.num_edges}".encode())
        x = (self.x.graph.edge_index, self.x.values) if isinstance(self.x, Features) else (self.x,)
        for part in (self.graph.edge_index, self.entries, *x):
            digest.update(part.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _with(self, **changes: Any) -> GraphTask:
        task = copy.copy(self)
        vars(task).update(changes)
        task._inputs, task._batches = (task.x, task.graph), {}
        return task

    def __repr__(self) -> str:
        return (
            f"GraphTask({self.name!r}, nodes={self.num_nodes}, edges={self.num_edges} "
            f"{self.edges}, features={self.num_features}, classes={self.num_classes})"
        )


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


def _tensor(data: Any, key: str) -> Tensor:
    value = getattr(data, key, None)
    if not isinstance(value, Tensor):
        state = "is missing" if value is None else f"must be a tensor, got {type(value).__name__}"
        raise ValueError(f"`data.{key}` {state}")
    return value.detach().cpu()


def _features(x: Tensor) -> Tensor | Features:
    if x.dim() != 2 or 0 in x.shape or x.is_complex():
        raise ValueError(f"`data.x` must be real numbers [N, F], got {x.dtype} {list(x.shape)}")
    x = x.to(torch.get_default_dtype())
    if x.layout != torch.strided:
        x = x.to_sparse_coo().coalesce()
    values = x if x.layout == torch.strided else x.values()
    if not values.isfinite().all():
        raise ValueError("`data.x` must be finite, got NaN or infinity")
    if int(values.count_nonzero()) >= SPARSE * x.numel():
        return x.to_dense()
    if x.layout == torch.strided:
        return sparse_features(x)
    some = values != 0
    return Features(Graph(x.indices()[:, some].flip(0), (x.size(1), x.size(0))), values[some])


def _universe(edge_index: Tensor, num_nodes: int, edges: str) -> tuple[Tensor, Tensor, int]:
    """Every edge once, the mask entry of each, and the number of entries."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"`data.edge_index` must be [2, E], got {list(edge_index.shape)}")
    if edge_index.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"`data.edge_index` must hold int64 node numbers, got {edge_index.dtype}")
    edge_index = edge_index.long()
    wrong = edge_index[(edge_index < 0) | (edge_index >= num_nodes)]
    if wrong.numel():
        raise ValueError(f"`data.edge_index` must be in [0, {num_nodes}), got {int(wrong[0])}")
    key = torch.unique(edge_index[1] * num_nodes + edge_index[0])  # sorted by (target, source)
    source, target = key % num_nodes, key // num_nodes  # [E]
    entries = torch.arange(key.numel())
    if edges == "undirected":
        pair = torch.minimum(source, target) * num_nodes + torch.maximum(source, target)
        entries = torch.unique(pair, return_inverse=True)[1]
    return torch.stack([source, target]), entries, int(entries.max()) + 1 if key.numel() else 0


def _labels(y: Tensor, num_nodes: int) -> Tensor:
    if y.shape != (num_nodes,):
        raise ValueError(f"`data.y` must be [{num_nodes}], one class a node, got {list(y.shape)}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"`data.y` must hold int64 class numbers, got {y.dtype}")
    return y.long().clone()


def _rows(data: Any, num_nodes: int, split: int) -> dict[str, Tensor]:
    """The nodes of each split; every mask is [N], or [N, splits] with `split` as the column."""
    masks = {part: _tensor(data, f"{part}_mask") for part in SPLITS}
    for part, mask in masks.items():
        if mask.dtype != torch.bool or mask.dim() not in (1, 2) or mask.size(0) != num_nodes:
            raise ValueError(
                f"`data.{part}_mask` must be boolean [{num_nodes}] or "
                f"[{num_nodes}, splits], got {mask.dtype} {list(mask.shape)}"
            )
    count = min((mask.size(1) for mask in masks.values() if mask.dim() == 2), default=1)
    if not 0 <= split < count:
        raise ValueError(f"`split` must be in [0, {count}), got {split}")
    chosen = {p: mask[:, split] if mask.dim() == 2 else mask for p, mask in masks.items()}
    for part, mask in chosen.items():
        if not mask.any():
            raise ValueError(f"`data.{part}_mask` must select at least one node, got none")
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = int((chosen[a] & chosen[b]).sum())
        if shared:
            raise ValueError(
                f"`data.{a}_mask` and `data.{b}_mask` must not overlap, got {shared} nodes in both"
            )
    return {part: mask.nonzero().view(-1) for part, mask in chosen.items()}


def _classes(y: Tensor, rows: dict[str, Tensor]) -> int:
    """The number of classes; nodes outside the splits may be unlabelled (below 0)."""
    for part, index in rows.items():
        if int(y[index].min()) < 0:
            raise ValueError(
                f"`data.y` must be at least 0 on the {part} nodes, got {int(y[index].min())}"
            )
    num_classes = int(y.max()) + 1
    taught = torch.zeros(num_classes, dtype=torch.bool)
    taught[y[rows["train"]]] = True
    if not taught.all():
        raise ValueError(
            "`data.train_mask` must hold a node of every class, got none of class "
            f"{int((~taught).nonzero()[0])}"
        )
    return num_classes
