"""Spectral: how much an edge adds to the low end of the Laplacian's spectrum."""

from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.edges._pairs import Array, Pairs, score_pairs
from graphlth.settings.types import Number
from graphlth.task import Task

DENSE = 1000  # nodes up to which all eigenvectors are computed


def spectral(
    model: nn.Module, task: Task, masks: Masks, *, components: Number = 32
) -> dict[str, Tensor]:
    """`Σ_k w (u_k(i)/√d_i − u_k(j)/√d_j)² / λ_k` of every edge, over the lowest λ_k > 0.

    w is the edge's weight in the data, or 1, and d_i the sum of those to the neighbours of i. λ_k
    and u_k are eigenvalues and vectors of the normalised Laplacian, the sum over the edges of
    `w b bᵀ` with `b = e_i/√d_i − e_j/√d_j`; so each term is an edge's share in λ_k, what λ_k loses
    without it to first order and with the degrees kept (spectral perturbation: Feng, DAC 2018,
    arXiv:1711.05135). Edges that matter to none of the slow modes go first. Both directions of a
    pair score the same; a self-loop scores 0. Where equal eigenvalues straddle the last component,
    which of their vectors count is arbitrary.

    Args:
        model: is not read.
        task: gives the graph.
        masks: what is left of it.
        components: how many eigenvectors, at most those that there are.

    Raises:
        ValueError: the task has no graph, or `components` is below 1.
    """
    if components < 1:
        raise ValueError(f"`components` must be at least 1, got {components}")
    return score_pairs(task, masks, partial(spectral_shares, components=components))


def spectral_shares(pairs: Pairs, components: int) -> Array:
    """The sum of the shares [P] in the lowest eigenvalues above 0."""
    d, (i, j) = np.where(pairs.strength > 0, pairs.strength, 1), pairs.ends
    root = np.sqrt(d)
    values, vectors = slow_modes(pairs, root, components)
    u = vectors / root[:, None]  # [N, k]
    return pairs.weight * sum(
        ((u[i, k] - u[j, k]) ** 2 / value for k, value in enumerate(values)), np.zeros(i.size)
    )


def slow_modes(pairs: Pairs, root: Array, components: int) -> tuple[Array, Array]:
    """The lowest eigenvalues above 0 [k] of `D^-½ (D − A) D^-½`, and their vectors [N, k]."""
    n, scale = pairs.num_nodes, diags_array(1 / root)
    laplacian: Any = scale @ pairs.laplacian @ scale
    zeros, component = connected_components(pairs.adjacency)  # λ = 0 once in each component
    k = min(components, n - zeros)
    if n <= DENSE or not k:
        values, vectors = eigh(laplacian.toarray())
        return values[zeros : zeros + k], vectors[:, zeros : zeros + k]
    null = csr_array((root, (np.arange(n), component)), shape=(n, zeros))
    null = null / np.sqrt((null * null).sum(axis=0))  # [N, zeros] orthonormal, of λ = 0
    system = LinearOperator(  # 2 − λ, the slow modes first; −1 where λ = 0
        (n, n), lambda v: 2 * v - laplacian @ v - 3 * (null @ (null.T @ v)), dtype=float
    )
    start = np.random.default_rng(0).standard_normal(n)
    values, vectors = eigsh(system, k, which="LA", v0=start)
    return 2 - values, vectors
