"""Jaccard: how many neighbours the ends of an edge share."""

from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.edges._pairs import Array, Pairs, dot_products, score_pairs
from graphlth.task import Task


def jaccard(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """`|N(i) ∩ N(j)| / |N(i) ∪ N(j)|` of every edge (Satuluri et al., SIGMOD 2011).

    Edges between communities go first. Both directions of a pair score the same; a self-loop
    scores 1 and makes its node a neighbour of itself. Edge weights of the data are not read.

    Raises:
        ValueError: the task has no graph, or a relation is between two types of nodes.
    """
    return score_pairs(task, masks, jaccard_index)


def jaccard_index(pairs: Pairs) -> Array:
    """The Jaccard index [P]."""
    if pairs.bipartite:
        raise ValueError("`task` must have edges within one type of nodes for jaccard, as the ends "
                         "of one between two types have no neighbour in common, got "
                         f"{pairs.name!r}: use degree, or leave this relation out")  # fmt: skip
    i, j = pairs.ends
    both = dot_products(pairs.adjacency, pairs.ends)
    return both / (pairs.degree[i] + pairs.degree[j] - both)
