"""The links of a PyG `Data` or `HeteroData`: pairs of nodes, their labels, their splits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import edge_attributes
from graphlth.data.graph_data import edges_of
from graphlth.data.hetero import EdgeType
from graphlth.data.link_split import Links, encoder_edges
from graphlth.streams import stream
from graphlth.task import SPLITS

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "test": "test"}
LABELS = ("edge_label", "edge_label_index")  # of pairs to be predicted; no encoder reads them


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs [2, n] of nodes, and what is predicted of each [n, ...]."""

    pairs: Tensor
    labels: Tensor

    def select(self, index: Tensor) -> LabelledPairs:
        """Those of `index`, in its order."""
        return LabelledPairs(self.pairs[:, index], self.labels[index])

    def each_link_once(self, links: Links, seed: int) -> tuple[Tensor, LabelledPairs]:
        """The number of every link, rising, and one pair of it, drawn where there are several."""
        order = torch.randperm(self.pairs.size(1), generator=stream(seed, "directions"))
        order = order[links.are_links(self.pairs[:, order])]
        numbers, where = links.numbers(self.pairs[:, order]).unique(return_inverse=True)
        first = torch.full_like(numbers, where.numel()).scatter_reduce(
            0, where, torch.arange(where.numel()), "amin"
        )
        return numbers, self.select(order[first])


def edge_kind(data: Any, edge_type: EdgeType | None) -> EdgeType | None:
    """The kind of edges of a heterogeneous graph that are predicted; None for any other graph.

    Raises:
        ValueError: there is no such kind, or it is not said which of several.
    """
    if not hasattr(data, "edge_types"):
        if edge_type is not None:
            raise ValueError("`edge_type` must be left out where there is one kind of edges, got "
                             f"{edge_type!r}")  # fmt: skip
        return None
    known = [*data.edge_types]
    if edge_type is None and len(known) == 1:
        return known[0]
    if not isinstance(edge_type, list | tuple) or tuple(edge_type) not in known:
        raise ValueError(f"`edge_type` must be one of {', '.join(map(str, known))}, got "
                         f"{edge_type!r}: give the one whose links are predicted")  # fmt: skip
    return (edge_type[0], edge_type[1], edge_type[2])


def links_of(data: Any, kind: EdgeType | None) -> Links:
    """The pairs that there can be."""
    if kind is None:
        fields.one_graph(data)
        return Links(fields.features(data).size(0))
    source, target = (data[kind[i]].num_nodes for i in (0, 2))
    if source is None or target is None:
        raise ValueError(f"`data` must say how many nodes {kind[0]!r} and {kind[2]!r} has: give "
                         "them x or num_nodes")  # fmt: skip
    return Links(source if kind[0] == kind[2] else (source, target))


def edges_between(data: Any, kind: EdgeType | None, links: Links) -> LabelledPairs:
    """Every edge that is there, with the label 1."""
    if kind is None:
        assert isinstance(links.num_nodes, int)
        edge_index = edges_of(data, links.num_nodes, "directed").edge_index
    else:
        edge_index = encoder_edge_index(data, kind)
        check_pairs(edge_index, links, f"data[{kind}].edge_index")
    return LabelledPairs(edge_index, torch.ones(edge_index.size(1)))


def encoder_edge_index(data: Any, kind: EdgeType | None) -> Tensor:
    """The edges [2, any] of the kind that is predicted."""
    return fields.edge_index(data if kind is None else data[kind])


def labels_of(data: Any, kind: EdgeType | None, links: Links) -> LabelledPairs:
    """The pairs of `edge_label_index`, or else of `edge_index`, with their `edge_label`.

    Raises:
        ValueError: there are no labels, or not one for each pair.
    """
    store = data if kind is None else data[kind]
    named = LABELS[1] if getattr(store, LABELS[1], None) is not None else "edge_index"
    labels = fields.field(store, LABELS[0])
    pairs = fields.whole(fields.field(store, named), f"data.{named}", "node numbers")
    check_pairs(pairs, links, f"data.{named}")
    return LabelledPairs(pairs, _one_each(labels, pairs, "data.edge_label"))


def check_pairs(pairs: Tensor, links: Links, name: str) -> None:
    """Refuse pairs that are not [2, n] numbers of nodes.

    Raises:
        ValueError: they are not.
    """
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(f"`{name}` must be [2, pairs], got {list(pairs.shape)}")
    size = links.num_nodes if isinstance(links.num_nodes, tuple) else (links.num_nodes,) * 2
    for row, most in zip(pairs, size, strict=True):
        wrong = row[(row < 0) | (row >= most)]
        if wrong.numel():
            raise ValueError(f"`{name}` must be in [0, {most}), got {int(wrong[0])}")


def _one_each(labels: Tensor, pairs: Tensor, name: str) -> Tensor:
    if labels.is_complex():
        raise ValueError(f"`{name}` must be real numbers, got {labels.dtype}")
    if labels.dim() not in (1, 2) or labels.size(0) != pairs.size(1):
        raise ValueError(f"`{name}` must be one for each of {pairs.size(1)} pairs, got "
                         f"{list(labels.shape)}")  # fmt: skip
    return labels


def given_splits(splits: Any, kind: EdgeType | None, links: Links) -> dict[str, LabelledPairs]:
    """The pairs and labels that `splits` give for each split.

    Each is a `Data` of PyG's RandomLinkSplit, or anything else that has `edge_label_index` [2, n]
    and `edge_label` [n], or a dict of OGB: `edge` [n, 2] and `edge_neg` [m, 2] of pairs without a
    link, which may be missing for training.

    Raises:
        ValueError: a split is missing, or holds something else.
    """
    if not isinstance(splits, Mapping) or {SPLIT_NAMES.get(n, n) for n in splits} != {*SPLITS}:
        got = [*splits] if isinstance(splits, Mapping) else type(splits).__name__
        raise ValueError(f"`splits` must be a dict of train, val and test, got {got}")
    found = {SPLIT_NAMES[n]: _given(n, each, kind, links) for n, each in splits.items()}
    shapes = [[*each.labels.shape[1:]] for each in found.values()]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "`edge_label` of `splits` must be of one shape but for the number of "
            f"pairs, got {', '.join(f'[pairs, {n[0]}]' if n else '[pairs]' for n in shapes)}"
        )
    return found


def _given(name: str, split: Any, kind: EdgeType | None, links: Links) -> LabelledPairs:
    where = f"splits[{name!r}]"
    if isinstance(split, Mapping) and "edge" in split:
        parts = [
            _pairs_of_rows(split[key], f"{where}[{key!r}]")
            for key in ("edge", "edge_neg") if key in split
        ]  # fmt: skip
        labels = [torch.full((part.size(-1),), 1.0 - i) for i, part in enumerate(parts)]
        found = LabelledPairs(torch.cat(parts, 1), torch.cat(labels))
    else:
        store = split if kind is None or not hasattr(split, "edge_types") else split[kind]
        pairs = getattr(store, LABELS[1], None)
        labels_ = getattr(store, LABELS[0], None)
        if not isinstance(pairs, Tensor) or not isinstance(labels_, Tensor):
            raise ValueError(f"`{where}` must have edge_label_index [2, n] and edge_label [n], or "
                             "be a dict with edge [n, 2] and edge_neg [m, 2], got "
                             f"{type(split).__name__}")  # fmt: skip
        pairs = fields.whole(pairs.cpu(), f"{where}.edge_label_index", "node numbers")
        found = LabelledPairs(pairs, _one_each(labels_.cpu(), pairs, f"{where}.edge_label"))
    check_pairs(found.pairs, links, where)
    if not found.pairs.size(1):
        raise ValueError(f"`{where}` must hold at least one pair, got none")
    return found


def _pairs_of_rows(value: Any, name: str) -> Tensor:
    """Pairs [2, n] of what has one in each row [n, 2]: a tensor, an array or a list."""
    try:
        rows = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`{name}` must be pairs of node numbers [n, 2], got "
                         f"{type(value).__name__}") from None  # fmt: skip
    rows = rows.new_empty(0, 2, dtype=torch.int64) if rows.shape == (0,) else rows
    if rows.dim() != 2 or rows.size(1) != 2:
        raise ValueError(f"`{name}` must be pairs of node numbers [n, 2], got {list(rows.shape)}")
    return fields.whole(rows.T.cpu(), name, "node numbers")


def encoder_data(
    data: Any, kind: EdgeType | None, links: Links, split: Mapping[str, Tensor]
) -> Any:
    """A copy of `data` without the edges of links [n] that validate or test, nor their reverses."""
    found = copy.copy(data)
    if kind is None:
        kept = encoder_edges(links, fields.edge_index(data), split)
        for name in ("edge_index", *edge_attributes(data)):
            value = getattr(data, name)
            if isinstance(value, Tensor):
                along = data.__cat_dim__(name, value) if hasattr(data, "__cat_dim__") else 0
                along = -1 if name == "edge_index" else along
                columns = kept.nonzero()[:, 0].to(value.device)
                setattr(found, name, value.index_select(along, columns))
        _forget_labels(found)
        return found
    for other in data.edge_types:
        if not (flipped := _is_reverse(data, other, kind, links)) and other != kind:
            continue
        store, edge_index = found[other], fields.edge_index(data[other])
        kept = encoder_edges(links, edge_index.flip(0) if flipped else edge_index, split)
        for name, value in data[other].items():
            if isinstance(value, Tensor) and name not in LABELS and data[other].is_edge_attr(name):
                along = -1 if name == "edge_index" else 0
                store[name] = value.index_select(along, kept.nonzero()[:, 0].to(value.device))
        _forget_labels(store)
    return found


def _forget_labels(store: Any) -> None:
    for name in LABELS:
        if getattr(store, name, None) is not None:
            delattr(store, name)


def _is_reverse(data: Any, other: EdgeType, kind: EdgeType, links: Links) -> bool:
    """Whether the edges of the kind `other` are those of `kind` in the other direction."""
    if other == kind or (other[0], other[2]) != (kind[2], kind[0]):
        return False
    if other[1] in (f"rev_{kind[1]}", kind[1].removeprefix("rev_")) and other[1] != kind[1]:
        return True
    one, two = fields.edge_index(data[kind]), fields.edge_index(data[other]).flip(0)
    return torch.equal(*(links.numbers(e[:, links.are_links(e)]).unique() for e in (one, two)))
