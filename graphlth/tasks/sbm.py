"""A stochastic block model with noisy features: generated, of any size."""

from types import SimpleNamespace

import torch

from graphlth.data.node import NodeTask, split_per_class
from graphlth.settings.types import Edges, Features, NonNegative, Number, Pixels, Probability, Seed
from graphlth.settings.validation import check_settings, settings_of
from graphlth.streams import stream

MOST = 10_000  # nodes, whose pairs are drawn all at once


def sbm(
    *,
    size: Pixels = 60,
    classes: Number = 4,
    inside: Probability = 0.15,
    across: Probability = 0.03,
    noise: NonNegative = 3.0,
    num_features: Features = 32,
    data_seed: Seed = 0,
    edges: Edges = "undirected",
) -> NodeTask:
    """Communities of equal size; a third of each to train, a third to validate, the rest to test.

    The same settings give the same graph; the global random state is neither read nor changed.

    Args:
        size: nodes in each community.
        classes: communities.
        inside: probability of an edge between two nodes of one community.
        across: probability of an edge between two nodes of different communities.
        noise: standard deviation of the features around their community's centre, which is
            itself drawn from a standard normal distribution.
        num_features: features of each node.
        data_seed: draws graph, features and split.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    for key, value, least in (
        ("size", size, 3),
        ("classes", classes, 1),
        ("noise", noise, 0),
        ("num_features", num_features, 1),
    ):
        if not least <= value < float("inf"):
            raise ValueError(f"`{key}` must be at least {least} and finite, got {value}")
    if size * classes > MOST:
        raise ValueError(f"`size` times `classes` must be at most {MOST:,} nodes, "
                         f"got {size * classes:,}")  # fmt: skip
    check_settings({"inside": inside, "across": across}, settings_of(sbm))
    random = stream(data_seed, "sbm")
    y = torch.arange(classes).repeat_interleave(size)  # [N]
    pairs = torch.triu_indices(y.numel(), y.numel(), offset=1)  # [2, N (N - 1) / 2]
    chance = torch.where(y[pairs[0]] == y[pairs[1]], inside, across)
    pairs = pairs[:, torch.rand(chance.numel(), generator=random) < chance]
    centres = torch.randn(classes, num_features, generator=random)
    x = centres[y] + noise * torch.randn(y.numel(), num_features, generator=random)
    data = SimpleNamespace(
        x=x,
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        y=y,
        **split_per_class(y, size // 3, size // 3, random),
    )
    return NodeTask(data, edges=edges, name="sbm")
