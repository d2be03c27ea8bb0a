"""Compiled loops of products with a matrix of few columns, on which BLAS spends more than it saves.

The matrix W [d, C] lies as `columns` puts it: a strip of all its columns after the other.
"""

from collections.abc import Callable
from functools import cache

from torch import Tensor

from graphlth.sparse.kernels._arithmetic import add_dots, axpy, choose, multiply, relu
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._vector import entry, fetch, full, load, load_some, store_some, zeros

GROUP = 8  # columns that are multiplied together

Loop = Callable[..., None]


def columns(w: Tensor, lanes: int, group: int = GROUP) -> Tensor:
    """`w` [d, C] as [strips, C up to a multiple of `group`, lanes], padded with zeros."""
    d, c = w.shape
    out = w.new_zeros(-(-d // lanes), c + -c % group, lanes)
    _lay(w.numpy(force=True), out.numpy())
    return out


@compiled
def _lay(w, out):  # type: ignore[no-untyped-def]
    lanes = out.shape[2]
    for i in range(w.shape[0]):
        for k in range(w.shape[1]):
            out[i // lanes, k, i % lanes] = w[i, k]


@cache
def product(lanes: int, some: bool) -> Loop:
    @compiled
    def loop(x, d, w, c, out, first, last):  # type: ignore[no-untyped-def]
        """Add `x W` to `out` [R, c], c a multiple of 8."""
        for r in range(first, last):
            for channel in range(0, d, lanes):
                z = load_some(x, r * d + channel, d - channel, lanes, some)
                for k in range(0, c, GROUP):
                    add_dots(z, w, channel * c + k * lanes, GROUP, out, r * c + k)

    return loop


@cache
def relu_product(lanes: int, some: bool, far: int) -> Loop:
    @compiled
    def loop(offsets, columns, values, x, d, w, c, out, first, last):  # type: ignore[no-untyped-def]
        """Add `relu(A x) W` to `out` [R, c], c a multiple of 8."""
        for channel in range(0, d, lanes):  # one strip of `x` lies nearer than all of it
            left = d - channel
            for r in range(first, last):
                z = zeros(x, lanes)
                for e in range(entry(offsets, r), entry(offsets, r + 1)):
                    if far:
                        fetch(x, columns, e, d, channel, lanes, far)
                    start = entry(columns, e) * d + channel
                    z = axpy(entry(values, e), load_some(x, start, left, lanes, some), z)
                z = relu(z)
                for k in range(0, c, GROUP):
                    add_dots(z, w, channel * c + k * lanes, GROUP, out, r * c + k)

    return loop


@cache
def gradients(lanes: int, some: bool, gated: bool) -> Loop:
    @compiled
    def loop(x, d, w, c, grad, rows, own, scale, to_x, to_w, first, last):  # type: ignore[no-untyped-def]
        """`grad Wᵀ` [R, d], and `gradᵀ x` [own, d] added to `to_w`, of the channels asked for.

        Where `gated`, the first is multiplied by `scale` where `x` is above 0, and 0 elsewhere.
        """
        for channel in range(first, last, lanes):
            left = d - channel
            for r in range(rows):
                z, back = load_some(x, r * d + channel, left, lanes, some), zeros(x, lanes)
                for k in range(own):
                    g, at = entry(grad, r * own + k), k * d + channel
                    back = axpy(g, load(w, channel * c + k * lanes, lanes, lanes), back)
                    sum_ = axpy(g, z, load_some(to_w, at, left, lanes, some))
                    store_some(to_w, at, left, sum_, some)
                if gated:
                    scaled = multiply(full(x, scale, lanes), back)
                    back = choose(z, scaled, zeros(x, lanes))
                store_some(to_x, r * d + channel, left, back, some)

    return loop
