"""The only place where an entry is removed."""

from collections.abc import Callable, Sequence
from typing import get_args

import torch
from torch import Tensor

from graphlth.drawing import Draw
from graphlth.masks import Masks, only
from graphlth.settings.types import Scope
from graphlth.sparse.kernels._redraw import Array, Redraw, unpack_bits
from graphlth.sparse.kernels._select import without_lowest

SCOPES: tuple[str, ...] = get_args(Scope)
COMPILED = (torch.float32, torch.float64)  # on the CPU


def drop_lowest(
    masks: Masks,
    scores: Masks,
    fraction: float,
    scope: str = "global",
    groups: Tensor | None = None,
) -> dict[str, Tensor]:
    """The masks without the `fraction` of surviving entries that score lowest.

    Exactly `round(fraction · survivors)` entries go, ranked over all tensors together
    (`scope="global"`) or within each (`"layer"`). Of equal scores the earlier entry goes,
    so every device removes the same ones. Removed entries never return; the others keep their
    value, 1 or the weight of an edge.

    With `groups` [entries], the group of each entry of every mask, each group has a budget of its
    own: it loses the entries that score lowest in it, `fraction · survivors` of it rounded down or
    up, so that as many go in all as without groups. Rounded up are the largest remainders; of equal
    ones the group whose next entry scores lowest. Entries of group -1 stay, and are no survivors
    that a fraction is of.

    Raises:
        ValueError: `fraction` is outside [0, 1), `scope` is unknown, a score is NaN or missing, or
            `groups` have another length than a mask.
    """
    _check(masks, scores, fraction, scope)
    if groups is not None:
        return _drop_in_groups(masks, scores, fraction, groups)
    if scope == "layer":
        return {n: drop_lowest({n: m}, scores, fraction)[n] for n, m in masks.items()}
    if not masks:
        return {}
    values = [scores[n].detach() for n in masks]
    alive = [m.to(v.dtype) for m, v in zip(masks.values(), values, strict=True)]
    left, nan = _without_lowest(alive, values, fraction)
    if nan:
        raise _nan_error(nan)
    pairs = zip(masks.items(), left, strict=True)
    return {n: torch.where(k.view_as(m) != 0, m, torch.zeros_like(m)) for (n, m), k in pairs}


def _check(masks: Masks, scores: Masks, fraction: float, scope: str) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"`fraction` must be in [0, 1), got {fraction}")
    if scope not in SCOPES:
        raise ValueError(f"`scope` must be one of {', '.join(SCOPES)}, got {scope!r}")
    for n, m in masks.items():
        if n not in scores or scores[n].shape != m.shape:
            raise ValueError(f"`scores` must hold {n!r} of shape {list(m.shape)}")


def _nan_error(nan: int) -> ValueError:
    return ValueError(f"`scores` must be numbers, got {nan} NaN")


def _without_lowest(
    alive: Sequence[Tensor], scores: Sequence[Tensor], fraction: float
) -> tuple[Sequence[Tensor], int]:
    """`alive`, flat, with zeros in place of the entries that go; and how many scores are NaN."""
    if all(s.device.type == "cpu" and s.dtype == scores[0].dtype in COMPILED for s in scores):
        here, values = ([t.numpy().reshape(-1) for t in each] for each in (alive, scores))
        found, nan = without_lowest(here, values, fraction)
        return [torch.from_numpy(each) for each in found], nan
    whole, rank = (torch.cat([t.flatten() for t in each]) for each in (alive, scores))
    rank = rank[whole != 0]
    if go := round(fraction * rank.numel()):
        threshold = rank.kthvalue(go).values
        goes, ties = rank < threshold, rank == threshold
        goes |= ties & (ties.cumsum(0) <= go - goes.sum())
        whole = whole.masked_scatter(whole != 0, (~goes).to(whole.dtype))
    return whole.split([s.numel() for s in scores]), int(rank.isnan().sum())


def _drop_in_groups(
    masks: Masks, scores: Masks, fraction: float, groups: Tensor
) -> dict[str, Tensor]:
    """`drop_lowest` within each of the `groups` [entries], over all masks together."""
    for n, m in masks.items():
        if m.shape != groups.shape:
            raise ValueError(f"`groups` must be {list(m.shape)}, one for each entry of {n!r}, got "
                             f"{list(groups.shape)}")  # fmt: skip
    if not masks:
        return {}
    whole = torch.cat([m != 0 for m in masks.values()])  # [masks · entries]
    every = groups.repeat(len(masks))
    left = (whole & (every >= 0)).nonzero().view(-1)  # [L] the survivors that may go
    rank = torch.cat([scores[n].detach() for n in masks])[left]
    if nan := int(rank.isnan().sum()):
        raise _nan_error(nan)
    whole[left[_lowest_in_groups(rank, every[left], fraction)]] = False
    kept = whole.split([m.numel() for m in masks.values()])
    return {n: m * k.to(m.dtype) for (n, m), k in zip(masks.items(), kept, strict=True)}


def _lowest_in_groups(rank: Tensor, group: Tensor, fraction: float) -> Tensor:
    """Which of some entries [L] go, by their scores and their groups [L]."""
    order = rank.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]  # by group, within it the lowest first
    group = group[order]
    count = group.bincount()
    place = torch.arange(group.numel(), device=group.device) - (count.cumsum(0) - count)[group]
    quota = fraction * count.double()
    least = quota.floor().long()  # every group loses so many, and some one more
    more = round(fraction * group.numel()) - int(least.sum())
    following = (place == least[group]).nonzero().view(-1)  # in each group the next to go
    following = following[rank[order[following]].argsort(stable=True)]
    remainder = (quota - least)[group[following]]
    following = following[remainder.argsort(descending=True, stable=True)][:more]
    return torch.cat([order[place < least[group]], order[following]])


def drop_jointly(
    masks: Masks,
    scores: Masks,
    weights: float,
    edges: float,
    scope: str = "global",
    groups: Tensor | None = None,
) -> dict[str, Tensor]:
    """`drop_lowest` on the weights and, in a ranking of their own, on the edges of all layers.

    `groups` [num_edges] are those of the edges: of a task of many graphs, its `edge_groups`.
    """
    w, e = only(masks, "weights"), only(masks, "edges")
    return {
        **(drop_lowest(w, scores, weights, scope) if w else {}),
        **(drop_lowest(e, scores, edges, groups=groups) if e else {}),
    }


def make_redraw(
    masks: Masks,
    values: Masks,
    weights: float = 0.0,
    edges: float = 0.0,
    scope: str = "global",
    groups: Tensor | None = None,
) -> Callable[[], Masks]:
    """A function that draws `masks` without the lowest magnitudes of `values` whenever called.

    A draw is `drop_jointly` with the scores |v| of `values` as they are when it is called; they
    must be changed in place. On the CPU it is compiled, unless edges have `groups`, and the same
    `Draw` every time.

    Raises:
        ValueError: as `drop_lowest`; NaN is told by the draw that meets it.
    """
    parts = {"weights": weights, "edges": edges}
    for part, fraction in parts.items():
        _check(only(masks, part), values, fraction, scope)
    values = {n: values[n].detach() for n in masks}
    kinds = {(v.device.type, v.dtype, v.is_contiguous()) for v in values.values()}
    if groups is not None or kinds not in [{("cpu", dtype, True)} for dtype in COMPILED]:
        return lambda: drop_jointly(
            masks, {n: v.abs() for n, v in values.items()}, weights, edges, scope, groups
        )
    wholes = {part: own for part in parts if (own := only(masks, part))}
    order = [n for own in wholes.values() for n in own]
    again = Redraw([
        [(_flat(values, names), _flat(masks, names), parts[part])
         for names in ([[n] for n in own] if scope == "layer" and part == "weights" else [[*own]])]
        for part, own in wholes.items()
    ])  # fmt: skip

    def made() -> Masks:
        bits = map(torch.from_numpy, unpack_bits(again.left(), [masks[n].numel() for n in order]))
        return {n: b.view_as(masks[n]) * masks[n] for n, b in zip(order, bits, strict=True)}

    drawn, once, moved = Draw(made), again.draw, again.moved

    def draw() -> Masks:
        if nan := once():
            raise _nan_error(nan)
        drawn.moved.update(zip(wholes, moved.tolist()))  # noqa: B905  # checks cost
        drawn.made = None
        return drawn

    return draw


def _flat(tensors: Masks, names: Sequence[str]) -> list[Array]:
    return [tensors[n].numpy().reshape(-1) for n in names]
