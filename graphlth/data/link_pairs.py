"""The pairs of nodes that a link task trains, validates and tests on, and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphlth.data.hetero import EdgeType
from graphlth.data.link_fields import (
    LabelledPairs,
    edges_between,
    encoder_data,
    encoder_edge_index,
    given_splits,
    labels_of,
)
from graphlth.data.link_split import Links, split_links
from graphlth.streams import stream
from graphlth.task import SPLITS


@dataclass(frozen=True)
class Negatives:
    """Pairs of nodes that are not linked, and how many of them stand beside training links.

    Args:
        links: all pairs that there can be.
        known: numbers, sorted and distinct: links of any split, and what validates or tests.
        count: how many are drawn.
    """

    links: Links
    known: Tensor
    count: int

    def draw(self, seed: int, index: int) -> Tensor:
        """Those [2, count] of epoch `index`, distinct, in either direction, drawn from `seed`."""
        generator = stream(seed, "no links", index)
        return self.pairs(self.links.draw_others(self.known, self.count, generator), generator)

    def pairs(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """The pairs [2, n] with these numbers, of one kind of nodes in a random direction."""
        pairs = self.links.pairs(numbers)
        if isinstance(self.links.num_nodes, tuple):
            return pairs
        turned = torch.rand(numbers.numel(), generator=generator) < 0.5
        return torch.where(turned, pairs.flip(0), pairs)


@dataclass(frozen=True)
class PairSplit:
    """The pairs of every split, and the data without what would tell a model of them."""

    data: Any  # a copy: the graph that a model reads
    held: Mapping[str, LabelledPairs]  # by split; of training first what is not drawn anew
    negatives: Negatives | None = None  # what is drawn anew for every epoch of training
    notes: tuple[str, ...] = ()

    @property
    def pairs(self) -> Tensor:
        """The pairs [2, M] of all splits."""
        return torch.cat([self.held[split].pairs for split in SPLITS], 1)

    @property
    def labels(self) -> Tensor:
        """The label of each of `pairs` [M, ...]."""
        return torch.cat([self.held[split].labels for split in SPLITS])

    @property
    def rows(self) -> dict[str, Tensor]:
        """Which of `pairs` are those of each split."""
        sizes = [self.held[split].pairs.size(1) for split in SPLITS]
        return dict(zip(SPLITS, torch.arange(sum(sizes)).split(sizes), strict=True))


def split_linked(
    data: Any, kind: EdgeType | None, links: Links, val: float, test: float, ratio: float, seed: int
) -> PairSplit:
    """The edges of `data`, and `ratio` pairs without one for each: 1 and 0."""
    numbers, every = edges_between(data, kind, links).each_link_once(links, seed)
    if not numbers.numel():
        raise ValueError("`data` must have edges between two nodes, got none")
    found = split_links(links, numbers, val=val, test=test, negatives=ratio, seed=seed)
    held = {s: every.select(torch.searchsorted(numbers, n)) for s, n in found.links.items()}
    count = round(ratio * held["train"].pairs.size(1))
    negatives = Negatives(links, found.known, count)
    generator = stream(seed, "directions of no links")
    others = {s: negatives.pairs(n, generator) for s, n in found.others.items()}
    others["train"] = negatives.draw(seed, 0)
    held = {split: _with_zeros(held[split].pairs, others[split]) for split in SPLITS}
    return PairSplit(encoder_data(data, kind, links, found.links), held, negatives)


def split_labelled(
    data: Any, kind: EdgeType | None, links: Links, val: float, test: float, seed: int
) -> PairSplit:
    """The labelled pairs of `data`, one for each link."""
    numbers, every = labels_of(data, kind, links).each_link_once(links, seed)
    found = split_links(links, numbers, val=val, test=test, negatives=0, seed=seed)
    held = {s: every.select(torch.searchsorted(numbers, n)) for s, n in found.links.items()}
    return PairSplit(encoder_data(data, kind, links, found.links), held)


def given_pairs(
    data: Any, splits: Any, kind: EdgeType | None, links: Links, ratio: float, seed: int,
    *, linked: bool,
) -> PairSplit:  # fmt: skip
    """The pairs that `splits` give, beside the graph of `data` as it is.

    If they are `linked` or not, and training has none that are not, these are drawn.
    """
    held = given_splits(splits, kind, links)
    if linked and (shape := held["train"].labels.shape[1:]).numel() != 1:
        raise ValueError("`edge_label` of `splits` must be 1 for a link and 0 for none, got "
                         f"{shape[0]} numbers for each: or give a `loss` of numbers, such as mse"
                         )  # fmt: skip
    read = _numbers(links, encoder_edge_index(data, kind))
    notes = (*_leaks(links, held, read), *(_mistakes(links, held, read) if linked else ()))
    whole = encoder_data(data, kind, links, {"val": torch.empty(0), "test": torch.empty(0)})
    train = held["train"]
    if not linked or bool((train.labels == 0).any()):
        return PairSplit(whole, held, None, notes)
    numbers = [_numbers(links, each.pairs) for each in held.values()]
    negatives = Negatives(
        links, torch.cat([read, *numbers]).unique(), round(ratio * train.pairs.size(1))
    )
    if (there := links.count - negatives.known.numel()) < negatives.count:
        raise ValueError(f"`negatives` must leave enough pairs of nodes without a link, got "
                         f"{ratio:g} for each of {train.pairs.size(1)} training links: "
                         f"{negatives.count} of {there}: lower it")  # fmt: skip
    held = {**held, "train": _with_zeros(train.pairs, negatives.draw(seed, 0))}
    return PairSplit(whole, held, negatives, notes)


def _with_zeros(linked: Tensor, others: Tensor) -> LabelledPairs:
    labels = torch.cat([torch.ones(linked.size(1)), torch.zeros(others.size(1))])
    return LabelledPairs(torch.cat([linked, others], 1), labels)


def _numbers(links: Links, pairs: Tensor) -> Tensor:
    """The numbers of those of `pairs` [2, any] that are of two nodes."""
    return links.numbers(pairs[:, links.are_links(pairs)])


def _links_of(held: LabelledPairs) -> Tensor:
    """Those pairs [2, any] of which a label is above 0."""
    return held.pairs[:, (held.labels.flatten(1) if held.labels.dim() > 1 else held.labels[:, None]
                          ).gt(0).any(1)]  # fmt: skip


def _leaks(links: Links, held: Mapping[str, LabelledPairs], read: Tensor) -> tuple[str, ...]:
    """A line about pairs of given splits that a model would be told of by the edges it reads."""
    found = []
    for split in ("val", "test"):
        pairs = _links_of(held[split])
        count = int(torch.isin(_numbers(links, pairs), read).sum())
        if count:
            found.append(f"{count:,} of the {pairs.size(1):,} links of {split} are edges of the "
                         "graph that the model reads")  # fmt: skip
    return tuple(found)


def _mistakes(links: Links, held: Mapping[str, LabelledPairs], read: Tensor) -> tuple[str, ...]:
    """Lines about pairs that given splits call no link and that are one of a split or the graph,
    and about links that validate or test and train, too.
    """  # fmt: skip
    ones = {s: _numbers(links, _links_of(each)) for s, each in held.items()}
    every, found = torch.cat([read, *ones.values()]), []
    for split, each in held.items():
        zeros = each.pairs[:, each.labels.reshape(-1) == 0]
        if count := int(torch.isin(_numbers(links, zeros), every).sum()):
            found.append(f"{count:,} of the {zeros.size(1):,} pairs without a link of {split} are "
                         "links of a split, or edges of the graph")  # fmt: skip
        again = ones[split][~torch.isin(ones[split], read)]
        if split != "train" and (count := int(torch.isin(again, ones["train"]).sum())):
            found.append(f"{count:,} of the {ones[split].numel():,} links of {split} are links "
                         "that train")  # fmt: skip
    return tuple(found)
