"""Graph classification sets of TU Dortmund from their text files (Morris et al., arXiv:2007.08663).

They are read as `torch_geometric.io.read_tu_data` does; nothing is written where files are read.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.data import published
from graphlth.data.archives import Array, one_line
from graphlth.data.files import find_files
from graphlth.data.graphs import GraphTask

NEEDED = ("A", "graph_indicator", "graph_labels", "node_labels")


@dataclass(frozen=True)
class Counts:
    """What a published set holds; loading asserts it."""

    graphs: int
    nodes: int
    edges: int  # directed
    classes: int
    tables: tuple[str, ...] = ()  # beside the needed ones


def tu_task(
    name: str, counts: Counts, data_root: str | None, *, attributes: bool = False, **settings: Any
) -> GraphTask:
    """The set `name` ("MUTAG") as a task; `settings` are those of `GraphTask`.

    Every file is compared with its digest before it is read.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not the published one, or holds something else than it should.
    """
    tables = (*NEEDED, *counts.tables)
    paths = find_files(name, [f"{name}_{table}.txt" for table in tables], data_root)
    for path in paths:
        published.examine(path, name.lower())
    graphs = read_tu(dict(zip(tables, paths, strict=True)), attributes=attributes)
    got = Counts(
        len(graphs), sum(g.num_nodes for g in graphs), sum(g.num_edges for g in graphs),
        int(max(g.y.item() for g in graphs)) + 1, counts.tables,
    )  # fmt: skip
    if got != counts:
        raise ValueError(f"{name}: must hold {counts}, got {got}")
    return GraphTask(graphs, name=name.lower(), **settings)


def read_tu(paths: dict[str, Path], *, attributes: bool = False) -> list[Any]:
    """The graphs of a set as PyG `Data`: x [n, F], edge_index [2, e], y [1], edge_attr if any.

    Labels of nodes and edges become columns of zeros and ones, graph labels class numbers in their
    order. `attributes` of nodes stand before their labels.

    Args:
        paths: the files by their names in TU's layout: A, graph_indicator, graph_labels,
            node_labels, and node_attributes, edge_labels where there are such.
        attributes: whether node_attributes are features, too.

    Raises:
        ValueError: a file is not readable, or the files do not fit together.
    """
    from torch_geometric.data import Data  # loads slowly

    of = read_numbers(paths["graph_indicator"], np.int64).reshape(-1) - 1  # [N]
    y = np.unique(read_numbers(paths["graph_labels"], np.int64), return_inverse=True)[1].reshape(-1)
    _check_order(paths["graph_indicator"], of, y.size)
    x = _one_hot(paths["node_labels"], len(of))
    if attributes and "node_attributes" in paths:
        x = torch.cat([_attributes(paths["node_attributes"], len(of)), x], dim=1)
    pairs = _pairs(paths["A"], of)
    order = np.argsort(of[pairs[0]], kind="stable")  # by graph
    first = np.searchsorted(of, np.arange(y.size))  # [G] the first node of each graph
    edges = np.bincount(of[pairs[0]], minlength=y.size).tolist()
    columns = torch.from_numpy((pairs - first[of[pairs[0]]])[:, order]).split(edges, dim=1)
    nodes = np.bincount(of, minlength=y.size).tolist()
    parts = {"x": x.split(nodes), "edge_index": columns,
             "y": torch.from_numpy(y.astype(np.int64)).split(1)}  # fmt: skip
    if "edge_labels" in paths:
        attributes_of = _one_hot(paths["edge_labels"], pairs.shape[1])[torch.from_numpy(order)]
        parts["edge_attr"] = attributes_of.split(edges)
    return [Data(**{n: part[i] for n, part in parts.items()}) for i in range(y.size)]


def read_numbers(path: Path, dtype: type) -> Array:
    """The numbers of a text file, a row each line, between commas.

    Raises:
        ValueError: it holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an empty file
            return np.loadtxt(path, delimiter=",", dtype=dtype, encoding="utf-8")
    except (ValueError, UserWarning, OverflowError) as error:
        raise ValueError(f"{path}: not a readable table of numbers ({one_line(error)})") from error


def _pairs(path: Path, of: Array) -> Array:
    """Source and target [2, E] of every edge; `of` [N] is the graph of each node."""
    pairs = read_numbers(path, np.int64).reshape(-1, 2).T - 1
    if pairs.size and not (0 <= pairs.min() and pairs.max() < len(of)):
        wrong = pairs.min() if pairs.min() < 0 else pairs.max()
        raise ValueError(f"{path}: must hold nodes from 1 to {len(of)}, got {wrong + 1}")
    if (of[pairs[0]] != of[pairs[1]]).any():
        raise ValueError(f"{path}: must hold edges within graphs, got one between two")
    return pairs


def _attributes(path: Path, rows: int) -> Tensor:
    """Numbers [rows, columns]."""
    numbers = read_numbers(path, np.float32)
    if not numbers.ndim or len(numbers) != rows:
        raise ValueError(f"{path}: must hold {rows} rows, got {list(numbers.shape)[:1]}")
    return torch.from_numpy(numbers.reshape(rows, -1)).to(torch.get_default_dtype())


def _one_hot(path: Path, rows: int) -> Tensor:
    """Labels as zeros and ones [rows, labels], one column for each from the lowest on."""
    labels = read_numbers(path, np.int64)
    if labels.shape != (rows,):
        raise ValueError(f"{path}: must hold {rows} labels, got {list(labels.shape)}")
    return F.one_hot(torch.from_numpy(labels - labels.min())).to(torch.get_default_dtype())


def _check_order(path: Path, of: Array, graphs: int) -> None:
    """Refuse nodes that do not lie by graph, or graphs without any."""
    steps = np.diff(of)
    if not of.size or of[0] != 0 or of[-1] != graphs - 1 or not np.isin(steps, (0, 1)).all():
        raise ValueError(f"{path}: must number the {graphs} graphs from 1 on, node after node")
