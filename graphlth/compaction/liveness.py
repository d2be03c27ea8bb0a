"""Which units of a network are alive, and in which order they are computed fastest."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from graphlth.sparse.kernels._memory import STRIP


def live_units(
    maps: Sequence[Tensor],
    biases: Sequence[Tensor] = (),
    heeded: Sequence[Tensor] = (),
) -> list[Tensor]:
    """Which units [d] of each level lie on a path of weights from an input to an output.

    A hidden unit without incoming weights and bias is always 0, one without outgoing weights is
    never read: removing either changes nothing, and may leave others so.

    Args:
        maps: the matrices [in, out] from each level to the next. The first level are the inputs,
            the last the outputs, all of which stay.
        biases: of the units of each level after the inputs, where there are any.
        heeded: for the same levels [heads, d], whether attention reads a unit of a head that is
            read itself.
    """
    links = [m != 0 for m in maps]
    reached = [links[0].new_ones(links[0].size(0))]
    for i, link in enumerate(links):
        reached.append((link & reached[-1].unsqueeze(1)).any(0))
        if biases:
            reached[-1] |= biases[i] != 0
    read = [links[-1].new_ones(links[-1].size(1))]
    for i, link in reversed([*enumerate(links)]):
        read.insert(0, (link & read[0]).any(1))
        if heeded and i:
            heads = heeded[i - 1].size(0)
            used = (reached[i] & read[0]).view(heads, -1).any(1, keepdim=True)
            read[0] |= (heeded[i - 1] & used).flatten()
    return [a & b for a, b in zip(reached[:-1], read[:-1], strict=True)] + read[-1:]


def sort_units(maps: Sequence[Tensor], kept: Sequence[Tensor]) -> list[Tensor]:
    """The numbers of the units `kept`, in hidden levels those that read alike side by side.

    A strip of units then reads few features.
    """
    numbers = [k.nonzero().squeeze(1) for k in kept]
    for level in range(1, len(maps)):
        links = maps[level - 1][numbers[level - 1]][:, numbers[level]] != 0
        numbers[level] = numbers[level][group_columns(links, STRIP)]
    return numbers


def group_columns(links: Tensor, size: int) -> Tensor:
    """The columns of `links` [in, out] in an order that makes the rows of each `size` of them few.

    The first of these is the fullest that is left, each next one that which adds the fewest rows.
    """
    counts, order = links.sum(0), torch.empty(links.size(1), dtype=torch.long)
    left = torch.ones_like(counts, dtype=torch.bool)
    for place in range(len(order)):
        if place % size == 0:
            rest, added = links.clone(), counts.clone()  # beyond the rows that are read already
            column = torch.where(left, counts, -1).argmax()
        else:
            column = torch.where(left, added, len(links) + 1).argmin()
        order[place], left[column] = column, False
        new = rest[:, column].nonzero().squeeze(1)
        added -= rest[new].sum(0)
        rest[new] = False
    return order.to(links.device)


def submatrices(maps: Sequence[Tensor], kept: Sequence[Tensor]) -> list[Tensor]:
    """The rows and columns of each of `maps` whose numbers are in `kept`, a list a level."""
    return [m[a][:, b] for m, (a, b) in zip(maps, pairwise(kept), strict=True)]
