"""Compiled sums over the edges of each row, alone and with the dot products of the way back."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from torch import Tensor

from graphlth.sparse.graph import Rows
from graphlth.sparse.kernels import _vector
from graphlth.sparse.kernels._arithmetic import add, axpy, dot
from graphlth.sparse.kernels._arrays import (
    edge_values,
    flat_array,
    restore_values,
    share_rows,
    strided_array,
)
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import HELD, lanes_of, new_empty
from graphlth.sparse.kernels._rows import cut_strips
from graphlth.sparse.kernels._vector import entry, fetch, load_some, prefetch, store_some, zeros
from graphlth.sparse.pattern import SparsityPattern

NEXT = 2  # rows ahead, whose own numbers are fetched

Loop = Callable[..., None]


def sum_rows(rows: Rows, x: Tensor, weight: Tensor | None) -> Tensor:
    """`Σ_e w_e x_e` [R, d] over the edges of each row; `x_e` [d] is the row of `x` at e's end."""
    out, values = new_empty(x, rows.offsets.numel() - 1, x.size(1)), edge_values(rows, x, weight)
    for strip, into, near in cut_strips(rows, out, x):
        loop = loop_of_sums(strip.lanes, strip.some, strip.far)
        loop = partial(loop, *strip.edges, values, *strip.place, flat_array(into), near.size(1))
        share_rows(rows, near.size(1), loop)
    return out


def sum_rows_with_dots(
    rows: Rows, x: Tensor, weight: Tensor | None, y: Tensor
) -> tuple[Tensor, Tensor]:
    """`sum_rows`, and `⟨x_e, y_r⟩` [E] for every edge e of every row r of `y` [R, d]."""
    made = x.new_empty if x.size(1) else x.new_zeros  # without channels there is nothing to add up
    out, dots, values = new_empty(x, *y.shape), made(rows.count), edge_values(rows, x, weight)
    for before, (strip, into, near, own) in enumerate(cut_strips(rows, out, x, y)):
        loop = partial(
            loop_of_sums_and_dots(strip.lanes, strip.some, strip.far), *strip.edges, values,
            *strip.place, flat_array(into), near.size(1), *strided_array(own), dots.numpy(), before,
        )  # fmt: skip
        share_rows(rows, near.size(1), loop)
    return out, restore_values(rows, dots)


def sum_entries(rows: Rows, x: Tensor, weight: Tensor | None, pattern: SparsityPattern) -> Tensor:
    """The entries [entries] of `sum_rows` at `pattern`, without the others."""
    d, out = x.size(1), x.new_empty(pattern.index.numel())
    lanes, some = lanes_of(d, x, HELD)
    words, starts, strips = pattern.by_strips(lanes)
    loop = partial(loop_of_entries(lanes, some), *rows.arrays, edge_values(rows, x, weight))
    loop = partial(loop, *strided_array(x), 0, d, 0, strips, words, starts, strips, out.numpy())
    share_rows(rows, d, loop)
    return out


@cache
def loop_of_sums(lanes: int, some: bool, far: int) -> Loop:
    """What sums the rows of a strip."""

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, parts, columns, w, x, stride, start, d, begin, end, out, across, first, last
    ):
        for part in range(parts):
            for r in range(first, last):
                a, b = entry(offsets, r * parts + part), entry(offsets, r * parts + part + 1)
                if part and a == b:
                    continue
                for channel in range(begin, end, lanes):
                    at, left = start + channel - begin, d - channel
                    even = odd = zeros(x, lanes)  # two, so that one need not wait for the other
                    if far:
                        prefetch(out, (r + NEXT) * across + channel, lanes, 1)
                    if part:
                        even = load_some(out, r * across + channel, left, lanes, some)
                    for e in range(a, b - 1, 2):
                        if far:
                            fetch(x, columns, e, stride, at, lanes, far)
                            fetch(x, columns, e + 1, stride, at, lanes, far)
                        row = load_some(x, entry(columns, e) * stride + at, left, lanes, some)
                        even = axpy(entry(w, e), row, even)
                        row = load_some(x, entry(columns, e + 1) * stride + at, left, lanes, some)
                        odd = axpy(entry(w, e + 1), row, odd)
                    if (b - a) % 2:
                        row = load_some(x, entry(columns, b - 1) * stride + at, left, lanes, some)
                        even = axpy(entry(w, b - 1), row, even)
                    store_some(out, r * across + channel, left, add(even, odd), some)

    return loop


@cache
def loop_of_entries(lanes: int, some: bool) -> Loop:
    """What sums some entries of the rows of a strip."""

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, x, stride, start, d, strip, until, words, starts, strips, out,
        first, last,
    ):  # fmt: skip
        """Rows of `x` hold channels from `start` on; those of some strips are asked for."""
        near = np.empty(lanes, x.dtype)
        for r in range(first, last):
            a, b = entry(offsets, r), entry(offsets, r + 1)
            for s in range(strip, until):
                bits = words[r * strips + s]
                if bits == 0:
                    continue
                channel, even = s * lanes, zeros(x, lanes)
                odd, left = even, d - channel
                for e in range(a, b - 1, 2):
                    at = entry(columns, e) * stride + channel - start
                    even = axpy(entry(w, e), load_some(x, at, left, lanes, some), even)
                    at = entry(columns, e + 1) * stride + channel - start
                    odd = axpy(entry(w, e + 1), load_some(x, at, left, lanes, some), odd)
                if (b - a) % 2:
                    at = entry(columns, b - 1) * stride + channel - start
                    even = axpy(entry(w, b - 1), load_some(x, at, left, lanes, some), even)
                _vector.pick(add(even, odd), bits, out, entry(starts, r * strips + s), near)

    return loop


@cache
def loop_of_sums_and_dots(lanes: int, some: bool, far: int) -> Loop:
    """What sums the rows of a strip and multiplies each summand with the row's own."""

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, parts, columns, w, x, stride, start, d, begin, end, out, across, y, own_across,
        dots, before, first, last,
    ):  # fmt: skip
        for part in range(parts):
            for r in range(first, last):
                a, b = entry(offsets, r * parts + part), entry(offsets, r * parts + part + 1)
                if part and a == b:
                    continue
                for channel in range(begin, end, lanes):
                    at, left, sum_ = start + channel - begin, d - channel, zeros(x, lanes)
                    if part:
                        sum_ = load_some(out, r * across + channel, left, lanes, some)
                    own = load_some(y, r * own_across + channel, left, lanes, some)
                    if far:
                        prefetch(out, (r + NEXT) * across + channel, lanes, 1)
                        prefetch(y, (r + NEXT) * own_across + channel, lanes, 1)
                    for e in range(a, b):
                        if far:
                            fetch(x, columns, e, stride, at, lanes, far)
                        other = load_some(x, entry(columns, e) * stride + at, left, lanes, some)
                        sum_ = axpy(entry(w, e), other, sum_)
                        product = dot(other, own)
                        dots[e] = product + entry(dots, e) if before or channel else product
                    store_some(out, r * across + channel, left, sum_, some)

    return loop
