"""The simple undirected graph that masks leave, and scores of its pairs as scores of entries."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from graphlth.edge_masks import RelationCounts
from graphlth.masks import Masks, only
from graphlth.task import Task

Array = NDArray[Any]
BLOCK = 4096  # pairs whose rows are gathered at a time


@dataclass(frozen=True)
class Pairs:
    """N nodes and P pairs of neighbours; a node with a self-loop is a neighbour of itself."""

    num_nodes: int
    ends: Array  # [2, P] i ≤ j
    weight: Array  # [P] above 0, of the data: the mean of the directions that there are

    @cached_property
    def adjacency(self) -> Any:
        """The sparse matrix [N, N] of zeros and ones, symmetric."""
        return self._symmetric(np.ones(self.weight.size))

    @cached_property
    def weighted_adjacency(self) -> Any:
        """The sparse matrix A [N, N] of the weights, symmetric."""
        return self._symmetric(self.weight)

    @cached_property
    def strength(self) -> Array:
        """The sum of the weights to all neighbours [N]: D."""
        return np.asarray(self.weighted_adjacency.sum(axis=1))

    @cached_property
    def degree(self) -> Array:
        """The number of neighbours [N]."""
        return np.asarray(self.adjacency.sum(axis=1))

    @cached_property
    def laplacian(self) -> Any:
        """The sparse matrix D − A [N, N], in which self-loops leave no trace."""
        return (diags_array(self.strength) - self.weighted_adjacency).tocsr()

    def _symmetric(self, values: Array) -> Any:
        i, j = self.ends
        other = i != j
        row, column = np.r_[i, j[other]], np.r_[j, i[other]]
        size = (self.num_nodes, self.num_nodes)
        return csr_array((np.r_[values, values[other]], (row, column)), shape=size)


def score_pairs(task: Task, masks: Masks, score: Callable[[Pairs], Array]) -> dict[str, Tensor]:
    """What `score` [P] says of the pairs that `masks` leave, for every entry [num_edges].

    A pair is left as long as one of its directions is, and both score the same; it weighs the mean
    of what the directions weigh that are left. A removed entry gets 0. Without a mask of the edges
    there is nothing to score.

    Raises:
        ValueError: the task has no graph, or several kinds of edges.
    """
    if isinstance(task.num_edges, RelationCounts):
        raise ValueError(f"`task` must have one kind of edges for `edge_score` to read its graph, "
                         f"got {task.name!r} of {len(task.num_edges.by_key)}: use "
                         "edge_score='random', or ugs")  # fmt: skip
    if getattr(task, "graph", None) is None:
        raise ValueError(f"`task` must have a graph to score its edges, got {task.name!r}")
    return {n: _score_entries(task, m, score) for n, m in only(masks, "edges").items()}


def _score_entries(task: Task, mask: Tensor, score: Callable[[Pairs], Array]) -> Tensor:
    """The scores [num_edges] of the graph that one `mask` of edges leaves."""
    left: Any = task.without(mask)
    n, (source, target) = left.graph.num_nodes, left.graph.edge_index.cpu().numpy()
    key = np.minimum(source, target) * n + np.maximum(source, target)  # [E]
    key, pair = np.unique(key, return_inverse=True)  # [P], [E]
    scores = torch.zeros(mask.shape, dtype=torch.float64)
    if key.size:
        a = getattr(left, "edge_weight", None)
        weight = np.ones(pair.size) if a is None else a.cpu().double().numpy()  # [E]
        weight = np.bincount(pair, weight) / np.bincount(pair)  # [P]
        found = score(Pairs(n, np.stack([key // n, key % n]), weight))
        scores[left.entries.cpu()] = torch.from_numpy(found[pair]).double()
    return scores.to(mask.device)


def dot_products(x: Any, ends: Array) -> Array:
    """`⟨x_i, x_j⟩` [P] of the rows of `x` [N, F], an array or a sparse one, at both `ends`."""
    starts = range(0, ends.shape[1], BLOCK)
    blocks = (ends[:, first : first + BLOCK] for first in starts)
    return np.concatenate([np.asarray((x[i] * x[j]).sum(axis=1)) for i, j in blocks])
