"""Similarity: how alike the features at the ends of an edge are."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.edges._pairs import Array, Pairs, dot_products, score_pairs
from graphlth.sparse.features import Features
from graphlth.task import Task


def similarity(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """`cos(x_i, x_j)` of every edge (Zhang & Zitnik, NeurIPS 2020, arXiv:2006.08149).

    Edges between unlike nodes go first; a node without features is like none, not even itself.
    Edge weights of the data are not read.

    Raises:
        ValueError: the task has no graph, or its nodes have no features; or the two types of nodes
            of a relation have not as many.
    """
    return score_pairs(task, masks, cosine)


def cosine(pairs: Pairs) -> Array:
    """The cosine [P] of the features at both ends."""
    if pairs.x is None:
        what = "as many features of both types" if pairs.bipartite else "features"
        raise ValueError(f"`task` must have {what} to compare nodes by, got {pairs.name!r}")
    x = pairs.x
    rows: Any = x.cpu().numpy() if isinstance(x, Tensor) else sparse_matrix(x)
    norm = np.sqrt((rows * rows).sum(axis=1))  # [N]
    (i, j), known = pairs.ends, np.where(norm > 0, norm, 1)
    return dot_products(rows, pairs.ends) / known[i] / known[j]


def sparse_matrix(x: Features) -> Any:
    """`x` as SciPy's sparse matrix [N, F]."""
    column, row = x.graph.edge_index.cpu().numpy()
    return csr_array((x.values.cpu().numpy(), (row, column)), shape=x.shape)
