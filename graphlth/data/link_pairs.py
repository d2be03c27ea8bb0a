"""The pairs of nodes that a link task trains, validates and tests on, and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphlth.data.link_fields import (
    EdgeType,
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
    notes = _leaks(data, kind, links, held)
    whole = encoder_data(data, kind, links, {"val": torch.empty(0), "test": torch.empty(0)})
    train = held["train"]
    if not linked or bool((train.labels == 0).any()):
        return PairSplit(whole, held, None, notes)
    numbers = [links.numbers(each.pairs[:, links.are_links(each.pairs)]) for each in held.values()]
    negatives = Negatives(links, torch.cat(numbers).unique(), round(ratio * train.pairs.size(1)))
    if (there := links.count - negatives.known.numel()) < negatives.count:
        raise ValueError(f"`negatives` must leave enough pairs of nodes without a link, got "
                         f"{ratio:g} for each of {train.pairs.size(1)} training links: "
                         f"{negatives.count} of {there}: lower it")  # fmt: skip
    held = {**held, "train": _with_zeros(train.pairs, negatives.draw(seed, 0))}
    return PairSplit(whole, held, negatives, notes)


def _with_zeros(linked: Tensor, others: Tensor) -> LabelledPairs:
    labels = torch.cat([torch.ones(linked.size(1)), torch.zeros(others.size(1))])
    return LabelledPairs(torch.cat([linked, others], 1), labels)


def _leaks(
    data: Any, kind: EdgeType | None, links: Links, held: Mapping[str, LabelledPairs]
) -> tuple[str, ...]:
    """A line about pairs of given splits that a model would be told of, if there are any."""
    edge_index = encoder_edge_index(data, kind)
    read = links.numbers(edge_index[:, links.are_links(edge_index)])
    found = []
    for split in ("val", "test"):
        pairs = held[split].pairs[:, held[split].labels.reshape(-1) > 0]
        count = int(torch.isin(links.numbers(pairs[:, links.are_links(pairs)]), read).sum())
        if count:
            found.append(f"{count:,} of the {pairs.size(1):,} links of {split} are edges of the "
                         "graph that the model reads")  # fmt: skip
    return tuple(found)
