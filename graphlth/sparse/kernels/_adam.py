"""Compiled steps of Adam on both factors of a product at once, from the gradient of the product.

A pass over the entries does what takes a dozen of torch's: the gradients of both factors, their
moments, their steps, and the new product. Each operation rounds as in torch's fused Adam.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from torch import Tensor

from graphlth.sparse.kernels._arithmetic import fma, minus, over, plus, relu, root, times
from graphlth.sparse.kernels._arrays import flat_array, share_range, strided_array
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._vector import full, load_some, store_some

LANES = 16  # entries at a time


def adam(entries: list[Tensor], product: Tensor, constants: Sequence[float]) -> None:
    """A step of Adam on both factors of `product` (see `step`), for float32 or float64.

    `entries`, contiguous, are its gradient, both factors, and their moments. Rows of a matrix may
    lie apart.
    """
    rows, d = (1, product.numel()) if product.is_contiguous() else product.shape
    whole, stride = strided_array(product.view(rows, d))
    numbers = np.array(constants, whole.dtype)
    loop = step(d % LANES != 0)
    share_range(
        rows,
        1,
        8 * product.numel(),
        partial(loop, *map(flat_array, entries), whole, numbers, d, stride),
    )


@cache
def step(some: bool) -> Callable[..., None]:
    """What steps in the rows from `first` to before `last`, of `d` entries each.

    Rows of the product begin `stride` entries apart, all others follow one another. If not `some`,
    `d` is a multiple of `LANES`.

    `constants` are λ of the decay, 1 − β₁, 1 − β₂, β₂, the root of the second bias correction, ε,
    the length of a step, negative, and what is added to the gradient of the second factor.
    """

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        grad, a, b, a_means, a_squares, b_means, b_squares, product, constants, d, stride,
        first, last,
    ):  # fmt: skip
        rate = full(grad, constants[7], LANES)
        for row in range(first, last):
            for column in range(0, d, LANES):
                i, n = row * d + column, d - column
                g = load_some(grad, i, n, LANES, some)
                x, y = load_some(a, i, n, LANES, some), load_some(b, i, n, LANES, some)
                gx = add_decay(times(g, y), x, constants)
                gy = add_decay(plus(times(g, x), rate), y, constants)
                mx = mean(gx, load_some(a_means, i, n, LANES, some), constants)
                my = mean(gy, load_some(b_means, i, n, LANES, some), constants)
                sx = square(gx, load_some(a_squares, i, n, LANES, some), constants)
                sy = square(gy, load_some(b_squares, i, n, LANES, some), constants)
                x, y = take_step(x, mx, sx, constants), relu(take_step(y, my, sy, constants))
                store_some(a_means, i, n, mx, some)
                store_some(b_means, i, n, my, some)
                store_some(a_squares, i, n, sx, some)
                store_some(b_squares, i, n, sy, some)
                store_some(a, i, n, x, some)
                store_some(b, i, n, y, some)
                store_some(product, row * stride + column, n, times(x, y), some)

    return loop


@compiled
def add_decay(g, x, constants):  # type: ignore[no-untyped-def]
    """The gradient of `x` with that of its decay."""
    return fma(x, full(constants, constants[0], LANES), g)


@compiled
def mean(g, before, constants):  # type: ignore[no-untyped-def]
    """The first moment."""
    return fma(full(constants, constants[1], LANES), minus(g, before), before)


@compiled
def square(g, before, constants):  # type: ignore[no-untyped-def]
    """The second moment."""
    kept = times(before, full(constants, constants[3], LANES))
    return fma(times(full(constants, constants[2], LANES), g), g, kept)


@compiled
def take_step(x, mean, square, constants):  # type: ignore[no-untyped-def]
    """`x` after its step."""
    below = plus(over(root(square), full(constants, constants[4], LANES)),
                 full(constants, constants[5], LANES))  # fmt: skip
    return plus(x, over(times(full(constants, constants[6], LANES), mean), below))
