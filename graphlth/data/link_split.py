"""Links split for training, validation and test, so that no split is told of another one.

A link is an unordered pair of nodes of one kind, whatever directions its edges have: both go to one
split. Between two kinds of nodes it is a pair of a source and a target.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphlth.streams import stream
from graphlth.task import SPLITS


@dataclass(frozen=True)
class Links:
    """A numbering of all pairs of nodes that may be linked; no node is linked to itself.

    Args:
        num_nodes: N, or (sources, targets) between two kinds of nodes.
    """

    num_nodes: int | tuple[int, int]

    @property
    def count(self) -> int:
        """How many pairs there are."""
        if isinstance(self.num_nodes, tuple):
            return self.num_nodes[0] * self.num_nodes[1]
        return self.num_nodes * (self.num_nodes - 1) // 2

    def are_links(self, pairs: Tensor) -> Tensor:
        """Which of `pairs` [2, n] are of two nodes."""
        if isinstance(self.num_nodes, tuple):
            return torch.ones_like(pairs[0], dtype=torch.bool)
        return pairs[0] != pairs[1]

    def numbers(self, pairs: Tensor) -> Tensor:
        """The number [n] of each of `pairs` [2, n], none of which is a node with itself."""
        if isinstance(self.num_nodes, tuple):
            return pairs[0] * self.num_nodes[1] + pairs[1]
        low, high = pairs.min(0).values, pairs.max(0).values
        return high * (high - 1) // 2 + low

    def pairs(self, numbers: Tensor) -> Tensor:
        """The pairs [2, n] with these numbers, the lower node first."""
        if isinstance(self.num_nodes, tuple):
            return torch.stack([numbers // self.num_nodes[1], numbers % self.num_nodes[1]])
        high = ((1 + (1 + 8 * numbers.double()).sqrt()) / 2).long()
        high = high - (high * (high - 1) // 2 > numbers).long()  # where the root was rounded up
        high = high + (high * (high + 1) // 2 <= numbers).long()
        return torch.stack([numbers - high * (high - 1) // 2, high])

    def draw_others(self, known: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """The numbers [count] of distinct pairs, drawn uniformly from those that are not `known`.

        Args:
            known: numbers, sorted and distinct.
            count: at most as many as there are.
            generator: on the CPU.
        """
        there = self.count - known.numel()
        places = _draw_distinct(there, count, generator)  # among the pairs that are not known
        below = known - torch.arange(known.numel())  # [K] how many others have a lower number
        return places + torch.searchsorted(below, places, right=True)


def _draw_distinct(most: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` distinct numbers of those below `most`, in a random order."""
    if most < 4 * count:
        return torch.randperm(most, generator=generator)[:count]
    found = torch.empty(0, dtype=torch.int64)
    while found.numel() < count:
        more = torch.randint(most, (count,), generator=generator)
        whole, where = torch.cat([found, more]).unique(return_inverse=True)
        first = torch.full_like(whole, where.numel()).scatter_reduce(
            0, where, torch.arange(where.numel()), "amin"
        )
        found = torch.cat([found, more])[first.sort().values]  # each once, as it came
    return found[:count]


@dataclass(frozen=True)
class LinkSplit:
    """The links of each split and, for those that are scored, as many pairs that are none."""

    links: dict[str, Tensor]  # by split: numbers [n] of links
    others: dict[str, Tensor]  # "val", "test": numbers [m] of pairs that are no link of any split
    known: Tensor  # sorted: all links and `others`; what training may not draw as a pair without


def split_links(
    links: Links,
    numbers: Tensor,
    *,
    val: float = 0.05,
    test: float = 0.1,
    negatives: float = 1.0,
    seed: int = 0,
) -> LinkSplit:
    """Links in a random order, cut into test, validation and training.

    Args:
        links: the pairs that there can be.
        numbers: those that are linked, distinct.
        val: the fraction of them that validates, below 1; or how many, from 1 on.
        test: of those that test, likewise.
        negatives: pairs without a link for each with one, in validation and test.
        seed: draws the order and these pairs.

    Raises:
        ValueError: no link is left to train on, or there are too few pairs without a link for the
            two splits and for training.
    """
    total = numbers.numel()
    sizes = {"test": _size("test", test, total), "val": _size("val", val, total)}
    if sum(sizes.values()) >= total:
        raise ValueError(f"`val` and `test` must leave a link to train on, got {sizes['val']} and "
                         f"{sizes['test']} of {total}")  # fmt: skip
    order = numbers[torch.randperm(total, generator=stream(seed, "links"))]
    cut = (sizes["test"], sizes["val"], total - sum(sizes.values()))
    parts = dict(zip(("test", "val", "train"), order.split(cut), strict=True))
    counts = {split: round(negatives * parts[split].numel()) for split in SPLITS}
    there = links.count - total
    if (wanted := sum(counts.values())) > there:
        raise ValueError(f"`negatives` must leave enough pairs of nodes without a link, got "
                         f"{negatives:g} for each of {total} links: {wanted} of {there}: lower it"
                         )  # fmt: skip
    known = numbers.sort().values
    drawn = links.draw_others(known, counts["val"] + counts["test"], stream(seed, "no links"))
    others = {"val": drawn[: counts["val"]], "test": drawn[counts["val"] :]}
    return LinkSplit(parts, others, torch.cat([known, drawn]).sort().values)


def _size(name: str, share: float, total: int) -> int:
    """How many of `total` links a fraction, or a number of them, is."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 2**63:
        raise ValueError(f"`{name}` must be a fraction in [0, 1), or a number of links, got "
                         f"{share!r}")  # fmt: skip
    if share < 1:
        return round(share * total)
    if share != int(share):
        raise ValueError(f"`{name}` must be a fraction in [0, 1), or a whole number of links, got "
                         f"{share!r}")  # fmt: skip
    return int(share)


def encoder_edges(links: Links, edge_index: Tensor, split: Mapping[str, Tensor]) -> Tensor:
    """Which columns [any] of `edge_index` an encoder may read: none of a link to be predicted.

    Those of the links that train stay, and so do self-loops.
    """
    hidden = torch.cat([split["val"], split["test"]])
    between = links.are_links(edge_index)
    kept = torch.ones_like(between)
    kept[between] = ~torch.isin(links.numbers(edge_index[:, between]), hidden)
    return kept
