"""The graphs of OGB that are one graph: `ogbn-arxiv`, `-products`, `-proteins`, `ogbl-collab`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from graphlth.data.ogb import find_folder, read_graphs, read_labels, read_link_split, read_split

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import Data


@dataclass(frozen=True)
class OgbGraph:
    """What OGB publishes of a graph; loading asserts the counts."""

    name: str  # "ogbn-arxiv"
    archive: str  # the file that holds it, below OGB's address
    split: str  # the kind of its split
    nodes: int
    edges: int  # rows of `edge.csv.gz`
    features: int  # of nodes, or where they have none of edges
    targets: int  # columns of labels; 0: links are predicted
    parts: tuple[int, int, int]  # nodes, or links, that train, validate and test

    @property
    def folder(self) -> str:
        """What OGB calls the folder: "ogbn_arxiv"."""
        return self.name.replace("-", "_")


def load_nodes(
    known: OgbGraph, data_root: str | None, *, both_directions: bool, extra: tuple[str, ...] = ()
) -> Data:
    """The graph, with y [N, targets] and train_idx, val_idx, test_idx of the official split.

    See `graphlth.data.ogb.read_graphs`; its counts are asserted.
    """
    folder = find_folder(known.folder, data_root, known.archive)
    data = _only_graph(folder, known, both_directions, extra)
    data.y = read_labels(folder, "node", known.nodes)
    _check(folder, "targets", data.y.size(1), known.targets)
    split = read_split(folder, known.split, known.nodes)
    _check(folder, "split", tuple(map(len, split.values())), known.parts)
    for part, index in split.items():
        data[f"{part}_idx"] = index
    return data


def load_links(
    known: OgbGraph, data_root: str | None, *, extra: tuple[str, ...] = ()
) -> tuple[Data, dict[str, dict[str, Tensor]]]:
    """The graph of the training links in both directions, and the official split of links."""
    folder = find_folder(known.folder, data_root, known.archive)
    data = _only_graph(folder, known, True, extra)
    split = read_link_split(folder, known.split, known.nodes)
    _check(folder, "split", tuple(len(held["edge"]) for held in split.values()), known.parts)
    return data, split


def _only_graph(
    folder: Path, known: OgbGraph, both_directions: bool, extra: tuple[str, ...]
) -> Data:
    """The graph of a folder that holds one; its counts are asserted."""
    graphs = read_graphs(folder, both_directions=both_directions, extra=extra)
    _check(folder, "graphs", len(graphs), 1)
    data = graphs[0]
    features = data.get("x") if data.get("x") is not None else data.get("edge_attr")
    got = {
        "nodes": data.num_nodes,
        "edges": data.edge_index.size(1) // (1 + both_directions),
        "features": 0 if features is None else features.size(1),
    }
    for key, value in got.items():
        _check(folder, key, value, getattr(known, key))
    return data


def mean_of_edges(edge_index: Tensor, values: Tensor, num_nodes: int) -> Tensor:
    """The mean [N, d] of `values` [E, d] over the edges at each node, whichever end it is of them.

    A node without edges has zeros. That is the mean over incoming edges where every edge is there
    in both directions, of which only one is given.
    """
    total = values.new_zeros(num_nodes, values.size(1))
    count = values.new_zeros(num_nodes)
    for ends in edge_index:
        total.index_add_(0, ends, values)
        count.index_add_(0, ends, values.new_ones(1).expand(ends.numel()))
    return total / count.clamp(min=1)[:, None]


def _check(folder: Path, what: str, got: object, expected: object) -> None:
    if got != expected:
        raise ValueError(f"{folder}: `{what}` must be {expected}, got {got}: it is another graph")
