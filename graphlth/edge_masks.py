"""Masks and weights of edges: one tensor for all layers, or a tuple with one for each layer."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

EDGES = "edges"
EDGE_KEY = re.compile(r"edges(\.\d+|\.\w+?__\w+?__\w+)?")
T = TypeVar("T")
EdgeMask = Tensor | tuple[Tensor, ...]  # [entries] or [E] each
AnyEdgeMask = EdgeMask | Mapping[str, Tensor]  # or by the keys of the relations of a
# heterogeneous graph, which models and tasks of such a graph alone are given


def is_edge_key(name: str) -> bool:
    """Whether `name` is that of a mask of edges, not of a parameter."""
    return EDGE_KEY.fullmatch(name) is not None


def relation_key(kind: tuple[str, str, str]) -> str:
    """The key of the mask of one kind of edges: ("user", "rates", "film") of a PyG `HeteroData`."""
    return f"{EDGES}.{'__'.join(re.sub(r'[^0-9a-zA-Z_]', '_', part) for part in kind)}"


class RelationCounts(int):
    """How many edges all relations of a heterogeneous graph have together, and each by its key.

    Args:
        by_key: the number of each.
    """

    by_key: Mapping[str, int]

    def __new__(cls, by_key: Mapping[str, int]) -> "RelationCounts":
        """The sum of `by_key`."""
        counts = super().__new__(cls, sum(by_key.values()))
        counts.by_key = dict(by_key)
        return counts

    def __getnewargs__(self) -> tuple[Mapping[str, int]]:  # type: ignore[override]
        """What a copy is made of."""
        return (self.by_key,)


def mask_sizes(num_edges: int, layers: int | None = None) -> dict[str, int]:
    """The number of entries of each mask of edges: of one for all, of each layer or relation."""
    if isinstance(num_edges, RelationCounts):
        return dict(num_edges.by_key)
    return dict.fromkeys(edge_keys(layers), num_edges)


def mask_size(num_edges: int, key: str) -> int:
    """The number of entries that the mask `key` has on a graph of so many edges."""
    return mask_sizes(num_edges).get(key, 0 if isinstance(num_edges, RelationCounts) else num_edges)


def edge_keys(layers: int | None = None) -> list[str]:
    """The keys of the edge masks: one for all layers, or one for each of so many `layers`."""
    return [EDGES] if layers is None else [f"{EDGES}.{i}" for i in range(layers)]


def edge_mask(masks: Mapping[str, Tensor]) -> Any:  # AnyEdgeMask | None
    """The mask of edges [entries] of `masks`, one for each layer or relation that has its own.

    Those of layers are a tuple, those of relations a dict by their keys; None if there is none.

    Raises:
        ValueError: there is one for all layers and one of a layer, or a layer has none.
    """
    names = [n for n in masks if is_edge_key(n)]
    if names in ([], [EDGES]):
        return masks.get(EDGES)
    if all("__" in n for n in names):
        return {n: masks[n] for n in names}
    if {*names} != {*edge_keys(len(names))}:
        raise ValueError("`masks` must have one mask of edges for all layers, 'edges', or one for "
                         f"each, 'edges.0' and so on, got {', '.join(map(repr, names))}"
                         )  # fmt: skip
    return tuple(masks[n] for n in edge_keys(len(names)))


def per_layer(value: T | Sequence[T], layers: int) -> list[T]:
    """`value` of each layer: the items of a tuple or list, else `value` itself as often."""
    return [*value] if isinstance(value, tuple | list) else [value] * layers  # type: ignore[list-item]


def map_edges(function: Callable[[Tensor], Tensor], mask: EdgeMask | None) -> EdgeMask | None:
    """What `function` gives of `mask`, or of each layer's; None of None."""
    if mask is None or isinstance(mask, Tensor):
        return None if mask is None else function(mask)
    return tuple(map(function, mask))


def multiply_edges(a: EdgeMask | None, b: EdgeMask | None) -> EdgeMask | None:
    """`a ⊙ b`, layer by layer if one of them has a tensor for each; None stands for ones."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a * b
    layers = max(len(each) for each in (a, b) if isinstance(each, tuple))
    first, second = (per_layer(each, layers) for each in (a, b))
    return tuple(x * y for x, y in zip(first, second, strict=True))


def kept_edges(
    mask: EdgeMask, weight: EdgeMask | None, dtype: torch.dtype
) -> tuple[Tensor, EdgeMask | None]:
    """Which edges [E] are kept in one layer at least, and the weights of these: `weight` ⊙ `mask`.

    The weights are one tensor if all layers have the same, and None if all are 1.

    Args:
        mask: of every edge [E].
        weight: A [E]; None: ones.
        dtype: that of weights that come from `mask`.
    """
    layers = (mask,) if isinstance(mask, Tensor) else mask
    keep = torch.stack(layers).any(0)
    first, *others = (m[keep].to(dtype) for m in layers)
    m: EdgeMask | None = (first, *others)
    if all(torch.equal(first, other) for other in others):
        m = None if bool((first == 1).all()) else first
    return keep, multiply_edges(map_edges(lambda w: w[keep], weight), m)
