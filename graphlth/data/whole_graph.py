"""Tasks on one graph, which a batch holds whole: what those of nodes and of links share."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from graphlth.data.graph_data import GraphData
from graphlth.data.hetero import HeteroGraphData, is_heterogeneous
from graphlth.data.published import DataWarning
from graphlth.edge_masks import AnyEdgeMask, EdgeMask
from graphlth.settings.checks import check_device
from graphlth.task import SPLITS, Batch, Forward, Task

OF_GRAPH = (
    "x", "graph", "entries", "edge_weight", "edges", "num_nodes", "num_features", "num_edges",
    "one_way_edges", "duplicate_edges", "zero_edges", "node_type", "data", "relation",
)  # fmt: skip


def graph_data(
    data: Any, edges: str, name: str, node_type: str | None
) -> GraphData | HeteroGraphData:
    """The graph of a PyG `Data`, or of a `HeteroData` of which `node_type` is scored."""
    if is_heterogeneous(data):
        assert node_type is not None
        return HeteroGraphData.of(data, edges, node_type)
    return GraphData.of(data, edges, name)


class WholeGraphTask(Task):
    """A task whose batches hold one graph and some rows that are scored."""

    evaluate_every = 1  # an iteration sees the whole graph
    graph_data: GraphData | HeteroGraphData  # what a model reads, which has what follows
    x: Any  # [N, F]; in the form whose products cost less (`sparse_is_faster`)
    graph: Any  # every edge once, sorted by (target, source); None of a `HeteroData`
    entries: Tensor  # [E] the mask entry that each edge reads
    edges: str  # what an entry stands for
    num_edges: int  # mask entries: the prunable edges that 100 % stands for
    edge_weight: EdgeMask | None  # A [E] of `graph`, of all layers or of each; None: all are 1
    num_nodes: int  # N
    num_features: int  # F
    one_way_edges: int  # of a `Data`, whose reverse is no edge; a self-loop is its own
    duplicate_edges: int  # columns of its edge_index that repeat another: one edge with it
    zero_edges: int  # its edges whose weight is 0: none of `graph`
    y: Tensor  # [rows of all splits, ...] what is predicted
    rows: dict[str, Tensor]  # "train", "val", "test": which of `y` are those of each split
    notes: tuple[str, ...]  # what was decided about the data, a line each
    forward: Forward | None
    _known: Mapping[str, tuple[Tensor, Tensor, tuple[int, int], Batch]]

    def __getattr__(self, name: str) -> Any:
        """What is known of the graph."""
        if name in OF_GRAPH:
            return getattr(self.graph_data, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @abstractmethod
    def _batch(self, rows: Tensor) -> Batch:
        """The whole graph, scored on `rows`."""

    def whole(self, split: str) -> Iterator[Batch]:
        """One batch, the whole graph, scored on the rows of `split`; it is made once."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        known, y, rows = self._known.get(split), self.y, self.rows[split]
        versions = y._version, rows._version
        if known is None or known[0] is not y or known[1] is not rows or known[2] != versions:
            known = y, rows, versions, self._batch(rows)
            self._known = {**self._known, split: known}
        yield known[3]

    def without(self, mask: AnyEdgeMask) -> Self:
        """The task on the graph without the edges whose entry of `mask` is 0.

        See `GraphData.without` and, with a mask for each relation, `HeteroGraphData.without`. All
        rows of all splits stay.
        """
        return self._with(graph_data=self.graph_data.without(mask))

    def to(self, device: torch.device | str) -> Self:
        """The same task on `device`."""
        check_device(device)
        rows = {split: index.to(device) for split, index in self.rows.items()}
        groups = None if self.edge_groups is None else self.edge_groups.to(device)
        return self._with(
            graph_data=self.graph_data.to(device),
            y=self.y.to(device),
            rows=rows,
            edge_groups=groups,
        )

    def fingerprint(self) -> str:
        """Which graph this is; labels and splits are left out: see `GraphData.fingerprint`."""
        return self.graph_data.fingerprint()

    def _with(self, **changes: Any) -> Self:
        task = copy.copy(self)
        vars(task).update(changes, _known={})
        return task


def warn_of(notes: Sequence[str]) -> None:
    """Say to who makes a task what was decided about the data."""
    for text in notes:
        warnings.warn(text, DataWarning, stacklevel=3)
