"""Degree: the edge score of TEDDY (Seo et al., ICLR 2024, arXiv:2402.01261)."""

import numpy as np
from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.edges._pairs import Array, Pairs, score_pairs
from graphlth.task import Task


def degree(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """`T_ij = a_i a_j / (d_i d_j)` of every edge, with `a_i = Σ_k d_k^(−½) / d_i`, k ∈ N(i).

    It is that of the graph of `task`, whatever `masks` have removed: TEDDY ranks edges once, and
    pruning in rounds goes down the same ranking. Edges between nodes of high degree, and with
    neighbours of high degree, go first. Both directions of a pair score the same; a self-loop
    counts its node among its neighbours. Edge weights of the data are not read.

    Raises:
        ValueError: the task has no graph.
    """
    return score_pairs(task, masks, teddy_scores, whole=True)


def teddy_scores(pairs: Pairs) -> Array:
    """T [P]."""
    d, (i, j) = np.maximum(pairs.degree, 1), pairs.ends  # a node of degree 0 ends no edge
    a = pairs.adjacency @ d**-0.5 / d
    return a[i] * a[j] / (d[i] * d[j])
