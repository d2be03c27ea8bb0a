"""Compiled loops for the CPU: each row of the result is summed in registers and written once.

The backward pass visits the edges by source and takes both gradients from one gathered row. Rows
are cut into strips of as many channels as the registers hold. With `torch.set_num_threads` above 1
the rows are shared out among threads. Functions are compiled when first used and kept on disk.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from graphlth.graph import Graph, Rows
from graphlth.kernels.vector import add, axpy, dot, load, load_some, store, store_some, zeros

REGISTERS = 512  # bytes of a row that the registers hold twice
FAR, REUSED = 1 << 21, 16  # numbers, and edges a row, from which each strip is laid out on its own
SHARED = 1 << 18  # multiplications from which threads are worth their start

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
    out = x.new_empty(rows.offsets.numel() - 1, x.size(1))
    values, flat = _values(rows, x, weight), out.view(-1).numpy()
    for strip in _strips(rows, x):
        loop = _sum(strip.lanes, strip.some)
        _share(rows, x.size(1), partial(loop, *rows.arrays, values, *strip.place, flat))
    return out


def sums_and_dots(rows: Rows, x: Tensor, weight: Tensor | None, y: Tensor) -> tuple[Tensor, Tensor]:
    """`sums`, and `⟨x_e, y_r⟩` [E] for every edge e of every row r of `y` [R, d]."""
    out, dots = x.new_empty(y.shape), x.new_empty(rows.count)
    values, flat, own = _values(rows, x, weight), out.view(-1).numpy(), _flat(y)
    for strip in _strips(rows, x):
        loop = _sum_and_dots(strip.lanes, strip.some)
        whole = partial(loop, *rows.arrays, values, *strip.place, flat, own, dots.numpy())
        _share(rows, x.size(1), whole)
    return out, rows.restore(dots)


class Strip(NamedTuple):
    """Some channels of a matrix, no more than one vector has lanes."""

    lanes: int
    some: bool  # whether there are fewer than `lanes`
    place: tuple[Array, int, int, int, int]  # where: array, stride, start; channels, the first


def _strips(rows: Rows, x: Tensor) -> Iterator[Strip]:
    """`x` [N, d], strip by strip."""
    n, d = x.shape
    lanes, some = _lanes(d, x)
    if d <= lanes or some or n * d < FAR or rows.count < REUSED * n:
        flat = _flat(x)
        for channel in range(0, d, lanes):
            yield Strip(lanes, some, (flat, d, channel, d, channel))
        return
    near = x.new_empty(n, lanes)  # rows far apart share cache sets and pages: move them together
    for channel in range(0, d, lanes):
        near.copy_(x[:, channel : channel + lanes])
        yield Strip(lanes, some, (_flat(near), lanes, 0, d, channel))


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
        rows, (_, heads, d) = graph.by_target, x.shape
        lanes, some = _lanes(d, x)
        share = x.new_empty(rows.count, heads)  # [E, heads] by position, in every step from here
        w = _values(rows, x, weight)
        k = share if keep is None else rows.arrange(keep.to(x.dtype))
        ends = *rows.arrays, w, _flat(sent), _flat(received)
        _share(rows, heads, partial(_logits, *ends, slope, heads, _flat(share)))
        share.clamp_(max=30).exp_()  # only an absent edge can exceed the top
        out = x.new_empty(graph.num_nodes, heads, d)
        loop = partial(_attend(lanes, some, keep is not None), *rows.arrays, w, _flat(k), _flat(x))
        _share(rows, heads * d, partial(loop, heads, d, _flat(share), _flat(out)))
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(x, sent, received, weight, keep, share, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        graph, (x, sent, received, weight, keep, share, out) = ctx.graph, ctx.saved_tensors
        rows, (_, heads, d) = graph.by_source, x.shape
        lanes, some = _lanes(d, x)
        share = rows.arrange(graph.by_target.restore(share))
        k = share if keep is None else rows.arrange(keep.to(x.dtype))
        mean = (grad * out).sum(-1)  # [N, heads] Σ_e α_e ∂α_e, without the edges
        to_x, to_sent = torch.empty_like(x), torch.empty_like(sent)
        to_logit, to_weight = torch.empty_like(share), x.new_empty(rows.count)
        loop = partial(
            _attend_back(lanes, some, keep is not None), *rows.arrays, _values(rows, x, weight),
            _flat(k), _flat(x), _flat(sent), _flat(received), _flat(grad), _flat(mean),
            _flat(share), ctx.slope, heads, d,
        )  # fmt: skip
        parts = to_x, to_sent, to_logit, to_weight
        _share(rows, heads * d, partial(loop, *(part.view(-1).numpy() for part in parts)))
        to_received = torch.empty_like(received)
        by_target = graph.by_target.arrange(rows.restore(to_logit))
        target = graph.by_target
        loop = partial(_totals, target.arrays[0], _flat(by_target), heads)
        _share(target, heads, partial(loop, to_received.view(-1).numpy()))
        to_weight = None if weight is None else rows.restore(to_weight)
        return None, to_x, to_sent, to_received, to_weight, None, None


@njit(cache=True, nogil=True, error_model="numpy")
def _logits(offsets, columns, w, sent, received, slope, heads, out, first, last):  # type: ignore[no-untyped-def]
    """`l_e − max_e' l_e'` over the edges of each row that have a weight."""
    for r in range(first, last):
        a, b = offsets[r], offsets[r + 1]
        for h in range(heads):
            top = -np.inf
            for e in range(a, b):
                logit = sent[columns[e] * heads + h] + received[r * heads + h]
                logit = logit if logit > 0 else slope * logit
                out[e * heads + h] = logit
                if w[e] > 0 and logit > top:
                    top = logit
            top = 0 if top == -np.inf else top
            for e in range(a, b):
                out[e * heads + h] -= top


@cache
def _attend(lanes: int, some: bool, dropped: bool) -> Loop:
    take, put = (load_some, store_some) if some else (load, store)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, w, keep, x, heads, d, share, out, first, last):  # type: ignore[no-untyped-def]
        """Divide `share` by its sum over each row, and sum the rows of `x` by it."""
        for r in range(first, last):
            a, b = offsets[r], offsets[r + 1]
            for h in range(heads):
                total = share.dtype.type(0)
                for e in range(a, b):
                    total += w[e] * share[e * heads + h]
                for e in range(a, b):
                    share[e * heads + h] /= total if total > 0 else 1
                for channel in range(0, d, lanes):
                    left, sum_ = d - channel, zeros(x, lanes)
                    for e in range(a, b):
                        alpha = w[e] * share[e * heads + h]
                        if dropped:
                            alpha *= keep[e * heads + h]
                        start = (columns[e] * heads + h) * d + channel
                        sum_ = axpy(alpha, take(x, start, left, lanes), sum_)
                    put(out, (r * heads + h) * d + channel, left, sum_)

    return loop


@cache
def _attend_back(lanes: int, some: bool, dropped: bool) -> Loop:
    take, put = (load_some, store_some) if some else (load, store)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, keep, x, sent, received, grad, mean, share, slope, heads, d,
        to_x, to_sent, to_logit, to_weight, first, last,
    ):  # fmt: skip
        for r in range(first, last):
            a, b = offsets[r], offsets[r + 1]
            for e in range(a, b):
                to_weight[e] = 0
            for h in range(heads):
                for channel in range(0, d, lanes):
                    left, total = d - channel, zeros(x, lanes)
                    own = take(x, (r * heads + h) * d + channel, left, lanes)
                    for e in range(a, b):
                        at = e * heads + h
                        start = (columns[e] * heads + h) * d + channel
                        other = take(grad, start, left, lanes)
                        kept = keep[at] if dropped else share.dtype.type(1)
                        total = axpy(w[e] * share[at] * kept, other, total)
                        product = kept * dot(other, own)  # ∂α_e
                        to_logit[at] = product + (to_logit[at] if channel else 0)
                    put(to_x, (r * heads + h) * d + channel, left, total)
                to_r = share.dtype.type(0)
                for e in range(a, b):
                    at, i = e * heads + h, columns[e] * heads + h
                    rise = share[at] * (to_logit[at] - mean[i])
                    to_weight[e] += rise
                    rise *= w[e]
                    rise *= 1 if sent[r * heads + h] + received[i] > 0 else slope
                    to_logit[at] = rise
                    to_r += rise
                to_sent[r * heads + h] = to_r

    return loop


@njit(cache=True, nogil=True, error_model="numpy")
def _totals(offsets, values, heads, out, first, last):  # type: ignore[no-untyped-def]
    for r in range(first, last):
        for h in range(heads):
            total = values.dtype.type(0)
            for e in range(offsets[r], offsets[r + 1]):
                total += values[e * heads + h]
            out[r * heads + h] = total


def _values(rows: Rows, x: Tensor, weight: Tensor | None) -> Array:
    ones = weight is None
    values = x.new_ones(rows.count) if ones else rows.arrange(weight).to(x.dtype)  # type: ignore[arg-type]
    return _flat(values)


@cache
def _sum(lanes: int, some: bool) -> Loop:
    take, put = (load_some, store_some) if some else (load, store)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(offsets, columns, w, x, stride, start, d, channel, out, first, last):  # type: ignore[no-untyped-def]
        left = d - channel
        for r in range(first, last):
            even = odd = zeros(x, lanes)  # two sums, so that one need not wait for the other
            a, b = offsets[r], offsets[r + 1]
            for e in range(a, b - 1, 2):
                even = axpy(w[e], take(x, columns[e] * stride + start, left, lanes), even)
                odd = axpy(w[e + 1], take(x, columns[e + 1] * stride + start, left, lanes), odd)
            if (b - a) % 2:
                even = axpy(w[b - 1], take(x, columns[b - 1] * stride + start, left, lanes), even)
            put(out, r * d + channel, left, add(even, odd))

    return loop


@cache
def _sum_and_dots(lanes: int, some: bool) -> Loop:
    take, put = (load_some, store_some) if some else (load, store)

    @njit(cache=True, nogil=True, error_model="numpy")
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, x, stride, start, d, channel, out, y, dots, first, last
    ):
        left = d - channel
        for r in range(first, last):
            total = zeros(x, lanes)
            own = take(y, r * d + channel, left, lanes)
            for e in range(offsets[r], offsets[r + 1]):
                other = take(x, columns[e] * stride + start, left, lanes)
                total = axpy(w[e], other, total)
                dots[e] = dot(other, own) + (dots[e] if channel else 0)
            put(out, r * d + channel, left, total)

    return loop


def _share(rows: Rows, work: int, part: Callable[[int, int], None]) -> None:
    """Do `part(first, last)` for all rows, on as many threads as torch has; `work` an edge."""
    threads, count = torch.get_num_threads(), rows.offsets.numel() - 1
    if threads == 1 or rows.count * work < SHARED:
        return part(0, count)
    ends = torch.arange(1, threads, device="cpu") * rows.count // threads
    cuts = [0, *torch.searchsorted(rows.offsets, ends.to(rows.offsets.dtype)).tolist(), count]
    list(_pool(threads).map(part, cuts[:-1], cuts[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "graphlth")
