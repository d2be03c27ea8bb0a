"""What a graph looks like: components, isolated nodes, degrees, homophily and the spectral gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import Data

Array = NDArray[Any]
DENSE = 500  # nodes up to which all eigenvalues are computed
TOLERANCE = 1e-8  # of the eigenvalue, above


@dataclass(frozen=True)
class GraphStructure:
    """Measures of the simple undirected graph: directions, repetitions and loops do not count."""

    nodes: int
    pairs: int  # of neighbours
    components: int  # connected ones, isolated nodes among them
    largest_component: float  # its share of the nodes
    isolated_nodes: int  # without a neighbour
    degree_mean: float  # neighbours of a node
    degree_max: int
    degree_quantiles: list[float]  # at 25, 50, 75 and 95 %
    homophily: float | None  # share of the pairs, both labelled, of one label; None without labels
    spectral_gap: float | None  # the lowest eigenvalue above 0 of the normalised Laplacian
    # I − D^-½ A D^-½ of the largest component; None where that is one node
    training_share: float | None  # of the pairs with an end among the training nodes; None: no such


def graph_structure(data: Data) -> GraphStructure:
    """What a PyG `Data` looks like; `data.y` [N] classes and `data.train_mask` [N] may be missing.

    Raises:
        ValueError: `data` has no edges as PyG has them.
    """
    edge_index = getattr(data, "edge_index", None)
    if not isinstance(edge_index, Tensor) or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError("`data` must be a PyG `Data` with edge_index [2, E], got "
                         f"{type(data).__name__}")  # fmt: skip
    n = int(data.num_nodes or 0)
    y, train = getattr(data, "y", None), getattr(data, "train_mask", None)
    labels = y.view(-1) if isinstance(y, Tensor) and y.numel() == n else None
    some = train if isinstance(train, Tensor) and train.shape == (n,) else None
    return measure_structure(edge_index, n, labels, None if some is None else some.bool())


def measure_structure(
    edge_index: Tensor, num_nodes: int, labels: Tensor | None = None, train: Tensor | None = None
) -> GraphStructure:
    """What the graph of `edge_index` [2, E] looks like.

    Args:
        edge_index: in any order.
        num_nodes: N.
        labels: [N] the class of each node, below 0 where it has none; None: none has.
        train: [N] which nodes train; or their numbers.
    """
    i, j = _pairs(edge_index, num_nodes)
    adjacency: Any = csr_array((np.ones(2 * i.size), (np.r_[i, j], np.r_[j, i])),
                               shape=(num_nodes, num_nodes))  # fmt: skip
    degree = np.diff(adjacency.indptr)
    count, component = connected_components(adjacency, directed=False)
    sizes = np.bincount(component, minlength=1)
    largest = adjacency[component == sizes.argmax()][:, component == sizes.argmax()]
    return GraphStructure(
        nodes=num_nodes,
        pairs=int(i.size),
        components=int(count),
        largest_component=float(sizes.max() / max(num_nodes, 1)),
        isolated_nodes=int((degree == 0).sum()),
        degree_mean=float(degree.mean()) if num_nodes else 0.0,
        degree_max=int(degree.max(initial=0)),
        degree_quantiles=np.quantile(degree, (0.25, 0.5, 0.75, 0.95)).tolist() if num_nodes else [],
        homophily=None if labels is None else _homophily(i, j, labels.cpu().numpy()),
        spectral_gap=spectral_gap(largest),
        training_share=None if train is None else _share_at(i, j, train, num_nodes),
    )


def _pairs(edge_index: Tensor, num_nodes: int) -> Array:
    """Every pair of different neighbours once [2, P], the lower number first."""
    source, target = edge_index.cpu().numpy()
    key = np.minimum(source, target) * num_nodes + np.maximum(source, target)
    key = np.unique(key[source != target])
    return np.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)])


def _homophily(i: Array, j: Array, labels: Array) -> float | None:
    known = (labels[i] >= 0) & (labels[j] >= 0)
    return float((labels[i] == labels[j])[known].mean()) if known.any() else None


def _share_at(i: Array, j: Array, train: Tensor, num_nodes: int) -> float | None:
    some = torch.zeros(num_nodes, dtype=torch.bool)
    some[train.cpu()] = True
    there = some.numpy()
    return float((there[i] | there[j]).mean()) if i.size else None


def spectral_gap(adjacency: Any) -> float | None:
    """The second lowest eigenvalue of `I − D^-½ A D^-½` of a connected graph; None of one node.

    It lies in (0, 2], and is 1 + 1/(n − 1) of a complete graph of n nodes.

    Args:
        adjacency: the sparse symmetric matrix [n, n] of zeros and ones.
    """
    n = adjacency.shape[0]
    if n < 2:
        return None
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = diags_array(1 / np.sqrt(degree))
    normalised: Any = scale @ adjacency @ scale
    if n <= DENSE:
        (second,) = eigvalsh(normalised.toarray(), subset_by_index=[n - 2, n - 2])
        return max(0.0, float(1 - second))  # it is above 0 but for rounding
    root = np.sqrt(degree / degree.sum())  # the eigenvector of eigenvalue 1, which is moved to −1
    system = LinearOperator((n, n), lambda v: normalised @ v - 2 * root * (root @ v), dtype=float)
    start = np.random.default_rng(0).standard_normal(n)
    (second,) = eigsh(system, 1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return max(0.0, float(1 - second))
