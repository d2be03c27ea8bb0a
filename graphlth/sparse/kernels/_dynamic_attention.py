"""Compiled loops of GATv2's attention, whose scores are sums over the channels of every edge.

Nothing of the size E · heads · d is made: a score is computed anew on the way back, in the order of
sources. Of an edge its slope alone is kept there, [E, heads], for the gradients of the targets.
`about` [N, 3, heads] holds of a target the top score, the factor of its shares, `Σ_e α_e ∂α_e`.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels._arithmetic import (
    add,
    axpy,
    choose,
    fold,
    inverse,
    maximum,
    multiply,
    total,
)
from graphlth.sparse.kernels._arrays import (
    edge_values,
    flat_array,
    keep_values,
    position_by_source,
    restore_values,
    share_range,
    share_rows,
)
from graphlth.sparse.kernels._attention import exponential, heads_of_vector, layout, longest, means
from graphlth.sparse.kernels._compiled import compiled, inlined
from graphlth.sparse.kernels._memory import new_empty
from graphlth.sparse.kernels._vector import (
    entry,
    fetch,
    full,
    load,
    load_some,
    repeat_lanes,
    store,
    store_some,
    zeros,
)

ABOUT = 3  # numbers kept of every target and head

Loop = Callable[..., None]


class DynamicAttention(torch.autograd.Function):
    """`Σ_e k_e α_e x_j` with `α_e ∝ w_e exp(aᵀ LeakyReLU(x_j + r_i))`."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Tensor, received: Tensor, a: Tensor,
        weight: Tensor | None, keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        rows, n, (_, heads, d) = graph.by_target, graph.num_nodes, x.shape
        out, about = new_empty(x, n, heads, d), x.new_empty(n, ABOUT, heads)
        part = partial(
            _forward(*layout(x), heads, keep is not None), *rows.arrays,
            edge_values(rows, x, weight), keep_values(rows, x, keep), flat_array(received),
            flat_array(a), slope, flat_array(x), d, flat_array(about),
        )  # fmt: skip
        share_rows(rows, 2 * heads * d, partial(part, flat_array(out)))
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(x, received, a, weight, keep, about, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        graph, (x, received, a, weight, keep, about, out) = ctx.graph, ctx.saved_tensors
        (_, heads, d), flat, shape = x.shape, flat_array(grad), layout(x)
        part = partial(means(*shape[:3], heads, ABOUT), flat, flat_array(out), d)
        share_range(graph.num_nodes, 1, out.numel(), partial(part, flat_array(about)))
        rows, given = graph.by_source, (flat_array(received), flat_array(a), ctx.slope)
        to_x, to_weight = new_empty(x, *x.shape), x.new_empty(rows.count)
        to_logits = new_empty(x, rows.count, heads)
        part = partial(
            _backward(*shape, heads, keep is not None), *rows.arrays, edge_values(rows, x, weight),
            keep_values(rows, x, keep), *given, flat_array(about), flat_array(x), flat, d,
            flat_array(to_x), flat_array(to_logits),
        )  # fmt: skip
        share_rows(rows, 3 * heads * d, partial(part, flat_array(to_weight)))
        target, to_received = graph.by_target, new_empty(x, *received.shape)
        to_a = new_empty(x, *received.shape)  # of each target
        part = partial(
            _to_targets(*shape, heads), *target.arrays, position_by_source(graph),
            flat_array(to_logits), *given, flat_array(x), d, flat_array(to_received),
        )  # fmt: skip
        share_rows(target, 2 * heads * d, partial(part, flat_array(to_a)))
        back = None if weight is None else restore_values(rows, to_weight)
        return None, to_x, to_received, to_a.sum(0), back, None, None


@inlined
def leaky(x, slope, zero):  # type: ignore[no-untyped-def]
    """`LeakyReLU(x)`, lane by lane, for slopes up to 1."""
    return maximum(x, axpy(slope, x, zero))


@cache
def _forward(lanes: int, together: int, some: bool, far: int, heads: int, dropped: bool) -> Loop:
    channels, (wide, part), row = lanes // together, heads_of_vector(heads), ABOUT * heads

    @compiled
    def loop(offsets, columns, w, keep, received, a, slope, x, d, about, out, first, last):  # type: ignore[no-untyped-def]
        shares = np.zeros(longest(offsets, first, last) * wide, x.dtype)
        nothing = zeros(x, lanes)
        for r in range(first, last):
            begin, end, present = entry(offsets, r), entry(offsets, r + 1), False
            for e in range(begin, end):
                at = entry(columns, e) * heads * d
                for h in range(0, heads, together):
                    score = zeros(x, together)
                    for channel in range(0, d, channels):
                        left, place = d - channel, h * d + channel
                        if far:
                            fetch(x, columns, e, heads * d, place, lanes, far)
                        z = load_some(received, r * heads * d + place, left, lanes, some)
                        z = leaky(
                            add(load_some(x, at + place, left, lanes, some), z), slope, nothing
                        )
                        z = multiply(load_some(a, place, left, lanes, some), z)
                        score = add(fold(z, channels), score)
                    store(shares, (e - begin) * wide + h, together, score)
            top, whole = full(x, -np.inf, wide), zeros(x, wide)
            for e in range(begin, end):
                if entry(w, e) > 0:
                    score = load(shares, (e - begin) * wide, wide, wide)
                    top, present = maximum(top, score), True
            if not present:
                top = zeros(x, wide)
            for e in range(begin, end):
                share = exponential(load(shares, (e - begin) * wide, wide, wide), top)
                share = axpy(entry(w, e), share, zeros(x, wide))
                whole = add(share, whole)
                if dropped:
                    share = multiply(share, load_some(keep, e * heads, heads, wide, part))
                store(shares, (e - begin) * wide, wide, share)
            whole = inverse(choose(whole, whole, full(x, 1.0, wide)))
            store_some(about, r * row, heads, top, part)
            store_some(about, r * row + heads, heads, whole, part)
            for h in range(0, heads, together):
                scale = load(about, r * row + heads + h, together, together)
                for channel in range(0, d, channels):
                    left, sum_, place = d - channel, zeros(x, lanes), h * d + channel
                    for e in range(begin, end):
                        start = entry(columns, e) * heads * d + place
                        each = load(shares, (e - begin) * wide + h, together, together)
                        other = load_some(x, start, left, lanes, some)
                        sum_ = add(multiply(repeat_lanes(each, channels), other), sum_)
                    sum_ = multiply(repeat_lanes(scale, channels), sum_)
                    store_some(out, r * heads * d + place, left, sum_, some)

    return loop


@cache
def _backward(lanes: int, together: int, some: bool, far: int, heads: int, dropped: bool) -> Loop:
    channels, (wide, part), row = lanes // together, heads_of_vector(heads), ABOUT * heads

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, keep, received, a, slope, about, x, grad, d, to_x, to_logits, to_w,
        first, last,
    ):  # fmt: skip
        """The gradients of each source and its edges; the slopes of the scores to `to_logits`."""
        size = longest(offsets, first, last) * wide
        shares, kept = np.zeros(size, x.dtype), np.zeros(size, x.dtype)
        slopes = np.zeros(size, x.dtype)  # also where there is no head
        nothing = zeros(x, lanes)
        for r in range(first, last):
            begin, end, own = entry(offsets, r), entry(offsets, r + 1), r * heads * d
            for e in range(begin, end):
                at = entry(columns, e) * heads * d
                for h in range(0, heads, together):
                    score = along = zeros(x, together)
                    for channel in range(0, d, channels):
                        left, place = d - channel, h * d + channel
                        if far:
                            fetch(received, columns, e, heads * d, place, lanes, far)
                            fetch(grad, columns, e, heads * d, place, lanes, far)
                        own_x = load_some(x, own + place, left, lanes, some)
                        other = load_some(grad, at + place, left, lanes, some)
                        along = add(fold(multiply(other, own_x), channels), along)
                        z = load_some(received, at + place, left, lanes, some)
                        z = leaky(add(own_x, z), slope, nothing)
                        z = multiply(load_some(a, place, left, lanes, some), z)
                        score = add(fold(z, channels), score)
                    store(shares, (e - begin) * wide + h, together, score)
                    store(slopes, (e - begin) * wide + h, together, along)
            for e in range(begin, end):
                at, place = entry(columns, e) * row, (e - begin) * wide
                top = load_some(about, at, heads, wide, part)
                share = exponential(load(shares, place, wide, wide), top)
                share = multiply(load_some(about, at + heads, heads, wide, part), share)
                rise, each = (
                    load(slopes, place, wide, wide),
                    axpy(entry(w, e), share, zeros(x, wide)),
                )
                if dropped:
                    dropout = load_some(keep, e * heads, heads, wide, part)
                    rise, each = multiply(rise, dropout), multiply(each, dropout)
                store(kept, place, wide, each)
                rise = axpy(-1.0, load_some(about, at + 2 * heads, heads, wide, part), rise)
                rise = multiply(rise, share)
                to_w[e] = total(rise)
                rise = axpy(entry(w, e), rise, zeros(x, wide))
                store(slopes, place, wide, rise)
                store_some(to_logits, e * heads, heads, rise, part)
            for h in range(0, heads, together):
                for channel in range(0, d, channels):
                    left, place = d - channel, h * d + channel
                    sum_, up = zeros(x, lanes), load_some(a, place, left, lanes, some)
                    down = axpy(slope, up, nothing)
                    own_x = load_some(x, own + place, left, lanes, some)
                    for e in range(begin, end):
                        at = entry(columns, e) * heads * d + place
                        each = load(kept, (e - begin) * wide + h, together, together)
                        other = load_some(grad, at, left, lanes, some)
                        sum_ = add(multiply(repeat_lanes(each, channels), other), sum_)
                        each = load(slopes, (e - begin) * wide + h, together, together)
                        z = add(own_x, load_some(received, at, left, lanes, some))
                        z = choose(z, up, down)
                        sum_ = add(multiply(repeat_lanes(each, channels), z), sum_)
                    store_some(to_x, own + place, left, sum_, some)

    return loop


@cache
def _to_targets(lanes: int, together: int, some: bool, far: int, heads: int) -> Loop:
    channels = lanes // together

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, places, slopes, received, a, slope, x, d, to_received, to_a, first, last
    ):
        """The gradients of each target, and its part of that of `a`; slopes lie at `places`."""
        nothing = zeros(x, lanes)
        for r in range(first, last):
            for h in range(0, heads, together):
                for channel in range(0, d, channels):
                    left, place = d - channel, h * d + channel
                    own = load_some(received, r * heads * d + place, left, lanes, some)
                    sum_ = to_own = zeros(x, lanes)
                    for e in range(entry(offsets, r), entry(offsets, r + 1)):
                        if far:
                            fetch(x, columns, e, heads * d, place, lanes, far)
                        at = entry(columns, e) * heads * d + place
                        z = add(load_some(x, at, left, lanes, some), own)
                        rise = load(slopes, entry(places, e) * heads + h, together, together)
                        rise = repeat_lanes(rise, channels)
                        sum_ = add(multiply(rise, leaky(z, slope, nothing)), sum_)
                        to_own = add(choose(z, rise, axpy(slope, rise, nothing)), to_own)
                    to_own = multiply(load_some(a, place, left, lanes, some), to_own)
                    store_some(to_received, r * heads * d + place, left, to_own, some)
                    store_some(to_a, r * heads * d + place, left, sum_, some)

    return loop
