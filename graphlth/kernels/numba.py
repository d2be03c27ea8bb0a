"""Compiled loops for the CPU: each row of the result is summed in registers and written once.

The backward pass visits the edges by source and takes both gradients from one gathered row. Rows
are cut into strips of as many channels as the registers hold. With `torch.set_num_threads` above 1
the rows are shared out among threads. Functions are compiled when first used and kept on disk.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from graphlth.graph import Features, Graph, Places, Rows
from graphlth.kernels import _narrow
from graphlth.kernels._memory import CACHE, fresh
from graphlth.kernels._threads import SHARED, pool
from graphlth.kernels._vector import (
    add,
    axpy,
    choose,
    dot,
    entry,
    fetch,
    fold,
    full,
    inverse,
    load,
    load_some,
    maximum,
    multiply,
    prefetch,
    spread,
    store,
    store_some,
    total,
    zeros,
)

REGISTERS = 512  # bytes of a row that the registers hold twice
FAR, REUSED = 1 << 21, 16  # numbers, and edges a row, from which each strip is laid out on its own
NUMBERS_AHEAD = 256  # of a permutation

Array = np.ndarray[Any, Any]
Loop = Callable[..., None]


def weighted_sum(graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
    """`A(weight) @ x` for float32 or float64 `x` [N, d] on the CPU and `weight` [E] or None."""
    return _Sum.apply(graph, x, weight)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x, weight)
        return sums(graph.by_target, x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        graph, (x, weight) = ctx.graph, ctx.saved_tensors
        _, to_x, to_weight = ctx.needs_input_grad
        if not to_weight:
            return None, sums(graph.by_source, grad, weight), None
        grad_x, grad_weight = sums_and_dots(graph.by_source, grad, weight, x)
        return None, grad_x if to_x else None, grad_weight


def sums(rows: Rows, x: Tensor, weight: Tensor | None) -> Tensor:
    """`Σ_e w_e x_e` [R, d] over the edges of each row; `x_e` [d] is the row of `x` at e's end."""
    out = fresh(x, rows.offsets.numel() - 1, x.size(1))
    values, flat = _values(rows, x, weight), out.view(-1).numpy()
    for strip in _strips(rows, x):
        loop = _sum(strip.lanes, strip.some, strip.far)
        _share(rows, x.size(1), partial(loop, *rows.arrays, values, *strip.place, flat))
    return out


def sums_and_dots(rows: Rows, x: Tensor, weight: Tensor | None, y: Tensor) -> tuple[Tensor, Tensor]:
    """`sums`, and `⟨x_e, y_r⟩` [E] for every edge e of every row r of `y` [R, d]."""
    out, dots = fresh(x, *y.shape), x.new_empty(rows.count)
    values, flat, own = _values(rows, x, weight), out.view(-1).numpy(), _flat(y)
    for strip in _strips(rows, x):
        loop = _sum_and_dots(strip.lanes, strip.some, strip.far)
        whole = partial(loop, *rows.arrays, values, *strip.place, flat, own, dots.numpy())
        _share(rows, x.size(1), whole)
    return out, restored(rows, dots)


def relu_product(graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor) -> Tensor:
    """`relu(A(weight) @ x) @ w` for `w` of few columns, without the matrix between or gradients."""
    rows, d = graph.by_target, x.size(1)
    lanes, some = _narrow_lanes(d, x)
    columns, out = _narrow.columns(w, lanes), _padded(graph.num_nodes, w)
    far = graph.num_sources * lanes * x.element_size() >= CACHE
    loop = partial(_narrow.relu_product(lanes, some, far), *rows.arrays, _values(rows, x, weight))
    _share(rows, d, partial(loop, _flat(x), d, _flat(columns), out.size(1), _flat(out)))
    return out[:, : w.size(1)].contiguous()


def convolve(
    graph: Graph, x: Features, w: Tensor, weight: Tensor, v: Tensor, places: Tensor, count: int,
    *, early: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`relu(A(weight) (x @ w)) @ v` for `v` of few columns, and some rows of `A(weight) (x @ w)`.

    `early` asks for rows of `x @ w` instead. `places` [N] says which of `count` each row becomes,
    −1 none; what no row becomes is not written. A strip of channels is made and
    used up while it lies in the cache; no gradients.
    """
    from graphlth.kernels import _strips as loops  # loads slowly

    w, d = w.detach(), w.size(1)
    h = loops.product_with(loops.edges(x.graph, x.values), w)
    kept = w.new_empty(count, loops.count(d) * loops.lanes(d))
    out = loops.convolve(
        loops.edges(graph, weight), h, d, w, own=False, following=loops.strips_after(v.detach()),
        keep=loops.Kept(places.numpy(), _flat(kept), early),
    )  # fmt: skip
    return out[:, : v.size(1)].clone(), kept[:, :d].contiguous()


def blank(like: Tensor) -> Tensor:
    """`message.blank` for float32 or float64 on the CPU."""
    from graphlth.kernels import _strips as loops  # loads slowly

    return loops.roomy(like) if like.dim() == 2 else torch.zeros_like(like)


def put(values: Tensor, index: Tensor, out: Tensor) -> None:
    """`out[index] = values` for float32 or float64 on the CPU."""
    _put(_flat(values), index.numpy(), out.detach().numpy())
    torch.autograd.graph.increment_version(out)


@njit(cache=True, nogil=True, error_model="numpy")
def _put(values, index, out):  # type: ignore[no-untyped-def]
    for i in range(index.size):
        out[index[i]] = values[i]


def adam(entries: list[Tensor], product: Tensor, constants: Sequence[float]) -> None:
    """A step of Adam on both factors of `product` (see `_adam.step`), for float32 or float64.

    `entries`, contiguous, are its gradient, both factors, and their moments. Rows of a matrix may
    lie apart.
    """
    from graphlth.kernels import _adam as loops  # loads slowly

    flat = product.is_contiguous()
    rows, d = (1, product.numel()) if flat else product.shape
    stride = d if flat else product.stride(0)
    whole = product.detach().as_strided(((rows - 1) * stride + d,), (1,)).numpy()
    told = np.array(constants, whole.dtype)
    step = loops.step(d % loops.LANES != 0)
    _split(
        rows, 1, 8 * product.numel(), partial(step, *map(_flat, entries), whole, told, d, stride)
    )


def sums_at(rows: Rows, x: Tensor, weight: Tensor | None, places: Places) -> Tensor:
    """The entries [entries] of `sums` at `places`, without the others."""
    d, out = x.size(1), x.new_empty(places.index.numel())
    lanes, some = _lanes(d, x)
    loop = partial(_sum_at(lanes, some), *rows.arrays, _values(rows, x, weight), _flat(x), d)
    _share(rows, d, partial(loop, *places.by_strips(lanes), out.numpy()))
    return out


def narrow_product(x: Tensor, w: Tensor, kept: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """`x @ w` for float32 or float64 `x` [N, d] on the CPU and `w` [d, C] of few columns.

    With `kept`, which is `scale · x` in some places where that is above 0 and elsewhere 0, it is
    `kept @ w`, and gradients flow to `x` all the same.
    """
    return _NarrowProduct.apply(x, w, kept, scale)


class _NarrowProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, kept: Tensor | None, scale: float) -> Tensor:
        ctx.gate = None if kept is None else scale
        x = x if kept is None else kept
        ctx.save_for_backward(x, w)
        (n, d), out = x.shape, _padded(len(x), w)
        lanes, some = _narrow_lanes(d, x)
        ctx.columns = _narrow.columns(w.detach(), lanes)
        loop = partial(_narrow.product(lanes, some), _flat(x), d, _flat(ctx.columns), out.size(1))
        _split(n, 1, x.numel(), partial(loop, _flat(out)))
        return out[:, : w.size(1)].contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, w = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, (grad.t() @ x).t().contiguous(), None, None
        (n, d), c = x.shape, w.size(1)
        (lanes, some), columns = _narrow_lanes(d, x), ctx.columns
        to_x, to_w = fresh(x, n, d), x.new_zeros(c, d)
        values, gated = _flat(x), ctx.gate is not None
        scale = values.dtype.type(ctx.gate if gated else 1)
        loop = partial(_narrow.gradients(lanes, some, gated), values, d, _flat(columns))
        loop = partial(loop, columns.size(1), _flat(grad), n, c, scale, to_x.view(-1).numpy())
        _split(d, lanes, x.numel(), partial(loop, to_w.view(-1).numpy()))
        return to_x, to_w.t().contiguous(), None, None


def _narrow_lanes(d: int, x: Tensor) -> tuple[int, bool]:
    lanes = max(16, _lanes(d, x)[0])
    return lanes, d % lanes != 0


def _padded(n: int, w: Tensor) -> Tensor:
    """Zeros [n, C up to 8s] for the product with `w` [d, C]."""
    return w.new_zeros(n, w.size(1) + -w.size(1) % _narrow.GROUP)


class Strip(NamedTuple):
    """Some channels of a matrix, no more than one vector has lanes."""

    lanes: int
    some: bool  # whether there are fewer than `lanes`
    far: bool  # whether all its rows are more than the second cache holds
    place: tuple[Array, int, int, int, int]  # where: array, stride, start; channels, the first


def _strips(rows: Rows, x: Tensor) -> Iterator[Strip]:
    """`x` [N, d], strip by strip."""
    n, d = x.shape
    lanes, some = _lanes(d, x)
    far = n * min(lanes, d) * x.element_size() >= CACHE
    if d <= lanes or some or n * d < FAR or rows.count < REUSED * n:
        flat = _flat(x)
        for channel in range(0, d, lanes):
            yield Strip(lanes, some, far, (flat, d, channel, d, channel))
        return
    near = fresh(x, n, lanes)  # rows far apart share cache sets and pages: move them together
    for channel in range(0, d, lanes):
        near.copy_(x[:, channel : channel + lanes])
        yield Strip(lanes, some, far, (_flat(near), lanes, 0, d, channel))


def _lanes(d: int, x: Tensor) -> tuple[int, bool]:
    """How many of `d` channels make a strip, and whether the last strip has fewer."""
    lanes = min(REGISTERS // x.element_size(), max(8, 1 << (d - 1).bit_length()))
    return lanes, d % lanes != 0


def _flat(x: Tensor) -> Array:
    return x.detach().contiguous().view(-1).numpy()


def attention(
    graph: Graph,
    x: Tensor,
    sent: Tensor,
    received: Tensor,
    weight: Tensor | None,
    keep: Tensor | None,
    slope: float,
) -> Tensor:
    """`message.attention` for float32 or float64 on the CPU."""
    return _Attention.apply(graph, x, sent, received, weight, keep, slope)


class _Attention(torch.autograd.Function):
    """Keeps [E, heads] numbers for the way back, and nothing of the size E · heads · d."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Tensor, sent: Tensor, received: Tensor,
        weight: Tensor | None, keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        rows, heads = graph.by_target, x.size(1)
        share, alpha = x.new_empty(2, rows.count, heads)  # by position, like all that follows
        w, kept = _values(rows, x, weight), _kept(rows, x, keep)
        part = partial(_scores(heads), *rows.arrays, w, _flat(sent), _flat(received), slope)
        _share(rows, heads, partial(part, _flat(share)))
        share.clamp_(max=30).exp_()  # only an absent edge can exceed the top
        part = partial(_shares(heads, keep is not None), *rows.arrays, w, kept)
        _share(rows, heads, partial(part, _flat(share), _flat(alpha)))
        out = head_sums(rows, x, alpha)
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(x, sent, received, weight, keep, share, alpha, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        graph, (x, sent, received, weight, keep, share, alpha, out) = ctx.graph, ctx.saved_tensors
        rows, target, heads = graph.by_source, graph.by_target, x.size(1)
        share, alpha = (arranged(rows, restored(target, v)) for v in (share, alpha))
        to_x, to_alpha = head_sums_and_dots(rows, grad, alpha, x)
        mean = (grad * out).sum(-1)  # [N, heads] Σ_e α_e ∂α_e, without the edges
        to_sent, to_received = x.new_empty(sent.shape), x.new_empty(received.shape)
        to_weight = x.new_empty(rows.count)
        part = partial(
            _slopes(heads, keep is not None), *rows.arrays, _values(rows, x, weight),
            _kept(rows, x, keep), _flat(share), _flat(sent), _flat(received), _flat(mean),
            ctx.slope, _flat(to_alpha),
        )  # fmt: skip
        _share(rows, heads, partial(part, _flat(to_sent), _flat(to_weight)))
        to_logit = arranged(target, restored(rows, to_alpha))
        part = partial(_totals(heads), *target.arrays, _flat(to_logit))
        _share(target, heads, partial(part, _flat(to_received)))
        back = None if weight is None else restored(rows, to_weight)
        return None, to_x, to_sent, to_received, back, None, None


def head_sums(rows: Rows, x: Tensor, alpha: Tensor) -> Tensor:
    """`sums` for `x` [N, heads, d] with a weight per head, `alpha` [E, heads] by position."""
    out = fresh(x, rows.offsets.numel() - 1, *x.shape[1:])
    loop = partial(_head_sum(*_layout(x)), *rows.arrays, _flat(alpha), _flat(x))
    _share(rows, x[0].numel() if len(x) else 0, partial(loop, *x.shape[1:], _flat(out)))
    return out


def head_sums_and_dots(rows: Rows, x: Tensor, alpha: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`head_sums`, and `⟨x_e, y_r⟩` [E, heads] by position."""
    out, dots = fresh(x, *y.shape), torch.empty_like(alpha)
    loop = partial(_head_sum_and_dots(*_layout(x)), *rows.arrays, _flat(alpha), _flat(x))
    work = x[0].numel() if len(x) else 0
    _share(rows, work, partial(loop, *x.shape[1:], _flat(out), _flat(y), _flat(dots)))
    return out, dots


def _layout(x: Tensor) -> tuple[int, int, bool, bool]:
    """Lanes; how many heads one vector holds, 0 where it holds one or less; are lanes left over;
    is `x` more than the second cache holds.
    """
    _, heads, d = x.shape
    lanes, some = _lanes(d, x)
    both, far = heads * d, x.numel() * x.element_size() >= CACHE
    if both & (both - 1) == 0 and d <= both // 2 and both * x.element_size() <= REGISTERS:
        return both, heads, False, far
    return lanes, 0, some, far


def _kept(rows: Rows, x: Tensor, keep: Tensor | None) -> Array:
    return _flat(x.new_empty(0) if keep is None else arranged(rows, keep.to(x.dtype)))


@cache
def _head_sum(lanes: int, together: int, some: bool, far: bool) -> Loop:
    channels = lanes // max(together, 1)

    @njit(cache=True, nogil=True, error_model="numpy")
    def all_heads(offsets, columns, alpha, x, heads, d, out, first, last):  # type: ignore[no-untyped-def]
        for r in range(first, last):
            sum_ = zeros(x, lanes)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                if far:
                    fetch(x, columns, e, lanes, 0, lanes)
                a = spread(load(alpha, e * together, together, together), channels)
                sum_ = add(multiply(a, load(x, entry(columns, e) * lanes, lanes, lanes)), sum_)
            store(out, r * lanes, lanes, sum_)

    @njit(cache=True, nogil=True, error_model="numpy")
    def each_head(offsets, columns, alpha, x, heads, d, out, first, last):  # type: ignore[no-untyped-def]
        for r in range(first, last):
            for h in range(heads):
                for channel in range(0, d, lanes):
                    left, sum_ = d - channel, zeros(x, lanes)
                    for e in range(entry(offsets, r), entry(offsets, r + 1)):
                        if far:
                            fetch(x, columns, e, heads * d, h * d + channel, lanes)
                        start = (entry(columns, e) * heads + h) * d + channel
                        other = load_some(x, start, left, lanes, some)
                        sum_ = axpy(entry(alpha, e * heads + h), other, sum_)
                    store_some(out, (r * heads + h) * d + channel, left, sum_, some)

    return all_heads if together else each_head


@cache
def _head_sum_and_dots(lanes: int, together: int, some: bool, far: bool) -> Loop:
    channels = lanes // max(together, 1)

    @njit(cache=True, nogil=True, error_model="numpy")
    def all_heads(offsets, columns, alpha, x, heads, d, out, y, dots, first, last):  # type: ignore[no-untyped-def]
        for r in range(first, last):
            sum_, own = zeros(x, lanes), load(y, r * lanes, lanes, lanes)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                if far:
                    fetch(x, columns, e, lanes, 0, lanes)
                a = spread(load(alpha, e * together, together, together), channels)
                other = load(x, entry(columns, e) * lanes, lanes, lanes)
                sum_ = add(multiply(a, other), sum_)
                store(dots, e * together, together, fold(multiply(other, own), channels))
            store(out, r * lanes, lanes, sum_)

    @njit(cache=True, nogil=True, error_model="numpy")
    def each_head(offsets, columns, alpha, x, heads, d, out, y, dots, first, last):  # type: ignore[no-untyped-def]
        for r in range(first, last):
            for h in range(heads):
                for channel in range(0, d, lanes):
                    left, sum_ = d - channel, zeros(x, lanes)
                    own = load_some(y, (r * heads + h) * d + channel, left, lanes, some)
                    for e in range(entry(offsets, r), entry(offsets, r + 1)):
                        if far:
                            fetch(x, columns, e, heads * d, h * d + channel, lanes)
                        at, start = e * heads + h, (entry(columns, e) * heads + h) * d + channel
                        other = load_some(x, start, left, lanes, some)
                        sum_ = axpy(entry(alpha, at), other, sum_)
                        dots[at] = dot(other, own) + (dots[at] if channel else 0)
                    store_some(out, (r * heads + h) * d + channel, left, sum_, some)

    return all_heads if together else each_head


def _per_head(heads: int) -> tuple[int, bool]:
    """Lanes for one number a head, and whether some are left over."""
    lanes = max(4, 1 << (heads - 1).bit_length())
    return lanes, lanes != heads


@cache
def _scores(heads: int) -> Loop:
    lanes, some = _per_head(heads)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, w, sent, received, slope, out, first, last):  # type: ignore[no-untyped-def]
        """`l_e − max_e' l_e'` over the edges of each row that have a weight."""
        for r in range(first, last):
            a, b, present = entry(offsets, r), entry(offsets, r + 1), False
            own = load_some(received, r * heads, heads, lanes, some)
            top = full(sent, -np.inf, lanes)
            for e in range(a, b):
                score = add(load_some(sent, entry(columns, e) * heads, heads, lanes, some), own)
                score = maximum(score, axpy(slope, score, zeros(sent, lanes)))
                store_some(out, e * heads, heads, score, some)
                if entry(w, e) > 0:
                    top, present = maximum(top, score), True
            if not present:
                top = zeros(sent, lanes)
            for e in range(a, b):
                score = load_some(out, e * heads, heads, lanes, some)
                store_some(out, e * heads, heads, axpy(-1.0, top, score), some)

    return loop


@cache
def _shares(heads: int, dropped: bool) -> Loop:
    lanes, some = _per_head(heads)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, w, keep, share, alpha, first, last):  # type: ignore[no-untyped-def]
        """Divide `share` by its weighted sum over each row; `alpha` is `w keep share`."""
        for r in range(first, last):
            sum_, one = zeros(share, lanes), full(share, 1.0, lanes)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                sum_ = axpy(entry(w, e), load_some(share, e * heads, heads, lanes, some), sum_)
            part = inverse(choose(sum_, sum_, one))
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                own = multiply(part, load_some(share, e * heads, heads, lanes, some))
                store_some(share, e * heads, heads, own, some)
                own = axpy(entry(w, e), own, zeros(share, lanes))
                if dropped:
                    own = multiply(own, load_some(keep, e * heads, heads, lanes, some))
                store_some(alpha, e * heads, heads, own, some)

    return loop


@cache
def _slopes(heads: int, dropped: bool) -> Loop:
    lanes, some = _per_head(heads)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, keep, share, sent, received, mean, slope, slopes, to_sent, to_weight,
        first, last,
    ):  # fmt: skip
        """From `∂α_e` to `∂l_e` in place, their sums over each row, and `∂w_e`."""
        for r in range(first, last):
            sum_, own = zeros(share, lanes), load_some(sent, r * heads, heads, lanes, some)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                i = entry(columns, e) * heads
                rise = load_some(slopes, e * heads, heads, lanes, some)
                if dropped:
                    rise = multiply(rise, load_some(keep, e * heads, heads, lanes, some))
                rise = axpy(-1.0, load_some(mean, i, heads, lanes, some), rise)
                rise = multiply(rise, load_some(share, e * heads, heads, lanes, some))
                to_weight[e] = total(rise)
                rise = axpy(entry(w, e), rise, zeros(share, lanes))
                score = add(load_some(received, i, heads, lanes, some), own)
                rise = choose(score, rise, axpy(slope, rise, zeros(share, lanes)))
                store_some(slopes, e * heads, heads, rise, some)
                sum_ = add(sum_, rise)
            store_some(to_sent, r * heads, heads, sum_, some)

    return loop


@cache
def _totals(heads: int) -> Loop:
    lanes, some = _per_head(heads)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, values, out, first, last):  # type: ignore[no-untyped-def]
        for r in range(first, last):
            sum_ = zeros(values, lanes)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                sum_ = add(sum_, load_some(values, e * heads, heads, lanes, some))
            store_some(out, r * heads, heads, sum_, some)

    return loop


def _values(rows: Rows, x: Tensor, weight: Tensor | None) -> Array:
    if weight is None:
        return _flat(x.new_ones(rows.count))
    return _flat(arranged(rows, weight.to(x.dtype)))


def arranged(rows: Rows, values: Tensor) -> Tensor:
    """`rows.arrange(values)` of numbers without gradients."""
    return values if rows.order is None else _permuted(values, rows.order)


def restored(rows: Rows, values: Tensor) -> Tensor:
    """`rows.restore(values)` of numbers without gradients."""
    return values if rows.position is None else _permuted(values, rows.position)


def _permuted(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]` for `values` [n, ...] and all its places in another order."""
    if values.numel() * values.element_size() < CACHE:
        return values.index_select(0, index)
    out, width = fresh(values, *values.shape), values[0].numel()
    loop = partial(_permutation(width), _flat(values), index.numpy(), out.view(-1).numpy())
    _split(index.numel(), 1, values.numel(), loop)
    return out


@cache
def _permutation(width: int) -> Callable[..., None]:
    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(values, index, out, first, last):  # type: ignore[no-untyped-def]
        for i in range(first, last):
            prefetch(values, entry(index, min(i + NUMBERS_AHEAD, index.size - 1)) * width, width, 2)
            start = entry(index, i) * width
            for j in range(width):
                out[i * width + j] = values[start + j]

    return loop


@cache
def _sum(lanes: int, some: bool, far: bool) -> Loop:
    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, w, x, stride, start, d, channel, out, first, last):  # type: ignore[no-untyped-def]
        left = d - channel
        for r in range(first, last):
            even = odd = zeros(x, lanes)  # two sums, so that one need not wait for the other
            a, b = entry(offsets, r), entry(offsets, r + 1)
            for e in range(a, b - 1, 2):
                if far:
                    fetch(x, columns, e, stride, start, lanes)
                    fetch(x, columns, e + 1, stride, start, lanes)
                row = load_some(x, entry(columns, e) * stride + start, left, lanes, some)
                even = axpy(entry(w, e), row, even)
                row = load_some(x, entry(columns, e + 1) * stride + start, left, lanes, some)
                odd = axpy(entry(w, e + 1), row, odd)
            if (b - a) % 2:
                row = load_some(x, entry(columns, b - 1) * stride + start, left, lanes, some)
                even = axpy(entry(w, b - 1), row, even)
            store_some(out, r * d + channel, left, add(even, odd), some)

    return loop


@cache
def _sum_at(lanes: int, some: bool) -> Loop:
    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, w, x, d, starts, channels, which, out, first, last):  # type: ignore[no-untyped-def]
        strip, rows = np.empty(lanes, x.dtype), offsets.size - 1
        for channel in range(0, d, lanes):
            left, at = d - channel, channel // lanes * rows
            for r in range(first, last):
                a, b = entry(starts, at + r), entry(starts, at + r + 1)
                if a == b:
                    continue
                sum_ = zeros(x, lanes)
                for e in range(entry(offsets, r), entry(offsets, r + 1)):
                    other = load_some(x, entry(columns, e) * d + channel, left, lanes, some)
                    sum_ = axpy(entry(w, e), other, sum_)
                store(strip, 0, lanes, sum_)
                for i in range(a, b):
                    out[entry(which, i)] = strip[entry(channels, i)]

    return loop


@cache
def _sum_and_dots(lanes: int, some: bool, far: bool) -> Loop:
    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, x, stride, start, d, channel, out, y, dots, first, last
    ):
        left = d - channel
        for r in range(first, last):
            total = zeros(x, lanes)
            own = load_some(y, r * d + channel, left, lanes, some)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                if far:
                    fetch(x, columns, e, stride, start, lanes)
                other = load_some(x, entry(columns, e) * stride + start, left, lanes, some)
                total = axpy(entry(w, e), other, total)
                dots[e] = dot(other, own) + (dots[e] if channel else 0)
            store_some(out, r * d + channel, left, total, some)

    return loop


def _share(rows: Rows, work: int, part: Callable[[int, int], None]) -> None:
    """Do `part(first, last)` for all rows, on as many threads as torch has; `work` an edge."""
    threads, count = torch.get_num_threads(), rows.offsets.numel() - 1
    if threads == 1 or rows.count * work < SHARED:
        return part(0, count)
    ends = torch.arange(1, threads, device="cpu") * rows.count // threads
    cuts = [0, *torch.searchsorted(rows.offsets, ends.to(rows.offsets.dtype)).tolist(), count]
    list(pool(threads).map(part, cuts[:-1], cuts[1:]))


def _split(count: int, step: int, work: int, part: Callable[[int, int], None]) -> None:
    """Do `part(first, last)` for all of `count`, cut at multiples of `step`, likewise."""
    threads = torch.get_num_threads()
    if threads == 1 or work < SHARED:
        return part(0, count)
    cuts = [-(-count // step) * i // threads * step for i in range(threads)] + [count]
    list(pool(threads).map(part, cuts[:-1], cuts[1:]))
