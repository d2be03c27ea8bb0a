"""What is reduced over edges counts every edge by its weight.

Sums add m·x, so do the counts that means divide by, degrees and the sums of attention. A mean is
therefore Σ m x / Σ m, and what is normalised by degrees has those of the masked graph. Maxima and
other reductions take m·x of the edges whose weight is not 0.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.message_passing.movement import MOVEMENT, functions
from graphlth.message_passing.tracking import EdgeTracker, Rule, name_surrogate
from graphlth.sparse.backend import EXACT
from graphlth.sparse.message import weighted_sum

WIDE = 8  # columns from which a kernel is faster than torch's scatter
LOW = (torch.bfloat16, torch.float16)


class EdgeSum:
    """What is known of sums over masked edges.

    Args:
        terms: what was added up, before it was weighed.
    """

    def __init__(self, terms: Tensor) -> None:
        self._terms = terms.detach()

    @cached_property
    def is_count(self) -> bool:
        """Whether edges are counted: every term is 0 or 1."""
        return bool(((self._terms == 0) | (self._terms == 1)).all())


def weigh(x: Tensor, weight: Tensor) -> Tensor:
    """`x · weight` in the type of `x`; of whole numbers, those whose weight is not 0."""
    if not x.is_floating_point():
        return x * (weight != 0).to(x.dtype)
    return x * weight.to(x.dtype)


def _arguments(args: Any, kwargs: Any) -> tuple[Any, Any, Any, Any, tuple[Any, ...], Any]:
    """self, dim, index and source of a reduction, and the rest."""
    rest, named = list(args), dict(kwargs)

    names = ("self", "input"), ("dim",), ("index",), ("src", "source")
    into, dim, index, source = (
        next((named.pop(n) for n in group if n in named), None)
        if any(n in named for n in group) else rest.pop(0)
        for group in names
    )  # fmt: skip
    return into, dim, index, source, tuple(rest), named


def _add(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """`scatter_add` and `index_add`."""
    into, dim, index, source, rest, named = _arguments(args, kwargs)
    weight = tracker.weight(index)
    if weight is None:
        return func(*args, **kwargs)
    if not source.is_floating_point():
        name_surrogate("a count in whole numbers, of edges whose weight is not 0")
    if (total := _kernel_sum(tracker, into, dim, index, source, weight, rest or named)) is not None:
        out = into.add_(total) if func in IN_PLACE else into + total
        tracker.sums.set(out, EdgeSum(source))
        return out
    weight = _align(weight, index, source, dim)
    if source.dtype in LOW and into.dtype in LOW:  # sums in float32
        terms = weigh(source.float(), weight)
        plain = IN_PLACE.get(func, func)
        out = plain(into.float(), dim, index, terms, *rest, **named).to(into.dtype)
        if func in IN_PLACE:
            out = into.copy_(out)
    else:
        out = func(into, dim, index, weigh(source, weight), *rest, **named)
    tracker.sums.set(out, EdgeSum(source))
    return out


def _kernel_sum(
    tracker: EdgeTracker, into: Tensor, dim: int, index: Tensor, source: Tensor, weight: Tensor,
    other: Any,
) -> Tensor | None:  # fmt: skip
    """Σ m x by the sparse kernels, without the terms m·x; None: not for this case."""
    rows = source.size(dim) if source.dim() > 1 else 0
    fits = dim in (0, -source.dim()) and weight.numel() == rows > 0 and not other
    if not (tracker.has_cache and fits and source.dtype in EXACT and into.dtype == source.dtype):
        return None
    if source.numel() < WIDE * rows:
        return None
    column = index if index.dim() == 1 else index.flatten(1)[:, 0]
    graph = tracker.graphs.incidence(column, into.size(0))
    total = weighted_sum(graph, source.flatten(1), weight.view(-1).to(source.dtype))
    return total.view(into.shape)


def _align(weight: Tensor, index: Tensor, source: Tensor, dim: int) -> Tensor:
    """`weight` in a shape that multiplies `source`: of `index_add` it has one dimension."""
    if index.dim() == source.dim():
        return weight
    shape = [1] * source.dim()
    shape[dim] = -1
    return weight.view(shape)


def _reduce(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """`scatter_reduce` and `index_reduce`."""
    into, dim, index, source, rest, named = _arguments(args, kwargs)
    weight = tracker.weight(index)
    if weight is None:
        return func(*args, **kwargs)
    weight = _align(weight, index, source, dim)
    how = named.get("reduce", rest[0] if rest else None)
    terms = weigh(source, weight)
    if how == "sum":
        return func(into, dim, index, terms, *rest, **named)
    if how == "mean":
        raise ValueError(
            "`scatter_reduce` of masked edges must not be a mean, whose count cannot be masked: "
            "use torch_geometric.utils.scatter(..., reduce='mean')"
        )
    name_surrogate(f"{how} of `{func.__name__}`")
    kept = (weight != 0).movedim(dim, 0).flatten(1).any(1).nonzero().view(-1)
    index_dim = dim if index.dim() == source.dim() else 0
    return func(into, dim, index.index_select(index_dim, kept), terms.index_select(dim, kept),
                *rest, **named)  # fmt: skip


def _clamp(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """A count that is made at least 1, as means are divided by, stays Σ m where it is above 0."""
    known = tracker.sums.get(args[0]) if args else None
    least = kwargs.get("min", args[1] if len(args) > 1 else None)
    if known is None or not isinstance(least, (int, float)) or least != 1:
        return MOVEMENT_CLAMP(tracker, func, args, kwargs)
    count = args[0]
    if not count.is_floating_point() or not known.is_count:
        return func(*args, **kwargs)
    out = torch.where(count > 0, count, torch.ones_like(count))
    return count.copy_(out) if func in (Tensor.clamp_, torch.clamp_) else out


def _invert(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """`deg ** -p` and `1 / deg`: where the degree is 0, the value is inf and the gradient 0."""
    place = next((i for i, a in enumerate(args) if tracker.sums.get(a) is not None), None)
    if place is None or not args[place].is_floating_point():
        return func(*args, **kwargs)
    if func in POWERS and not (isinstance(args[1], (int, float)) and args[1] < 0):
        return func(*args, **kwargs)
    if func in QUOTIENTS and (place != QUOTIENTS[func] or isinstance(args[1 - place], Tensor)):
        return func(*args, **kwargs)
    degree = args[place]
    none = degree == 0
    safe = torch.where(none, torch.ones_like(degree), degree)
    plain = IN_PLACE.get(func, func)
    out = plain(*args[:place], safe, *args[place + 1 :], **kwargs).masked_fill(none, torch.inf)
    return degree.copy_(out) if func in IN_PLACE else out


def _set(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """`into[index] = value`: by edges, value moves what stands there by the weight of the edge.

    So a loop of the data that takes the place of one that a layer adds leaves it there with
    weight 0.
    """
    into, index, value = args
    ids = tracker.ids(into)
    if ids is not None:
        ids = ids.clone()
        its = tracker.ids(value)
        ids[index] = 0 if its is None else its
        func(into, index, value)
        return tracker.follow(into, ids)
    weight = tracker.weight(index)
    if weight is None or weight.dim() != 1 or not into.is_floating_point():
        return func(into, index, value)
    for rows in _rounds(index):
        old, m = into[index[rows]], weight[rows].to(into.dtype)
        new = value[rows] if isinstance(value, Tensor) and value.dim() == into.dim() else value
        into[index[rows]] = old + m.view(-1, *[1] * (into.dim() - 1)) * (new - old)
    return None


def _rounds(index: Tensor) -> list[Tensor]:
    """Positions in `index` [L]: the first of each number, then the second, and so on."""
    values, order = index.sort(stable=True)
    start = torch.searchsorted(values, values)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - start
    most = int(rank.max()) + 1 if len(rank) else 0
    return [(rank == number).nonzero().view(-1) for number in range(most)]


def _root(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """The square root of sums over edges: where one is 0, its gradient is 0."""
    if not args or tracker.sums.get(args[0]) is None:
        return func(*args, **kwargs)
    none = args[0] == 0
    return args[0].masked_fill(none, 1).sqrt().masked_fill(none, 0)


def _batch_norm(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    """Batch norm over the edges of an operator, in training: their statistics are weighed."""
    names = ("input", "mean", "var", "weight", "bias", "training", "momentum", "eps")
    given = {
        "training": False,
        "momentum": 0.1,
        "eps": 1e-5,
        **dict(zip(names, args, strict=False)),
        **kwargs,
    }
    x, m = given["input"], tracker.norm_weight
    if m is None or not given["training"] or x.dim() != 2 or x.size(0) != m.numel():
        return func(*args, **kwargs)
    m = m.to(x.dtype).view(-1, 1)
    total = m.sum()
    total = torch.where(total > 0, total, torch.ones_like(total))
    mean = (m * x).sum(0) / total
    var = (m * (x - mean) ** 2).sum(0) / total
    if given["mean"] is not None:
        unbiased = var * total / (total - 1).clamp(min=1e-5)
        given["mean"].lerp_(mean.detach().to(given["mean"].dtype), given["momentum"])
        given["var"].lerp_(unbiased.detach().to(given["var"].dtype), given["momentum"])
    out = (x - mean) * (var + given["eps"]).rsqrt()
    out = out if given.get("weight") is None else out * given["weight"]
    return out if given.get("bias") is None else out + given["bias"]


IN_PLACE: dict[Any, Callable[..., Tensor]] = {
    Tensor.scatter_add_: torch.scatter_add,
    Tensor.index_add_: torch.index_add,
    Tensor.pow_: torch.pow,
    Tensor.rsqrt_: torch.rsqrt,
    Tensor.reciprocal_: torch.reciprocal,
}
POWERS = functions(["pow", "pow_", "__pow__"])
QUOTIENTS = {
    **dict.fromkeys(functions(["div", "true_divide", "__truediv__"]), 1),
    **dict.fromkeys(functions(["__rtruediv__", "__rdiv__"]), 0),
}  # which argument is divided by
MOVEMENT_CLAMP = MOVEMENT[Tensor.clamp]
RULES: dict[Any, Rule] = {
    **MOVEMENT,
    **dict.fromkeys(functions(["scatter_add", "scatter_add_", "index_add", "index_add_"]), _add),
    **dict.fromkeys(
        functions(["scatter_reduce", "scatter_reduce_", "index_reduce", "index_reduce_"]), _reduce
    ),
    **dict.fromkeys(functions(["clamp", "clamp_", "clamp_min", "clamp_min_"]), _clamp),
    **dict.fromkeys(
        [*POWERS, *QUOTIENTS, *functions(["rsqrt", "rsqrt_", "reciprocal", "reciprocal_"])],
        _invert,
    ),
    **dict.fromkeys(functions(["__setitem__"]), _set),
    **dict.fromkeys(functions(["sqrt"]), _root),
    F.batch_norm: _batch_norm,
}
