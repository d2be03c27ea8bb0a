"""Masks: a dict from the name of a parameter to a tensor of its shape, 0 where an entry is removed.

The masks of weights hold 0 and 1. The masks of edges have one entry per prunable edge: 0, or the
weight above 0 that a kept edge has, mostly 1. There is one mask for all layers, `EDGES`, or one for
each, `edges.0`, `edges.1` and so on (of a graph with several kinds of edges one for each relation,
`edges.<source>__<relation>__<target>`). Nothing here knows about GNNs, images or training.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from graphlth.edge_masks import EDGES as EDGES
from graphlth.edge_masks import is_edge_key, mask_sizes
from graphlth.streams import stream

Masks = Mapping[str, Tensor]


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of two or more dimensions (no bias, no norm), frozen or not."""
    return {n: p for n, p in model.named_parameters() if p.dim() > 1}


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that masks cover: the matrices that are trained (`requires_grad`).

    One that is tied to another, the same parameter by two names, is there once.
    """
    return {n: p for n, p in matrices(model).items() if p.requires_grad}


def tied_names(model: nn.Module) -> dict[str, list[str]]:
    """The other names of each parameter that has several, by the one that masks know it by."""
    first: dict[nn.Parameter, str] = {}
    others: dict[str, list[str]] = {}
    for n, p in model.named_parameters(remove_duplicate=False):
        if first.setdefault(p, n) != n:
            others.setdefault(first[p], []).append(n)
    return others


def ignored_names(model: nn.Module, num_edges: int, ignore: str | Sequence[str]) -> set[str]:
    """The parameters, and masks of the edges of a relation, that the patterns `ignore` name.

    Args:
        model: the network.
        num_edges: of the graph.
        ignore: patterns such as "encoder.*", or names of modules, with commas between or a list.

    Raises:
        ValueError: a pattern matches nothing.
    """
    patterns = ignore.split(",") if isinstance(ignore, str) else [*ignore]
    known = [*dict(model.named_parameters()), *mask_sizes(num_edges)]
    found: set[str] = set()
    for pattern in (each.strip() for each in patterns):
        names = [n for n in known if fnmatchcase(n, pattern) or n.startswith(f"{pattern}.")]
        if pattern and not names:
            near = get_close_matches(pattern, known, 3, 0.3) or known[:3]
            raise ValueError(f"`ignore` must match a parameter of the model or a relation, got "
                             f"{pattern!r}: near it are {', '.join(near)}")  # fmt: skip
        found.update(names if pattern else ())
    return found


def ones(
    model: nn.Module, num_edges: int = 0, layers: int | None = None,
    ignore: str | Sequence[str] = "",
) -> dict[str, Tensor]:  # fmt: skip
    """The dense masks: every prunable parameter and, where there is a graph, every edge.

    With `layers` there is one mask of edges for each of so many layers. What `ignore` names has no
    mask (see `ignored_names`).
    """
    masks = {n: torch.ones_like(p, requires_grad=False) for n, p in prunable(model).items()}
    device = next(model.parameters()).device
    sizes = mask_sizes(num_edges, layers) if num_edges else {}
    masks |= {n: torch.ones(size, device=device) for n, size in sizes.items()}
    ignored = ignored_names(model, num_edges, ignore) if ignore else ()
    return {n: m for n, m in masks.items() if n not in ignored}


def masked_values(values: Masks, masks: Masks) -> dict[str, Tensor]:
    """`values ⊙ masks`; names without a mask pass through."""
    return {n: v * masks[n] if n in masks else v for n, v in values.items()}


def only(masks: Masks, part: str) -> dict[str, Tensor]:
    """The `"edges"` or the `"weights"` of `masks`."""
    return {n: m for n, m in masks.items() if is_edge_key(n) == (part == "edges")}


def count(masks: Masks) -> int:
    """How many entries `masks` have, removed or not."""
    return sum(m.numel() for m in masks.values())


def sparsity(masks: Masks) -> float:
    """Removed fraction, in [0, 1]; 0 where there is no entry."""
    kept = sum(int(m.count_nonzero()) for m in masks.values())
    return 1 - kept / count(masks) if count(masks) else 0.0


def distance(a: Masks, b: Masks) -> float:
    """Normalised Hamming distance between what two masks over the same names keep, in [0, 1]."""
    return sum(_count_differing(a[n], b[n]) for n in a) / count(a)


def _count_differing(a: Tensor, b: Tensor) -> int:
    if a.device.type == "cpu":  # in a quarter of torch's time
        return int(np.count_nonzero((a.numpy() != 0) != (b.numpy() != 0)))
    return int(((a != 0) != (b != 0)).sum())


def is_binary(mask: Tensor) -> bool:
    """Whether every entry of `mask` is 0 or 1."""
    return mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all())


def check_mask(name: str, mask: Tensor) -> None:
    """Refuse entries that a mask cannot have: 0 and 1, of edges 0 and any weight above it.

    Raises:
        ValueError: there is another one.
    """
    if not isinstance(mask, Tensor) or mask.is_complex():
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"`masks` must be tensors of numbers, got {kind} in {name!r}")
    if is_binary(mask):
        return
    if not is_edge_key(name):
        raise ValueError(f"`masks` must be 0 or 1, got others in {name!r}")
    wrong = mask[~(mask.isfinite() & (mask >= 0))]
    if wrong.numel():
        raise ValueError("`masks` of edges must be 0 or a finite weight above 0, got "
                         f"{float(wrong[0])} in {name!r}")  # fmt: skip


def add_noise(masks: Masks, noise: float, seed: int) -> dict[str, Tensor]:
    """`masks` plus noise, uniform in ± `noise` and drawn from `seed`."""
    draw = stream(seed, "mask noise")
    return {
        n: m + noise * (2 * torch.rand(m.shape, generator=draw).to(m) - 1) for n, m in masks.items()
    }
