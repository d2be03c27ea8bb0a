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
from graphlth.sparse.features import Features
from graphlth.task import Task

Array = NDArray[Any]
BLOCK = 4096  # pairs whose rows are gathered at a time


@dataclass(frozen=True)
class Pairs:
    """N nodes and P pairs of neighbours; a node with a self-loop is a neighbour of itself."""

    num_nodes: int
    ends: Array  # [2, P] i ≤ j
    weight: Array  # [P] above 0, of the data: the mean of the directions that there are
    x: Tensor | Features | None = None  # [N, F]
    bipartite: bool = False  # of a relation between two types of nodes, numbered one after another
    name: str = "data"  # what errors call the graph

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


def score_pairs(
    task: Task, masks: Masks, score: Callable[[Pairs], Array], *, whole: bool = False
) -> dict[str, Tensor]:
    """What `score` [P] says of the pairs that `masks` leave, for every entry [num_edges].

    A pair is left as long as one of its directions is, and both score the same; it weighs the mean
    of what the directions weigh that are left. A removed entry gets 0. Without a mask of the edges
    there is nothing to score.

    Of several relations each is a graph of its own, and scores of different graphs are in different
    units: of each entry that is left it is then said which share of those of its relation scores
    lower. Ranked together, every relation so loses the same share of its own.

    Args:
        task: gives the graph.
        masks: what is left of it.
        score: of a graph.
        whole: score the pairs of the graph of `task`, whatever `masks` have removed.

    Raises:
        ValueError: the task has no graph.
    """
    own = only(masks, "edges")
    seen = {n: torch.ones_like(m) for n, m in own.items()} if whole else own
    if isinstance(task.num_edges, RelationCounts):
        graphs = {n: _relation(task, n, m) for n, m in seen.items()}
        found = {n: _score_entries(graph, own[n], score) for n, graph in graphs.items()}
        return {n: _shares_below(scores, own[n]) for n, scores in found.items()}
    if getattr(task, "graph", None) is None:
        raise ValueError(f"`task` must have a graph to score its edges, got {task.name!r}")
    return {n: _score_entries(task.without(m), m, score) for n, m in seen.items()}


def _relation(task: Any, key: str, mask: Tensor) -> Any:
    """The graph of the edges of one relation that `mask` leaves."""
    if not hasattr(task, "relation"):
        raise ValueError("`task` must give the graph of each relation to score its edges, got "
                         f"{type(task).__name__}: use a NodeTask or a LinkTask")  # fmt: skip
    return task.without({key: mask}).relation(key)


def _shares_below(scores: Tensor, mask: Tensor) -> Tensor:
    """The share of the kept entries whose score is lower, and half of its own; of others 0."""
    kept = (mask != 0).nonzero().view(-1)
    shares = torch.zeros_like(scores)
    places = torch.arange(kept.numel(), dtype=scores.dtype, device=scores.device)
    shares[kept[scores[kept].argsort(stable=True)]] = (places + 0.5) / max(kept.numel(), 1)
    return shares


def _score_entries(graph: Any, mask: Tensor, score: Callable[[Pairs], Array]) -> Tensor:
    """The scores [num_edges] of a graph, by the entries of its `mask`."""
    n, (source, target) = graph.graph.num_nodes, graph.graph.edge_index.cpu().numpy()
    key = np.minimum(source, target) * n + np.maximum(source, target)  # [E]
    key, pair = np.unique(key, return_inverse=True)  # [P], [E]
    scores = torch.zeros(mask.shape, dtype=torch.float64)
    if key.size:
        a = getattr(graph, "edge_weight", None)
        weight = np.ones(pair.size) if a is None else a.cpu().double().numpy()  # [E]
        weight = np.bincount(pair, weight) / np.bincount(pair)  # [P]
        x, bipartite = getattr(graph, "x", None), getattr(graph, "bipartite", False)
        pairs = Pairs(n, np.stack([key // n, key % n]), weight, x, bipartite, graph.name)
        scores[graph.entries.cpu()] = torch.from_numpy(score(pairs)[pair]).double()
    return scores.to(mask.device)


def dot_products(x: Any, ends: Array) -> Array:
    """`⟨x_i, x_j⟩` [P] of the rows of `x` [N, F], an array or a sparse one, at both `ends`."""
    starts = range(0, ends.shape[1], BLOCK)
    blocks = (ends[:, first : first + BLOCK] for first in starts)
    return np.concatenate([np.asarray((x[i] * x[j]).sum(axis=1)) for i, j in blocks])
