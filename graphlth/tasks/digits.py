"""Digits: a nearest-neighbour graph over scikit-learn's 1,797 hand-written digits.

Real data without a download: the test part of the UCI "Optical Recognition of Handwritten Digits"
(Alpaydin and Kaynak 1998, CC BY 4.0), 8 × 8 pixels, that comes with scikit-learn.
"""

from types import SimpleNamespace

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from graphlth.data.node import NodeTask, split_per_class
from graphlth.settings.types import Edges, Number, Seed
from graphlth.streams import stream


def digits(
    *, neighbors: Number = 8, labels: Number = 10, data_seed: Seed = 0, edges: Edges = "undirected"
) -> NodeTask:
    """Images as nodes; two are linked if either is among the `neighbors` nearest of the other.

    Args:
        neighbors: links that each image asks for (Euclidean; equal distances: the lower number).
        labels: images of each digit to train on; 30 more validate, the others test.
        data_seed: draws the split.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    images = load_digits()
    pixels = torch.from_numpy(images.data)  # [1797, 64], whole numbers from 0 to 16
    if not 1 <= neighbors < len(pixels):
        raise ValueError(f"`neighbors` must be in [1, {len(pixels)}), got {neighbors}")
    y = torch.from_numpy(images.target).long()
    pairs = nearest(pixels, neighbors)
    data = SimpleNamespace(
        x=(pixels / 16).float(),
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        y=y,
        **split_per_class(y, labels, 30, stream(data_seed, "split")),
    )
    return NodeTask(data, edges=edges, name="digits")


def nearest(points: Tensor, count: int) -> Tensor:
    """Pairs [2, N · count] (neighbour, point); exact and free of ties for whole-number `points`."""
    square = points.square().sum(dim=1)
    distance = square[:, None] + square - 2 * points @ points.T  # [N, N]
    distance.fill_diagonal_(torch.inf)
    order = distance.argsort(dim=1, stable=True)[:, :count]
    return torch.stack([order.flatten(), torch.arange(len(points)).repeat_interleave(count)])
