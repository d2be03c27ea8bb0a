"""A graph convolution of sparse features: fused passes of training and of evaluation."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphlth.sparse.backend import Selection
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels._arrays import (
    edge_values,
    flat_array,
    restore_values,
    share_rows,
    strided_array,
)
from graphlth.sparse.kernels._memory import CACHE, HELD, STRIP, lanes_of, new_empty
from graphlth.sparse.kernels._sums import (
    loop_of_entries,
    loop_of_sums,
    loop_of_sums_and_dots,
    sum_entries,
    sum_rows,
    sum_rows_with_dots,
)
from graphlth.sparse.pattern import SparsityPattern


class Propagate(torch.autograd.Function):
    """`A(weight) (x @ w)` for a known product, and for a known result `sums`, if there is one.

    Differentiable in `weight` and `w`, which with a `pattern` is the values scattered by it. The
    gradient of `x @ w` is made and used up strip by strip, while it lies in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Features, w: Tensor, weight: Tensor, value: Tensor,
        sums: Tensor | None, pattern: SparsityPattern | None,
    ) -> Tensor:  # fmt: skip
        ctx.graph, ctx.x, ctx.pattern = graph, x, pattern
        ctx.save_for_backward(weight, value)
        return sum_rows(graph.by_target, value, weight) if sums is None else sums.view_as(sums)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight, value), rows, back = ctx.saved_tensors, ctx.graph.by_source, ctx.x.graph.by_source
        (n, d), pattern = value.shape, ctx.pattern
        if d <= STRIP or n * STRIP * grad.element_size() > CACHE:
            to_value, to_weight = sum_rows_with_dots(rows, grad, weight, value)
            if pattern is None:
                to_w = sum_rows(back, to_value, ctx.x.values)
            else:
                to_w = sum_entries(back, to_value, ctx.x.values, pattern)
            return None, None, to_w, to_weight, None, None, None
        strip, to_weight = flat_array(grad.new_empty(n, STRIP)), grad.new_empty(rows.count)
        (given, stride), (own, across) = strided_array(grad), strided_array(value)
        made = rows.arrays[0], 1, rows.arrays[1], edge_values(rows, grad, weight), given, stride
        (offsets, columns), near = (
            back.arrays,
            (edge_values(back, grad, ctx.x.values), strip, STRIP),
        )
        size = [back.offsets.numel() - 1, d] if pattern is None else [pattern.index.numel()]
        to_w = new_empty(grad, *size)
        for first in range(0, d, STRIP):
            width = min(STRIP, d - first)
            lanes, some = lanes_of(width, grad, HELD)
            loop = partial(
                loop_of_sums_and_dots(lanes, some, 0), *made, first, width, 0, width, strip
            )
            loop = partial(loop, STRIP, own[first:], across, to_weight.numpy(), first)
            share_rows(rows, width, loop)
            if pattern is None:
                loop = partial(
                    loop_of_sums(lanes, some, 0), offsets, 1, columns, *near, 0, width, 0, width
                )
                loop = partial(loop, flat_array(to_w)[first:], d)
            else:
                ends = first // lanes, -(-(first + width) // lanes)
                loop = partial(
                    loop_of_entries(lanes, some), offsets, columns, *near, first, d, *ends
                )
                loop = partial(loop, *pattern.by_strips(lanes), flat_array(to_w))
            share_rows(back, width, loop)
        return None, None, to_w, restore_values(rows, to_weight), None, None, None


class KnownProduct(torch.autograd.Function):
    """`x @ w` whose value is known, of scattered `values`: their gradients alone are computed."""

    @staticmethod
    def forward(
        ctx: Any, x: Features, values: Tensor, value: Tensor, pattern: SparsityPattern
    ) -> Tensor:
        ctx.x, ctx.pattern = x, pattern
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        to_values = sum_entries(ctx.x.graph.by_source, grad, ctx.x.values, ctx.pattern)
        return None, to_values, None, None


def propagate_relu_product(
    graph: Graph, x: Features, w: Tensor, weight: Tensor, v: Tensor, rows: Tensor | None,
    sums: Selection | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """`relu(A(weight) (x @ w)) @ v` for `v` of few columns, and some rows of what is on the way.

    The arguments are those of `Backend.propagate_relu_product`. A strip of channels is made and
    used up while it lies in the cache; no gradients.
    """
    from graphlth.sparse.kernels import _strips as loops  # loads slowly

    w, d = w.detach(), w.size(1)
    h = loops.product_with(loops.edges(x.graph, x.values), w)
    asked = None if rows is None else Selection(rows, rows.numel()), sums
    kept = [
        s and (s.position, w.new_empty(s.num_rows, loops.count(d) * loops.lanes(d))) for s in asked
    ]
    early, late = (k and loops.Kept(k[0].numpy(), flat_array(k[1])) for k in kept)
    out = loops.convolve(
        loops.edges(graph, weight), h, d, w, own=False, following=loops.strips_after(v.detach()),
        made=early, keep=late,
    )  # fmt: skip
    value, summed = (k and k[1][:, :d].contiguous() for k in kept)
    return loops.copy_columns(out, w, v.size(1)), value, summed
