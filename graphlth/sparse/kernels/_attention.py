"""Compiled loops of attention, which keep nothing of the size E · heads from one pass to the other.

A vector holds several heads where those fit. What the way back needs of a target lies side by side
in `about` [N, 4, heads]: its score, the top score, the factor of its shares, and `Σ_e α_e ∂α_e`.
From these every share is made anew, in the order of sources.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from torch import Tensor

from graphlth.sparse.kernels._arithmetic import (
    add,
    axpy,
    choose,
    exp,
    fold,
    inverse,
    maximum,
    minimum,
    multiply,
    total,
)
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import NUMBERS_AHEAD, REGISTERS, lanes_of, prefetch_levels
from graphlth.sparse.kernels._vector import (
    entry,
    fetch,
    full,
    load,
    load_some,
    prefetch,
    repeat_lanes,
    store,
    store_some,
    zeros,
)

ABOUT = 4  # numbers kept of every target and head
HIGHEST = 30.0  # only an absent edge can exceed the top; its bound keeps gradients finite

Loop = Callable[..., None]


def layout(x: Tensor) -> tuple[int, int, bool, int]:
    """Lanes of a vector; the heads that it holds; whether lanes are left over;
    to how many caches rows of `x` [N, heads, d] are fetched ahead.
    """
    _, heads, d = x.shape
    far = prefetch_levels(x.numel() * x.element_size())
    most = REGISTERS // x.element_size()
    if d & (d - 1) == 0 and 0 < d <= most:
        together = min(heads & -heads, most // d)  # powers of 2
        if together * d >= 8:
            return together * d, together, False, far
    lanes, some = lanes_of(d, x)
    return lanes, 1, some, far


def heads_of_vector(heads: int) -> tuple[int, bool]:
    """Lanes for one number a head, and whether some are left over."""
    lanes = 1 << (heads - 1).bit_length()
    return lanes, lanes != heads


@cache
def forward(lanes: int, together: int, some: bool, far: int, heads: int, dropped: bool) -> Loop:
    channels, (wide, part) = lanes // together, heads_of_vector(heads)

    @compiled
    def loop(offsets, columns, w, keep, sent, received, slope, x, d, about, out, first, last):  # type: ignore[no-untyped-def]
        shares = np.empty(longest(offsets, first, last) * wide, x.dtype)
        for r in range(first, last):
            a, b, present = entry(offsets, r), entry(offsets, r + 1), False
            own = load_some(received, r * heads, heads, wide, part)
            top, whole = full(x, -np.inf, wide), zeros(x, wide)
            for e in range(a, b):
                score = add(load_some(sent, entry(columns, e) * heads, heads, wide, part), own)
                score = maximum(score, axpy(slope, score, zeros(x, wide)))
                store(shares, (e - a) * wide, wide, score)
                if entry(w, e) > 0:
                    top, present = maximum(top, score), True
            if not present:
                top = zeros(x, wide)
            for e in range(a, b):
                share = exponential(load(shares, (e - a) * wide, wide, wide), top)
                share = axpy(entry(w, e), share, zeros(x, wide))
                whole = add(share, whole)
                if dropped:
                    share = multiply(share, load_some(keep, e * heads, heads, wide, part))
                store(shares, (e - a) * wide, wide, share)
            whole = inverse(choose(whole, whole, full(x, 1.0, wide)))
            store_some(about, ABOUT * r * heads, heads, own, part)
            store_some(about, (ABOUT * r + 1) * heads, heads, top, part)
            store_some(about, (ABOUT * r + 2) * heads, heads, whole, part)
            for h in range(0, heads, together):
                scale = load(about, (ABOUT * r + 2) * heads + h, together, together)
                for channel in range(0, d, channels):
                    left, sum_ = d - channel, zeros(x, lanes)
                    for e in range(a, b):
                        if far:
                            fetch(x, columns, e, heads * d, h * d + channel, lanes, far)
                        start = (entry(columns, e) * heads + h) * d + channel
                        other = load_some(x, start, left, lanes, some)
                        each = load(shares, (e - a) * wide + h, together, together)
                        sum_ = add(multiply(repeat_lanes(each, channels), other), sum_)
                    sum_ = multiply(repeat_lanes(scale, channels), sum_)
                    store_some(out, (r * heads + h) * d + channel, left, sum_, some)

    return loop


@cache
def means(lanes: int, together: int, some: bool, heads: int, about_size: int = ABOUT) -> Loop:
    channels, row = lanes // together, about_size * heads

    @compiled
    def loop(grad, out, d, about, first, last):  # type: ignore[no-untyped-def]
        """`Σ_e α_e ∂α_e = ⟨grad, out⟩` of every target and head, last of its numbers `about`."""
        for r in range(first, last):
            for h in range(0, heads, together):
                sum_ = zeros(out, together)
                for channel in range(0, d, channels):
                    left, start = d - channel, (r * heads + h) * d + channel
                    x = load_some(grad, start, left, lanes, some)
                    y = load_some(out, start, left, lanes, some)
                    sum_ = add(fold(multiply(x, y), channels), sum_)
                store(about, (r + 1) * row - heads + h, together, sum_)

    return loop


@cache
def backward(lanes: int, together: int, some: bool, far: int, heads: int, dropped: bool) -> Loop:
    channels, (wide, part), row = lanes // together, heads_of_vector(heads), ABOUT * heads

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, keep, sent, about, slope, x, grad, d,
        to_x, to_sent, to_logits, to_w, first, last,
    ):  # fmt: skip
        """All gradients of the edges from each source but those of `received`."""
        size = longest(offsets, first, last) * wide
        shares, kept = np.empty(size, x.dtype), np.empty(size, x.dtype)
        slopes = np.zeros(size, x.dtype)  # also where there is no head
        for r in range(first, last):
            a, b = entry(offsets, r), entry(offsets, r + 1)
            own, sum_ = load_some(sent, r * heads, heads, wide, part), zeros(x, wide)
            for e in range(a, b):
                at = entry(columns, e) * row
                if far:
                    fetch(about, columns, e, row, 0, row, far)
                score = add(load_some(about, at, heads, wide, part), own)
                score = maximum(score, axpy(slope, score, zeros(x, wide)))
                share = exponential(score, load_some(about, at + heads, heads, wide, part))
                share = multiply(load_some(about, at + 2 * heads, heads, wide, part), share)
                store(shares, (e - a) * wide, wide, share)
                share = axpy(entry(w, e), share, zeros(x, wide))
                if dropped:
                    share = multiply(share, load_some(keep, e * heads, heads, wide, part))
                store(kept, (e - a) * wide, wide, share)
            for h in range(0, heads, together):
                for channel in range(0, d, channels):
                    left, start = d - channel, (r * heads + h) * d + channel
                    own_x, sum_x = load_some(x, start, left, lanes, some), zeros(x, lanes)
                    for e in range(a, b):
                        if far:
                            fetch(grad, columns, e, heads * d, h * d + channel, lanes, far)
                        there = (entry(columns, e) * heads + h) * d + channel
                        other = load_some(grad, there, left, lanes, some)
                        place = (e - a) * wide + h
                        each = load(kept, place, together, together)
                        sum_x = add(multiply(repeat_lanes(each, channels), other), sum_x)
                        along = fold(multiply(other, own_x), channels)
                        if channel:
                            along = add(load(slopes, place, together, together), along)
                        store(slopes, place, together, along)
                    store_some(to_x, start, left, sum_x, some)
            for e in range(a, b):
                at = entry(columns, e) * row
                rise = load(slopes, (e - a) * wide, wide, wide)
                if dropped:
                    rise = multiply(rise, load_some(keep, e * heads, heads, wide, part))
                rise = axpy(-1.0, load_some(about, at + 3 * heads, heads, wide, part), rise)
                rise = multiply(rise, load(shares, (e - a) * wide, wide, wide))
                to_w[e] = total(rise)
                rise = axpy(entry(w, e), rise, zeros(x, wide))
                score = add(load_some(about, at, heads, wide, part), own)
                rise = choose(score, rise, axpy(slope, rise, zeros(x, wide)))
                store_some(to_logits, e * heads, heads, rise, part)
                sum_ = add(sum_, rise)
            store_some(to_sent, r * heads, heads, sum_, part)

    return loop


@cache
def totals(heads: int) -> Loop:
    wide, part = heads_of_vector(heads)

    @compiled
    def loop(offsets, places, values, out, first, last):  # type: ignore[no-untyped-def]
        """The sums of `values` [E, heads] over each row, whose edges' lie at `places`."""
        for r in range(first, last):
            sum_ = zeros(values, wide)
            for e in range(entry(offsets, r), entry(offsets, r + 1)):
                later = entry(places, min(e + NUMBERS_AHEAD, places.size - 1))
                prefetch(values, later * heads, heads, 2)
                at = entry(places, e) * heads
                sum_ = add(sum_, load_some(values, at, heads, wide, part))
            store_some(out, r * heads, heads, sum_, part)

    return loop


@compiled
def exponential(score, top):  # type: ignore[no-untyped-def]
    """`exp(score - top)`, bounded."""
    return exp(minimum(axpy(-1.0, top, score), HIGHEST))


@compiled
def longest(offsets, first, last):  # type: ignore[no-untyped-def]
    """The most edges of a row."""
    most = 0
    for r in range(first, last):
        most = max(most, entry(offsets, r + 1) - entry(offsets, r))
    return most
