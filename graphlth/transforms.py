"""Edge scores as a transform of PyG: it goes into `T.Compose`, a dataset or a loader."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphlth.algorithms._scores import score_name, score_part
from graphlth.data.edge_list import EdgeList
from graphlth.data.graph_data import edges_of, features_of
from graphlth.data.pruned import check_edges_of_data, remove_edges
from graphlth.data.published import DataWarning
from graphlth.masks import EDGES
from graphlth.prune import drop_lowest
from graphlth.registry import find, names_for, normalize_name
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_setting
from graphlth.settings.types import Edges, EdgeScore, Fraction, Seed
from graphlth.settings.validation import check_settings, settings_of
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph

Kept = Annotated[int, Ge(1)]
GIVEN = ("seed",)  # settings of a score that the transform gives


class PruneEdges(BaseTransform):
    """Removes the edges of lowest score: an exact share of them, or all but an exact number.

    Nodes and all that a graph holds of them stay; attributes of edges go with their edges (see
    `glt.prune_data`). Of equal scores the earlier pair goes, in the order of its nodes' numbers, so
    that the same graph always loses the same edges, in whatever order they lie. A warning says how
    many nodes have lost their last edge. A graph of fewer edges than `keep` stays as it is.

    Args:
        score: its name: degree, jaccard, similarity, spectral, effective_resistance, random or that
            of another package; or a function (model, task, masks) as in `graphlth.scores`, of which
            `model` has no parameters and `task` is the graph.
        ratio: the share of the edges that goes, in [0, 1): exactly `round(ratio · edges)`.
        keep: in place of `ratio`: how many edges stay.
        edges: what counts as an edge: an "undirected" pair, whose directions go together, or one
            "directed" edge. Repetitions are one.
        seed: of a score that draws, such as random.
        **settings: those of the score, such as `components=8` of spectral.

    Raises:
        ValueError: the score or a setting is unknown or out of its range, or not one of `ratio` and
            `keep` is given; when called, the data are no `Data`.
    """

    def __init__(
        self,
        score: EdgeScore = "degree",
        *,
        ratio: Fraction | None = None,
        keep: Kept | None = None,
        edges: Edges = "undirected",
        seed: Seed = 0,
        **settings: bool | int | float | str,
    ):
        if (ratio is None) == (keep is None):
            raise ValueError("`ratio` must be given, or `keep` in its place, got "
                             f"{'neither' if ratio is None else 'both'}")  # fmt: skip
        check_value("ratio", ratio, Fraction | None)
        check_value("keep", keep, Kept | None)
        check_value("edges", edges, Edges)
        check_value("seed", seed, Seed)
        self.score, self.settings = _bind(score, settings), settings
        self.name, self.ratio, self.keep = score_name(score), ratio, keep
        self.edges, self.seed = edges, seed

    def forward(self, data: Data) -> Data:
        """A `Data` like `data` without the edges of lowest score."""
        check_edges_of_data(data)
        nodes = int(data.num_nodes or 0)
        graph: Any = _GraphAlone.of(data, nodes, self.edges)
        masks = {EDGES: torch.ones(graph.num_edges)}
        share = self.ratio
        if share is None:
            assert self.keep is not None
            share = max(graph.num_edges - self.keep, 0) / max(graph.num_edges, 1)
        scores = score_part(self.score, "edges", nn.Identity(), graph, masks, seed=self.seed)
        left = drop_lowest(masks, scores, share)[EDGES]
        pruned: Data = remove_edges(data, graph.listed, left)
        if "x" not in pruned and "num_nodes" not in pruned:
            pruned.num_nodes = nodes  # or PyG would count those that edges name
        _warn_of_isolated_nodes(data, pruned, nodes)
        return pruned

    def __repr__(self) -> str:
        budget = f"keep={self.keep}" if self.ratio is None else f"ratio={self.ratio}"
        others = "".join(f", {n}={v!r}" for n, v in self.settings.items())
        return f"PruneEdges({self.name!r}, {budget}, edges={self.edges!r}{others})"


@dataclass(frozen=True)
class _GraphAlone:
    """As much of a task as scores of edges read: a graph, without labels and splits."""

    name: str
    edges: str
    num_edges: int
    graph: Graph
    entries: Tensor  # [E]
    edge_weight: Tensor | None
    x: Tensor | Features | None
    listed: EdgeList

    @classmethod
    def of(cls, data: Data, num_nodes: int, edges: str) -> _GraphAlone:
        """The graph of `data`."""
        listed = edges_of(data, num_nodes, edges)
        x = features_of(data) if isinstance(data.get("x"), Tensor) else None
        graph = Graph(listed.edge_index, num_nodes)
        return cls("data", edges, listed.num_edges, graph, listed.entries, listed.weight, x, listed)

    def without(self, mask: Tensor) -> _GraphAlone:
        """The same graph without the edges whose entry of `mask` is 0."""
        keep = mask[self.entries] != 0
        weight = None if self.edge_weight is None else self.edge_weight[keep]
        return replace(self, graph=self.graph.subgraph(keep), entries=self.entries[keep],
                       edge_weight=weight)  # fmt: skip


def _bind(score: EdgeScore, settings: Mapping[str, Any]) -> Callable[..., Any]:
    """The score as a function, its settings bound.

    Raises:
        ValueError: there is no such score of edges, or a setting is unknown or wrong.
    """
    if isinstance(score, str):
        known = names_for("scores", "edges")
        if normalize_name(score) not in known:
            raise ValueError(f"`score` must be one of {', '.join(known)}, got {score!r}")
    function: Callable[..., Any] = find("scores", score) if isinstance(score, str) else score
    own = {n: p for n, p in settings_of(function).items() if n not in GIVEN}
    for name in settings:
        check_setting(name, own, f"of the score {score_name(score)}")
    check_settings(settings, own)
    return partial(function, **settings) if settings else function


def _warn_of_isolated_nodes(data: Data, pruned: Data, num_nodes: int) -> None:
    before, after = (_connected(each.edge_index, num_nodes) for each in (data, pruned))
    if lost := int((before & ~after).sum()):
        warnings.warn(f"{lost:,} of {num_nodes:,} nodes have lost their last edge: "
                      f"{num_nodes - int(after.sum()):,} have none now",
                      DataWarning, stacklevel=5)  # fmt: skip


def _connected(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Which nodes [N] have an edge to another."""
    found = torch.zeros(num_nodes, dtype=torch.bool, device=edge_index.device)
    found[edge_index[:, edge_index[0] != edge_index[1]].flatten()] = True
    return found
