"""Masks: a dict from parameter name to a {0, 1} tensor of that parameter's shape.

The key `EDGES` is the graph, one entry per prunable edge. Nothing in this file
knows about GNNs, images or training.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from graphlth.streams import stream

EDGES = "edges"
Masks = Mapping[str, Tensor]


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of two or more dimensions (no bias, no norm), frozen or not."""
    return {n: p for n, p in model.named_parameters() if p.dim() > 1}


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that masks cover: the matrices that are trained (`requires_grad`).

    One that is tied to another, the same parameter by two names, is there once.
    """
    return {n: p for n, p in matrices(model).items() if p.requires_grad}


def tied(model: nn.Module) -> dict[str, list[str]]:
    """The other names of each parameter that has several, by the one that masks know it by."""
    first: dict[int, str] = {}
    others: dict[str, list[str]] = {}
    for n, p in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(p), n) != n:
            others.setdefault(first[id(p)], []).append(n)
    return others


def ones(model: nn.Module, num_edges: int = 0) -> dict[str, Tensor]:
    """The dense masks: every prunable parameter and, where there is a graph, every edge."""
    masks = {n: torch.ones_like(p, requires_grad=False) for n, p in prunable(model).items()}
    device = next(model.parameters()).device
    return masks | ({EDGES: torch.ones(num_edges, device=device)} if num_edges else {})


def masked(values: Masks, masks: Masks) -> dict[str, Tensor]:
    """`values ⊙ masks`; names without a mask pass through."""
    return {n: v * masks[n] if n in masks else v for n, v in values.items()}


def only(masks: Masks, part: str) -> dict[str, Tensor]:
    """The `"edges"` or the `"weights"` of `masks`."""
    return {n: m for n, m in masks.items() if (n == EDGES) == (part == "edges")}


def count(masks: Masks) -> int:
    """How many entries `masks` have, removed or not."""
    return sum(m.numel() for m in masks.values())


def sparsity(masks: Masks) -> float:
    """Removed fraction, in [0, 1]; 0 where there is no entry."""
    kept = sum(int(m.count_nonzero()) for m in masks.values())
    return 1 - kept / count(masks) if count(masks) else 0.0


def distance(a: Masks, b: Masks) -> float:
    """Normalised Hamming distance between two masks over the same names, in [0, 1]."""
    return sum(_differing(a[n], b[n]) for n in a) / count(a)


def _differing(a: Tensor, b: Tensor) -> int:
    if a.device.type == "cpu":
        return int(np.count_nonzero(a.numpy() != b.numpy()))  # in a quarter of torch's time
    return int((a != b).sum())


def noisy(masks: Masks, noise: float, seed: int) -> dict[str, Tensor]:
    """`masks` plus noise, uniform in ± `noise` and drawn from `seed`."""
    draw = stream(seed, "mask noise")
    return {
        n: m + noise * (2 * torch.rand(m.shape, generator=draw).to(m) - 1) for n, m in masks.items()
    }
