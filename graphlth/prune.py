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
    masks: Masks, scores: Masks, fraction: float, scope: str = "global"
) -> dict[str, Tensor]:
    """The masks without the `fraction` of surviving entries that score lowest.

    Exactly `round(fraction · survivors)` entries go, ranked over all tensors together
    (`scope="global"`) or within each (`"layer"`). Of equal scores the earlier entry goes,
    so every device removes the same ones. Removed entries never return; the others keep their
    value, 1 or the weight of an edge.

    Raises:
        ValueError: `fraction` is outside [0, 1), `scope` is unknown, a score is NaN or missing.
    """
    _check(masks, scores, fraction, scope)
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


def drop_jointly(
    masks: Masks, scores: Masks, weights: float, edges: float, scope: str = "global"
) -> dict[str, Tensor]:
    """`drop_lowest` on the weights and, in a ranking of their own, on the edges of all layers."""
    return {
        **(drop_lowest(w, scores, weights, scope) if (w := only(masks, "weights")) else {}),
        **(drop_lowest(e, scores, edges) if (e := only(masks, "edges")) else {}),
    }


def make_redraw(
    masks: Masks, values: Masks, weights: float = 0.0, edges: float = 0.0, scope: str = "global"
) -> Callable[[], Masks]:
    """A function that draws `masks` without the lowest magnitudes of `values` whenever called.

    A draw is `drop_jointly` with the scores |v| of `values` as they are when it is called; they
    must be changed in place. On the CPU it is compiled, and the same `Draw` every time.

    Raises:
        ValueError: as `drop_lowest`; NaN is told by the draw that meets it.
    """
    parts = {"weights": weights, "edges": edges}
    for part, fraction in parts.items():
        _check(only(masks, part), values, fraction, scope)
    values = {n: values[n].detach() for n in masks}
    kinds = {(v.device.type, v.dtype, v.is_contiguous()) for v in values.values()}
    if kinds not in [{("cpu", dtype, True)} for dtype in COMPILED]:
        return lambda: drop_jointly(
            masks, {n: v.abs() for n, v in values.items()}, weights, edges, scope
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
