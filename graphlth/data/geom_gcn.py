"""The graphs of Geom-GCN (Pei et al., ICLR 2020, arXiv 2002.05287) with their ten splits.

These are Actor and the three of WebKB, in the text files of the authors. What is read is what
`torch_geometric.datasets.Actor` and `WebKB` make of them; nothing is written where files are read.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlth.data import published
from graphlth.data.archives import Array, one_line
from graphlth.data.files import download, find
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts, check, read_masks

NODES, LINKS = "out1_node_feature_label.txt", "out1_graph_edges.txt"
URL = "https://raw.githubusercontent.com/graphdml-uiuc-jlu/geom-gcn/master"
SPLITS = 10


def load_task(
    name: str,
    counts: Counts,
    *,
    data_root: str | None,
    split: int | str,
    split_seed: int,
    normalize: bool,
    edges: str,
    called: str | None = None,
) -> NodeTask:
    """The graph `name` ("actor", "cornell", "texas", "wisconsin") as a task, its counts asserted.

    Links point one way in the files; their reverses are added. Self-loops of the data are edges
    like others. A class may have no training node: in four of Texas's splits one has none.

    Args:
        name: that of the task and of the folder with the files; WebKB's may stand in `WebKB`.
        counts: what the graph holds.
        data_root: see `graphlth.data.files.find`; files that are nowhere are downloaded.
        split: number of a split, or "random".
        split_seed: draws the random split.
        normalize: scale every node's features to sum 1.
        edges: what an entry of an edge mask stands for.
        called: what the files of the splits begin with, if that is not `name`.

    Raises:
        FileNotFoundError: files are missing, and downloading them failed.
        ValueError: a file is not the published one, or there is no such split.
    """
    drawn = split == "random"
    if not drawn and not (isinstance(split, int) and 0 <= split < SPLITS):
        raise ValueError(f'`split` must be in [0, {SPLITS}) or "random", got {split!r}')
    files = [NODES, LINKS] + ([] if drawn else [f"{called or name}_split_0.6_0.2_{split}.npz"])
    layouts = [files, [f"{name}/raw/{file}" for file in files]]
    paths = find([name, "WebKB"], layouts, data_root, partial(_fetch, name, called or name))
    for path in paths:
        published.examine(path, name)
    data = read(paths[0], paths[1])
    check(name, data, counts)
    if not drawn:
        vars(data).update(read_masks(paths[2], counts.nodes))
    if normalize:
        data.x = data.x / data.x.sum(1, keepdim=True).clamp(min=1)  # an empty row stays empty
    task = NodeTask(data, edges=edges, split="random" if drawn else 0, split_seed=split_seed,
                    name=name, num_classes=counts.classes)  # fmt: skip
    task.notes += _notes(data, task)
    return task


def read(nodes: Path, links: Path) -> SimpleNamespace:
    """X [N, F], y [N], and edge_index [2, E] with the reverses of all links.

    Features are listed as zeros and ones, or (of Actor) as the numbers of those that are 1.

    Raises:
        ValueError: a file is damaged.
    """
    rows = _rows(nodes, 3, lambda part: np.array(part.split(","), np.int64))
    number, labels = (np.array([row[i] for row in rows]).reshape(-1) for i in (0, 2))
    if not np.array_equal(np.sort(number), np.arange(len(rows))):
        raise ValueError(f"{nodes}: must list every node in [0, {len(rows)}) once")
    features, y = _features(nodes, number, [row[1] for row in rows]), np.empty_like(labels)
    y[number] = labels
    pairs = np.array(_rows(links, 2, int)).reshape(-1, 2).T  # [2, links]
    if not pairs.size or pairs.min() < 0 or pairs.max() >= len(rows):
        raise ValueError(f"{links}: must hold links of nodes in [0, {len(rows)})")
    both = np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1)
    return SimpleNamespace(
        x=features, y=torch.from_numpy(y), edge_index=torch.from_numpy(both),
        reverses=both.shape[1] - np.unique(pairs, axis=1).shape[1],
    )  # fmt: skip


def _features(path: Path, number: Array, lists: list[Array]) -> Tensor:
    """The features [N, F] of nodes: ones at what is listed, or the rows of a table."""
    if len({len(row) for row in lists}) == 1:
        x = torch.empty(len(lists), len(lists[0]))
        x[torch.from_numpy(number)] = torch.from_numpy(np.stack(lists)).float()
        return x
    columns = np.concatenate(lists)
    if columns.min() < 0:
        raise ValueError(f"{path}: numbers of features must be at least 0, got {columns.min()}")
    x = torch.zeros(len(lists), int(columns.max()) + 1)
    x[np.repeat(number, list(map(len, lists))), columns] = 1
    return x


def _rows(path: Path, columns: int, parse: Callable[[str], Any]) -> list[list[Any]]:
    """The rows of a table with a head, whose columns tabs separate."""
    try:
        lines = path.read_text("ascii").splitlines()[1:]
        rows = [[parse(part) for part in line.split("\t")] for line in lines]
        if not rows or {len(row) for row in rows} != {columns}:
            raise ValueError(f"it must have {columns} columns")
        return rows
    except ValueError as error:
        raise ValueError(f"{path}: not a readable table ({one_line(error)})") from error


def _notes(data: SimpleNamespace, task: NodeTask) -> tuple[str, ...]:
    """What was decided about a graph, a line each."""
    known = task.y[task.rows["train"]].bincount(minlength=task.num_classes)
    empty = (known == 0).nonzero().view(-1).tolist()
    return (
        f"links point one way in the files: {data.reverses:,} reverses are added",
        *[f"class {each} has no training node in this split" for each in empty],
    )


def _fetch(name: str, called: str, folder: Path) -> None:
    """Download all files of `name` into `folder`."""
    splits = [f"{called}_split_0.6_0.2_{i}.npz" for i in range(SPLITS)]
    part = "film" if name == "actor" else name
    places = [f"new_data/{part}/{file}" for file in (NODES, LINKS)]
    places += [f"splits/{file}" for file in splits]
    listed = {f"{URL}/{place}": published.digest(name, Path(place).name) for place in places}
    download(folder, listed)
