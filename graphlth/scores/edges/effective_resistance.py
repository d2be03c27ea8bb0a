"""Effective resistance: how much of an edge's connection no other path carries."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.edges._pairs import BLOCK, Array, Pairs, score_pairs
from graphlth.settings.types import Count, Seed, Tolerance
from graphlth.streams import stream_seed
from graphlth.task import Task

ROOM = 1 << 24  # random signs at a time


def effective_resistance(
    model: nn.Module,
    task: Task,
    masks: Masks,
    *,
    approximate_above: Count = 4000,
    tolerance: Tolerance = 0.3,
    seed: Seed = 0,
) -> dict[str, Tensor]:
    """`w_e R_e` of every edge (Spielman & Srivastava, STOC 2008, arXiv:0803.0929).

    R_e is the resistance between the ends of an edge where every pair of neighbours is a resistor
    of 1/w, with the edge weights w of the data or 1. `w_e R_e` is the probability that a random
    spanning tree, drawn by its weight, holds the edge; 1 for a bridge. Edges with many detours go
    first. Both directions of a pair score the same; a self-loop of the data scores
    0 and goes before any other edge.

    Args:
        model: is not read.
        task: gives the graph.
        masks: what is left of it.
        approximate_above: nodes above which R is approximated from random projections; up to it,
            R is exact, from a dense matrix of that many rows.
        tolerance: relative error of the approximation, in (0, 1), that no edge exceeds with high
            probability (the lemma of Johnson and Lindenstrauss).
        seed: seeds the projections.

    Raises:
        ValueError: the task has no graph, or `tolerance` is outside (0, 1).
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"`tolerance` must be in (0, 1), got {tolerance}")

    def resistance(pairs: Pairs) -> Array:
        exactly = pairs.num_nodes <= approximate_above
        return pairs.weight * (
            exact_resistance(pairs) if exactly else approximate_resistance(pairs, tolerance, seed)
        )

    return score_pairs(task, masks, resistance)


def exact_resistance(pairs: Pairs) -> Array:
    """R [P] from L⁺, the pseudo-inverse of the Laplacian."""
    _, component = connected_components(pairs.adjacency)
    same = component[:, None] == component
    # With 1/size in each of its components L has an inverse: L⁺ plus 1/size, which cancels in R.
    inverse = np.linalg.inv(pairs.laplacian.toarray() + same / same.sum(axis=1))
    own, (i, j) = inverse.diagonal(), pairs.ends
    return own[i] + own[j] - 2 * inverse[i, j]


def approximate_resistance(pairs: Pairs, tolerance: float, seed: int) -> Array:
    """R [P] as squared distances of the rows of `Z = L⁺ Bᵀ W^½ Q`, Q [P, k] random signs / √k."""
    from sklearn.random_projection import johnson_lindenstrauss_min_dim

    draw, (i, j) = np.random.default_rng(stream_seed(seed, "projections")), pairs.ends
    count, edge = i.size, np.arange(i.size)
    ends = np.r_[i, j], np.r_[edge, edge]
    root = np.sqrt(pairs.weight)
    b = csr_array((np.r_[root, -root], ends), shape=(pairs.num_nodes, count))  # Bᵀ W^½
    k = int(johnson_lindenstrauss_min_dim(pairs.num_nodes, eps=tolerance))
    width, r = max(1, min(64, ROOM // count)), np.zeros(count)
    for first in range(0, k, width):
        signs = draw.choice([-1.0, 1.0], (count, min(width, k - first)))
        z = solve_laplacian(pairs, b @ signs, tolerance / 100)
        for start in range(0, count, BLOCK):
            some = slice(start, start + BLOCK)
            r[some] += ((z[i[some]] - z[j[some]]) ** 2).sum(axis=1)
    return r / k


def solve_laplacian(pairs: Pairs, y: Array, tolerance: float) -> Array:
    """`L⁺ y` for `y` [N, k] that sums to 0 in every component, up to a constant in each."""
    d = np.where(pairs.strength > 0, pairs.strength, 1)
    laplacian, scale = pairs.laplacian, 1 / d[:, None]

    def operator(apply: Any) -> LinearOperator:
        return LinearOperator(
            (y.size, y.size), lambda v: apply(v.reshape(y.shape)).ravel(), dtype=y.dtype
        )

    system, inverse = operator(lambda v: laplacian @ v), operator(lambda v: scale * v)
    z, failed = cg(system, y.ravel(), rtol=tolerance, M=inverse)
    if failed:
        raise ValueError(f"`tolerance` was not reached in {failed} steps of conjugate gradients")
    return z.reshape(y.shape)
