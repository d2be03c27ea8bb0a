"""The graphs of Amazon and Coauthor (Shchur et al., arXiv 1811.05868) and of Wikipedia.

They are read from a `.npz` file of the keys that `graphlth.tasks.file` names, or of those that the
authors of Amazon and Coauthor use, as `torch_geometric.datasets.Amazon` and `Coauthor` keep it.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from graphlth.data import published
from graphlth.data.archives import arrays, one_line
from graphlth.data.files import find
from graphlth.data.graph_files import read_graph
from graphlth.data.node import NodeTask, split_per_class
from graphlth.data.planetoid import Counts, check
from graphlth.streams import stream

TRAIN, VAL = 20, 30  # nodes of each class (Shchur et al.)
KEYS = [f"{of}_{part}" for of in ("adj", "attr") for part in ("data", "indices", "indptr", "shape")]


def load_task(
    name: str,
    counts: Counts,
    *,
    others: Sequence[str] = (),
    archive: str = "",
    data_root: str | None,
    split: int | str,
    split_seed: int = 0,
    binary: bool = True,
    normalize: bool,
    edges: str,
) -> NodeTask:
    """The graph `name` as a task, its counts asserted.

    Args:
        name: that of the task, of its file `<name>.npz` and of the folder with it.
        counts: what the graph holds.
        others: further names of the folder; `archive` is what the file is called in them.
        archive: the file as its authors publish it.
        data_root: see `graphlth.data.files.find`; nothing is downloaded.
        split: number of a split of the file; where it has none, the number that draws 20 nodes of
            each class to train and 30 to validate, all others to test; or "random".
        split_seed: draws the random split.
        binary: a feature is whether it is there, as in PyG's classes.
        normalize: scale every node's features to sum 1.
        edges: what an entry of an edge mask stands for.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged or another one, or there is no such split.
    """
    layouts = [[f"{name}.npz"], *([[archive]] if archive else [])]
    (path,) = find([name, *others], layouts, data_root)
    unknown = published.examine(path, name)
    data = read_graph(path) if path.name == f"{name}.npz" else read_archive(path)
    data.x = _scale(data.x, binary, normalize)
    check(name, data, counts)
    column = split
    if isinstance(split, int) and not hasattr(data, "train_mask"):
        if split < 0:
            raise ValueError(f'`split` must be at least 0 or "random", got {split}')
        vars(data).update(split_per_class(data.y, TRAIN, VAL, stream(split, "split")))
        column = 0
    task = NodeTask(data, edges=edges, split=column, split_seed=split_seed, name=name)
    task.notes += (unknown,) if unknown else ()
    return task


def read_archive(path: Path) -> SimpleNamespace:
    """X [N, F] sparse, y [N], and edge_index [2, E] in both directions without self-loops.

    Raises:
        ValueError: the file is damaged, or lacks an array.
    """
    held = arrays(path, [*KEYS, "labels"])
    gaps = [key for key in (*KEYS, "labels") if key not in held]
    if gaps:
        raise ValueError(f"{path}: `{gaps[0]}` is missing")
    try:
        matrices = []
        for of in ("adj", "attr"):
            data, indices, indptr, shape = (held[key] for key in KEYS if key.startswith(f"{of}_"))
            matrices.append(csr_matrix((data, indices, indptr), shape=tuple(shape.tolist())))
            matrices[-1].check_format(full_check=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a valid sparse matrix ({one_line(error)})") from error
    links, x = (matrix.tocoo() for matrix in matrices)
    if links.shape != (x.shape[0],) * 2 or held["labels"].shape != x.shape[:1]:
        raise ValueError(f"{path}: the shapes of its arrays must fit together")
    pairs = np.stack([links.row, links.col])[:, links.row != links.col].astype(np.int64)
    both = np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1)
    places = torch.from_numpy(np.stack([x.row, x.col]).astype(np.int64))
    return SimpleNamespace(
        x=torch.sparse_coo_tensor(places, torch.from_numpy(x.data), x.shape),
        y=torch.from_numpy(held["labels"].astype(np.int64)), edge_index=torch.from_numpy(both),
    )  # fmt: skip


def _scale(x: Tensor, binary: bool, normalize: bool) -> Tensor:
    """The features [N, F], sparse: all that are there 1, or rows of sum 1, or as they are."""
    x = x.coalesce()
    values = x.values().float()
    if binary:
        values = (values > 0).float()
    if normalize:
        total = torch.zeros(x.size(0)).index_add(0, x.indices()[0], values)
        values = values / total.where(total > 0, torch.ones(()))[x.indices()[0]]
    return torch.sparse_coo_tensor(x.indices(), values, x.shape)
