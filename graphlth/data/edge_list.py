"""The edges of a PyG `Data`: each once, with its weight and the mask entry that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

KINDS = ("undirected", "directed")


@dataclass(frozen=True)
class EdgeList:
    """Every edge once, sorted by (target, source); those of weight 0 are left out.

    Of edges with types, one is there once for each of its types.
    """

    edge_index: Tensor  # [2, E]
    entries: Tensor  # [E] the mask entry that each edge reads
    num_edges: int  # mask entries
    weight: Tensor | None  # [E] A, above 0; None: all are 1
    duplicates: int  # columns of the data's `edge_index` that repeat an earlier one
    zeros: int  # edges whose weight is 0
    numbers: Tensor  # [E] those of the edges, rising
    column_numbers: Tensor  # [any] those of the columns of the data's `edge_index`

    @cached_property
    def columns(self) -> Tensor:
        """Which edge each column [any] of the data's `edge_index` is; −1: none."""
        return _places(self.numbers, self.column_numbers)


def check_kind(edges: str) -> None:
    """Refuse what an entry of an edge mask cannot stand for.

    Raises:
        ValueError: `edges` is none of `KINDS`.
    """
    if edges not in KINDS:
        raise ValueError(f'`edges` must be "undirected" or "directed", got {edges!r}')


def edge_list(
    edge_index: Tensor, num_nodes: int, edges: str, weight: Tensor | None = None,
    types: Tensor | None = None,
) -> EdgeList:  # fmt: skip
    """The edges of `edge_index` [2, any], of which repeated ones are one.

    Args:
        edge_index: int64; edges may come in any order, repeat, and be self-loops.
        num_nodes: the number of nodes N.
        edges: what a mask entry stands for: an "undirected" pair or a "directed" edge.
        weight: [any] or [any, 1], finite, at least 0. The weights of a repeated edge are added up,
            in an order of their own; one of weight 0 is absent. None: every edge is there once,
            repeated or not.
        types: [any] integers; an edge of another type is another edge, with another mask entry.

    Raises:
        ValueError: a value, or the shape of `weight`, is out of its range.
    """
    check_kind(edges)
    key, kinds = _keys(edge_index, num_nodes), 1
    if types is not None:
        names, kind = types.unique(return_inverse=True)
        kinds = max(names.numel(), 1)
        key = key * kinds + kind
    found = key.unique()  # sorted by (target, source, type)
    duplicates, zeros = key.numel() - found.numel(), 0
    if weight is not None:
        values = _weights(weight, key.numel())
        order = values.argsort(stable=True)  # the sum is the same for every order of the data
        place = torch.searchsorted(found, key[order])
        total = place.bincount(values[order], minlength=found.numel())
        weight = total.to(torch.get_default_dtype())
        if not weight.sum().isfinite():
            raise ValueError(f"`data.edge_weight` must have a sum in the range of {weight.dtype}, "
                             f"got {float(total.sum())}: scale the weights")  # fmt: skip
        there = weight > 0
        zeros = found.numel() - int(there.sum())
        found, weight = found[there], weight[there]
        weight = None if bool((weight == 1).all()) else weight
    pairs = found if kinds == 1 else found // kinds
    source, target = pairs % num_nodes, pairs // num_nodes  # [E]
    entries = torch.arange(found.numel())
    if edges == "undirected":
        pair = torch.minimum(source, target) * num_nodes + torch.maximum(source, target)
        pair = pair if kinds == 1 else pair * kinds + found % kinds
        entries = torch.unique(pair, return_inverse=True)[1]
    count = int(entries.max()) + 1 if found.numel() else 0
    index = torch.stack([source, target])
    return EdgeList(index, entries, count, weight, duplicates, zeros, found, key)


def mask_columns(known: EdgeList, mask: Tensor) -> tuple[Tensor, Tensor]:
    """For each column [any] of the data's `edge_index`, its entry of `mask`, and how often it is.

    Both are 0 for an edge that is not among the `known`, as one of weight 0.
    """
    columns, there = known.columns, known.columns >= 0
    counts = columns[there].bincount(minlength=known.entries.numel())
    if not known.entries.numel():
        return torch.zeros(columns.numel()), torch.zeros(columns.numel(), dtype=torch.long)
    values, zero = mask.cpu()[known.entries], torch.zeros(())
    return values[columns].where(there, zero.to(values)), counts[columns] * there


def edge_attributes(data: Any) -> list[str]:
    """The names of what `data` holds for every edge, besides `edge_index`.

    As PyG has it, that is what has one entry for each column of `edge_index`. Where that tells
    nothing, as there are as many nodes, or where a name speaks of an index, only names that begin
    with `edge_` are taken for such. `edge_label` belongs to `edge_label_index`, if there is one.
    """
    held: Mapping[str, Any] = data.to_dict() if hasattr(data, "to_dict") else vars(data)
    x = held.get("x")
    count, nodes = data.edge_index.size(1), len(x) if x is not None else held.get("num_nodes")
    apart = {"edge_index", "edge_label_index"}
    apart |= {"edge_label"} if "edge_label_index" in held else set()
    return [
        name
        for name, value in held.items()
        if name not in apart
        and _length(data, name, value) == count
        and (name.startswith("edge_") or (count != nodes and not {"index", "idx"} & _words(name)))
    ]


def edge_types(data: Any) -> Tensor | None:
    """`data.edge_type` [any] if that are integers, one for each column of `edge_index`."""
    value = getattr(data, "edge_type", None)
    if not isinstance(value, Tensor) or value.shape != data.edge_index.shape[1:]:
        return None
    whole = not value.is_floating_point() and not value.is_complex()
    return value.detach().cpu().long() if whole else None


def unread(data: Any) -> tuple[str, ...]:
    """A line about attributes of edges that no model is given, if there are any."""
    names = [f"`data.{name}`" for name in edge_attributes(data) if name != "edge_weight"]
    if not names:
        return ()
    return (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not read: of the edges "
        "graphlth's models are given `edge_index` and `edge_weight` alone, unlike your own",
    )


def _words(name: str) -> set[str]:
    return {*name.split("_")}


def _length(data: Any, name: str, value: Any) -> int | None:
    """How many entries `value` has, along the dimension in which PyG puts graphs together."""
    if isinstance(value, list | tuple):
        return len(value)
    shape = getattr(value, "shape", ())
    if not len(shape):
        return None
    along = data.__cat_dim__(name, value) if hasattr(data, "__cat_dim__") else 0
    return int(shape[along]) if isinstance(along, int) else None


def _places(found: Tensor, key: Tensor) -> Tensor:
    """Where each `key` stands among those `found`, which are sorted; −1: nowhere."""
    if not found.numel():
        return torch.full_like(key, -1)
    place = torch.searchsorted(found, key).clamp_(max=found.numel() - 1)
    return place.masked_fill(found[place] != key, -1)


def _keys(edge_index: Tensor, num_nodes: int) -> Tensor:
    """A number for each edge that orders them by (target, source)."""
    wrong = edge_index[(edge_index < 0) | (edge_index >= num_nodes)]
    if wrong.numel():
        raise ValueError(f"`data.edge_index` must be in [0, {num_nodes}), got {int(wrong[0])}")
    return edge_index[1] * num_nodes + edge_index[0]


def _weights(weight: Tensor, count: int) -> Tensor:
    """`weight` [count] in float64."""
    if weight.shape not in ((count,), (count, 1)) or weight.is_complex():
        raise ValueError(f"`data.edge_weight` must be [{count}], a real number for each edge of "
                         f"`edge_index`, got {weight.dtype} {list(weight.shape)}")  # fmt: skip
    values = weight.reshape(-1).double()
    for wrong, rule, remedy in (
        (~values.isfinite(), "finite", "take these edges out, or give them a weight"),
        (values < 0, "at least 0", "take these edges out, or use absolute values"),
    ):
        if wrong.any():
            raise ValueError(f"`data.edge_weight` must be {rule}, got {float(values[wrong][0])} "
                             f"for {int(wrong.sum())} of {count} edges: {remedy}")  # fmt: skip
    return values
