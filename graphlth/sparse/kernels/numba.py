"""Compiled loops for the CPU: each row of the result is summed in registers and written once.

The backward pass visits the edges by source and takes both gradients from one gathered row. Rows
are cut into strips of as many channels as the registers hold. With `torch.set_num_threads` above 1
the rows are shared out among threads. Functions are compiled when first used and kept on disk.
All is for float32 or float64 on the CPU.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphlth.sparse.backend import NARROW, Backend, Selection
from graphlth.sparse.dropout import relu_dropout_values
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels import _attention, _narrow, _normalise, _scatter
from graphlth.sparse.kernels._arrays import (
    edge_values,
    flat_array,
    keep_values,
    position_by_source,
    restore_values,
    share_range,
    share_rows,
)
from graphlth.sparse.kernels._dynamic_attention import DynamicAttention
from graphlth.sparse.kernels._memory import lanes_of, new_empty, prefetch_levels
from graphlth.sparse.kernels._propagate import KnownProduct, Propagate, propagate_relu_product
from graphlth.sparse.kernels._rows import readings_per_row
from graphlth.sparse.kernels._sums import sum_rows, sum_rows_with_dots
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern
from graphlth.sparse.untraced import untraced_methods


@untraced_methods
class Numba(Backend):
    """Every operation of `Backend` in compiled loops."""

    def weighted_sum(self, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        """`A(weight) @ x`."""
        return _Sum.apply(graph, x, weight)

    def attention(
        self, graph: Graph, x: Tensor, sent: Tensor, received: Tensor, weight: Tensor | None,
        keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        """`Σ_e k_e α_e x_j`, in one pass over the edges."""
        return _Attention.apply(graph, x, sent, received, weight, keep, slope)

    def dynamic_attention(
        self, graph: Graph, x: Tensor, received: Tensor, a: Tensor, weight: Tensor | None,
        keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        """`Σ_e k_e α_e x_j` with GATv2's scores, which are not kept."""
        return DynamicAttention.apply(graph, x, received, a, weight, keep, slope)

    def normalise(self, graph: Graph, weight: Tensor, side: str) -> Tensor:
        """`d_s^-½ w_e d_t^-½`, in two passes over the edges."""
        return _Normalise.apply(graph, weight, side)

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """`x @ w`; of few columns in compiled loops."""
        if w.size(1) >= NARROW:
            return super().product(x, w)
        return _NarrowProduct.apply(x, w, None, 1.0)

    def relu_dropout_product(self, x: Tensor, w: Tensor, p: float) -> Tensor:
        """`relu_dropout(x, p) @ w`; of few columns with both gradients in one pass."""
        if w.size(1) >= NARROW:
            return super().relu_dropout_product(x, w, p)
        return _NarrowProduct.apply(x, w, *relu_dropout_values(x, p))

    def features_product(
        self, x: Features, w: Tensor, value: Tensor | None = None,
        scattered: ScatteredWeight | None = None,
    ) -> Tensor:  # fmt: skip
        """`x @ w`; of a known product and scattered weights, the gradient of these alone."""
        if value is None or scattered is None:
            return super().features_product(x, w, value)
        return KnownProduct.apply(x, scattered.values, value, scattered.pattern)

    def propagate(
        self, graph: Graph, x: Features, w: Tensor, weight: Tensor, value: Tensor | None = None,
        sums: Tensor | None = None, scattered: ScatteredWeight | None = None,
    ) -> Tensor:  # fmt: skip
        """`A(weight) (x @ w)`, whose backward pass writes no gradient of `x @ w`."""
        value = sum_rows(x.graph.by_target, w, x.values) if value is None else value
        source, pattern = (w, None) if scattered is None else scattered
        return Propagate.apply(graph, x, source, weight, value, sums, pattern)

    def relu_product(self, graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor) -> Tensor:
        """`relu(A(weight) @ x) @ w`; of few columns and without gradients in one pass."""
        if torch.is_grad_enabled() or w.size(1) >= NARROW:
            return super().relu_product(graph, x, weight, w)
        return _relu_product(graph, x, weight, w)

    def propagate_relu_product(
        self, graph: Graph, x: Features, w: Tensor, weight: Tensor, v: Tensor, *,
        rows: Tensor | None = None, sums: Selection | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """`relu(A(weight) (x @ w)) @ v`; of few columns with no N × d numbers but the selected."""
        if v.size(1) >= NARROW:
            return super().propagate_relu_product(graph, x, w, weight, v, rows=rows, sums=sums)
        return propagate_relu_product(graph, x, w, weight, v, rows, sums)

    def padded_zeros(self, like: Tensor) -> Tensor:
        """Zeros shaped like `like`; the rows of a matrix are padded, so that strips are aligned."""
        from graphlth.sparse.kernels import _strips as loops  # loads slowly

        return loops.padded_zeros(like) if like.dim() == 2 else torch.zeros_like(like)

    def scatter(self, values: Tensor, pattern: SparsityPattern, out: Tensor) -> None:
        """Write `values` to the entries of `out` that `pattern` names, in place."""
        _scatter.scatter(values, pattern, out)

    def gather(self, whole: Tensor, pattern: SparsityPattern) -> Tensor:
        """The entries of `whole` that `pattern` names."""
        return _scatter.gather(whole, pattern)


BACKEND = Numba()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x, weight)
        return sum_rows(graph.by_target, x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        graph, (x, weight) = ctx.graph, ctx.saved_tensors
        _, to_x, to_weight = ctx.needs_input_grad
        if not to_weight:
            return None, sum_rows(graph.by_source, grad, weight), None
        grad_x, grad_weight = sum_rows_with_dots(graph.by_source, grad, weight, x)
        return None, grad_x if to_x else None, grad_weight


def _relu_product(graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor) -> Tensor:
    """`relu(A(weight) @ x) @ w` for `w` of few columns, without the matrix between or gradients."""
    rows, d = graph.by_target, x.size(1)
    lanes, some = _narrow_lanes(d, x)
    columns, out = _narrow.columns(w, lanes), _pad_zeros(graph.num_nodes, w)
    far = prefetch_levels(graph.num_sources * lanes * x.element_size(), readings_per_row(rows, x))
    loop = partial(
        _narrow.relu_product(lanes, some, far), *rows.arrays, edge_values(rows, x, weight)
    )
    share_rows(
        rows, d, partial(loop, flat_array(x), d, flat_array(columns), out.size(1), flat_array(out))
    )
    return out[:, : w.size(1)].contiguous()


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, weight: Tensor, side: str) -> Tensor:
        source, target = graph.edge_index.numpy()
        ctx.ends = source, target, target if side == "in" else source
        degree, root = weight.new_zeros(2, graph.num_nodes)
        out = weight.new_empty(graph.num_edges)
        numbers = map(flat_array, (weight, degree, root, out))
        _normalise.forward(*ctx.ends, *numbers)
        ctx.save_for_backward(weight, degree, root)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        weight, degree, root = ctx.saved_tensors
        slope, to_weight = torch.zeros_like(root), torch.empty_like(weight)
        numbers = map(flat_array, (weight, degree, root, grad, slope, to_weight))
        _normalise.backward(*ctx.ends, *numbers)
        return None, to_weight, None


class _NarrowProduct(torch.autograd.Function):
    """`x @ w` for `w` of few columns.

    With `kept`, which is `scale · x` in some places where that is above 0 and elsewhere 0, it is
    `kept @ w`, and gradients flow to `x` all the same.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, kept: Tensor | None, scale: float) -> Tensor:
        ctx.gate = None if kept is None else scale
        x = x if kept is None else kept
        ctx.save_for_backward(x, w)
        (n, d), out = x.shape, _pad_zeros(len(x), w)
        lanes, some = _narrow_lanes(d, x)
        ctx.columns = _narrow.columns(w.detach(), lanes)
        loop = partial(
            _narrow.product(lanes, some), flat_array(x), d, flat_array(ctx.columns), out.size(1)
        )
        share_range(n, 1, x.numel(), partial(loop, flat_array(out)))
        return out[:, : w.size(1)].contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, w = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, (grad.t() @ x).t().contiguous(), None, None
        (n, d), c = x.shape, w.size(1)
        (lanes, some), columns = _narrow_lanes(d, x), ctx.columns
        to_x, to_w = new_empty(x, n, d), x.new_zeros(c, d)
        values, gated = flat_array(x), ctx.gate is not None
        scale = values.dtype.type(ctx.gate if gated else 1)
        loop = partial(_narrow.gradients(lanes, some, gated), values, d, flat_array(columns))
        loop = partial(loop, columns.size(1), flat_array(grad), n, c, scale, to_x.view(-1).numpy())
        share_range(d, lanes, x.numel(), partial(loop, to_w.view(-1).numpy()))
        return to_x, to_w.t().contiguous(), None, None


def _narrow_lanes(d: int, x: Tensor) -> tuple[int, bool]:
    lanes = max(16, lanes_of(d, x)[0])
    return lanes, d % lanes != 0


def _pad_zeros(n: int, w: Tensor) -> Tensor:
    """Zeros [n, C up to 8s] for the product with `w` [d, C]."""
    return w.new_zeros(n, w.size(1) + -w.size(1) % _narrow.GROUP)


class _Attention(torch.autograd.Function):
    """Keeps four numbers for every target and head for the way back, and none for the edges."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Tensor, sent: Tensor, received: Tensor,
        weight: Tensor | None, keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        rows, n, (_, heads, d) = graph.by_target, graph.num_nodes, x.shape
        out, about = new_empty(x, n, heads, d), x.new_empty(n, _attention.ABOUT, heads)
        loop = _attention.forward(*_attention.layout(x), heads, keep is not None)
        part = partial(
            loop, *rows.arrays, edge_values(rows, x, weight), keep_values(rows, x, keep),
            flat_array(sent), flat_array(received), slope, flat_array(x), d, flat_array(about),
        )  # fmt: skip
        share_rows(rows, heads * d, partial(part, flat_array(out)))
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(x, sent, weight, keep, about, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        graph, (x, sent, weight, keep, about, out) = ctx.graph, ctx.saved_tensors
        rows, n, (_, heads, d), flat = graph.by_source, graph.num_nodes, x.shape, flat_array(grad)
        layout = _attention.layout(x)
        part = partial(_attention.means(*layout[:3], heads), flat, flat_array(out), d)
        share_range(n, 1, out.numel(), partial(part, flat_array(about)))
        to_x, to_sent = new_empty(x, *x.shape), x.new_empty(sent.shape)
        to_received = x.new_empty(n, heads)
        to_weight, to_logits = x.new_empty(rows.count), new_empty(x, rows.count, heads)
        target, position = graph.by_target, position_by_source(graph)
        part = partial(
            _attention.backward(*layout, heads, keep is not None), *rows.arrays,
            edge_values(rows, x, weight), keep_values(rows, x, keep), flat_array(sent),
            flat_array(about), ctx.slope, flat_array(x), flat, d, flat_array(to_x),
            flat_array(to_sent), flat_array(to_logits),
        )  # fmt: skip
        share_rows(rows, heads * d, partial(part, flat_array(to_weight)))
        part = partial(_attention.totals(heads), target.arrays[0], position, flat_array(to_logits))
        share_rows(target, heads, partial(part, flat_array(to_received)))
        back = None if weight is None else restore_values(rows, to_weight)
        return None, to_x, to_sent, to_received, back, None, None
