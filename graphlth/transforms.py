"""Edge scores as a transform of PyG: it goes into `T.Compose`, a dataset or a loader."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.transforms import BaseTransform

from graphlth.algorithms._scores import score_name, score_part
from graphlth.data.edge_list import EdgeList
from graphlth.data.graph_data import GraphData, edges_of, features_of
from graphlth.data.hetero import EdgeType, node_count, relation_edges, relation_graph
from graphlth.data.pruned import (
    check_edges_of_data,
    remove_edges,
    remove_edges_of,
    reverse_mask,
)
from graphlth.data.published import DataWarning
from graphlth.edge_masks import relation_key
from graphlth.masks import EDGES
from graphlth.prune import drop_lowest
from graphlth.registry import find, names_for, normalize_name
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_setting
from graphlth.settings.types import Edges, EdgeScore, Fraction, Seed
from graphlth.settings.validation import check_settings, settings_of
from graphlth.streams import stream_seed

Kept = Annotated[int, Ge(1)]
GIVEN = ("seed",)  # settings of a score that the transform gives


class PruneEdges(BaseTransform):
    """Removes the edges of lowest score: an exact share of them, or all but an exact number.

    Nodes and all that a graph holds of them stay; attributes of edges go with their edges (see
    `glt.prune_data`). Of equal scores the earlier pair goes, in the order of its nodes' numbers, so
    that the same graph always loses the same edges, in whatever order they lie. A warning says how
    many nodes have lost their last edge. A graph of fewer edges than `keep` stays as it is.

    Of a `HeteroData` each relation is a graph of its own, with the exact budget of its own, between
    nodes of one type or of two. A relation whose edges are the reverses of those of another, as
    `ToUndirected` makes them, loses the reverses of what that one loses.

    Args:
        score: its name: degree, jaccard, similarity, spectral, effective_resistance, random or that
            of another package; or a function (model, task, masks) as in `graphlth.scores`, of which
            `model` has no parameters and `task` is the graph. Between two types of nodes there are
            no common neighbours for jaccard, and similarity needs as many features of both.
        ratio: the share of the edges that goes, in [0, 1): exactly `round(ratio · edges)`.
        keep: in place of `ratio`: how many edges stay.
        edges: what counts as an edge: an "undirected" pair, whose directions go together, or one
            "directed" edge, as always between two types. Repetitions are one.
        relations: of a `HeteroData` those that lose edges, and with them their reverses, as
            ("user", "rates", "film") or "rates"; None: all.
        seed: of a score that draws, such as random; each relation has draws of its own.
        **settings: those of the score, such as `components=8` of spectral.

    Raises:
        ValueError: the score or a setting is unknown or out of its range, or not one of `ratio` and
            `keep` is given; when called, the data are no `Data`, or have no such relation, or one
            that the score cannot rank.
    """

    def __init__(
        self,
        score: EdgeScore = "degree",
        *,
        ratio: Fraction | None = None,
        keep: Kept | None = None,
        edges: Edges = "undirected",
        relations: Sequence[EdgeType | str] | None = None,
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
        if not isinstance(relations, list | tuple | None):
            raise ValueError(f"`relations` must be a list of relations, got {relations!r}: give "
                             f"[{relations!r}]")  # fmt: skip
        self.edges, self.relations, self.seed = edges, relations, seed

    def forward(self, data: Data | HeteroData) -> Data | HeteroData:
        """A graph like `data` without the edges of lowest score."""
        check_edges_of_data(data)
        if isinstance(data, HeteroData):
            pruned = self._prune_relations(data)
        else:
            pruned = self._prune_graph(data)
        _warn_of_isolated_nodes(data, pruned)
        return pruned

    def _prune_graph(self, data: Data) -> Data:
        if self.relations is not None:
            raise ValueError("`relations` must go with a HeteroData, got Data, whose edges are of "
                             "one kind")  # fmt: skip
        nodes = int(data.num_nodes or 0)
        listed = edges_of(data, nodes, self.edges)
        x = features_of(data) if isinstance(data.get("x"), Tensor) else None
        graph = GraphData.of_edges(listed, x, nodes, self.edges, "data")
        pruned = remove_edges(data, listed, self._kept(graph, self.seed))
        if "x" not in pruned and "num_nodes" not in pruned:
            pruned.num_nodes = nodes  # or PyG would count those that edges name
        return pruned

    def _prune_relations(self, data: HeteroData) -> HeteroData:
        known = {kind: relation_edges(data, kind, self.edges) for kind in data.edge_types}
        masks: dict[EdgeType, Tensor] = {}
        for kind in _named_relations(data, self.relations):
            if kind not in masks:
                masks = self._kept_in_both(data, kind, known) | masks
        pruned = copy.copy(data)
        for kind, mask in masks.items():
            remove_edges_of(data, pruned, kind, known[kind], mask)
        return pruned

    def _kept_in_both(
        self, data: HeteroData, kind: EdgeType, known: Mapping[EdgeType, EdgeList]
    ) -> dict[EdgeType, Tensor]:
        """Which edges of a relation stay, and of the others whose edges are their reverses."""
        graph = relation_graph(data, kind, known[kind], self.edges)
        kept = self._kept(graph, stream_seed(self.seed, "relation", relation_key(kind)))
        nodes = max(node_count(data, kind[0]), node_count(data, kind[2]), 1)
        found = {kind: kept}
        for other in known:
            if other != kind and (other[2], other[0]) == (kind[0], kind[2]):
                mask = reverse_mask(known[kind], kept, known[other], nodes)
                found |= {} if mask is None else {other: mask}
        return found

    def _kept(self, graph: GraphData, seed: int) -> Tensor:
        """Which edges [num_edges] of `graph` stay: 1, and 0 for the others."""
        masks, share = {EDGES: torch.ones(graph.num_edges)}, self.ratio
        if share is None:
            assert self.keep is not None
            share = max(graph.num_edges - self.keep, 0) / max(graph.num_edges, 1)
        task: Any = graph
        scores = score_part(self.score, "edges", nn.Identity(), task, masks, seed=seed)
        return drop_lowest(masks, scores, share)[EDGES]

    def __repr__(self) -> str:
        budget = f"keep={self.keep}" if self.ratio is None else f"ratio={self.ratio}"
        others = "".join(f", {n}={v!r}" for n, v in self.settings.items())
        return f"PruneEdges({self.name!r}, {budget}, edges={self.edges!r}{others})"


def _named_relations(data: HeteroData, relations: Sequence[Any] | None) -> list[EdgeType]:
    """The relations of `data` that are named, by all three of their names or by the middle one.

    Raises:
        ValueError: there is none of a name.
    """
    found: list[EdgeType] = []
    for name in data.edge_types if relations is None else relations:
        fits = [kind for kind in data.edge_types if name in (kind[1], kind, [*kind])]
        if not fits:
            known = ", ".join(map(str, data.edge_types))
            raise ValueError(f"`relations` must be of {known}, got {name!r}")
        found += [kind for kind in fits if kind not in found]
    return found


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


def _warn_of_isolated_nodes(data: Data | HeteroData, pruned: Data | HeteroData) -> None:
    before, after = _connected(data, data), _connected(data, pruned)
    if lost := int((before & ~after).sum()):
        warnings.warn(f"{lost:,} of {after.numel():,} nodes have lost their last edge: "
                      f"{int((~after).sum()):,} have none now",
                      DataWarning, stacklevel=5)  # fmt: skip


def _connected(data: Data | HeteroData, left: Data | HeteroData) -> Tensor:
    """Which nodes [N] of `data`, of all types, have an edge of `left` to another."""
    if isinstance(left, Data):
        found = torch.zeros(int(data.num_nodes or 0), dtype=torch.bool)
        found[left.edge_index[:, left.edge_index[0] != left.edge_index[1]].flatten().cpu()] = True
        return found
    by_type = {each: torch.zeros(node_count(data, each), dtype=torch.bool)
               for each in left.node_types}  # fmt: skip
    for kind in left.edge_types:
        source, target = left[kind].edge_index.cpu()
        other = source != target if kind[0] == kind[2] else slice(None)
        by_type[kind[0]][source[other]] = True
        by_type[kind[2]][target[other]] = True
    return torch.cat([*by_type.values()])
