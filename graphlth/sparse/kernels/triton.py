"""Sums and attention over a `Graph` as fused Triton kernels, for CUDA devices.

A program owns one row (a target going forward, a source going back) and walks along its edges, a
tile [edges, channels] at a time. Every element has one writer: no atomics, and two runs agree bit
for bit. No tensor of E × d is made. float16 and bfloat16 are accumulated in float32.

Shapes: S sources, T targets, E edges, H heads, d channels. Arguments must fit the graph and lie on
its device: nothing is checked here. With `TRITON_INTERPRET=1`, set before Triton is first imported,
the same kernels run on the CPU, slowly.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlth.sparse.backend import Backend
from graphlth.sparse.graph import Graph, Rows
from graphlth.sparse.untraced import untraced_methods

EDGES = 16  # edges of a tile, at least, so that a hub takes few steps
TILE = 512, 2048  # elements [edges, channels] of a tile, at least and at most
PER_WARP = 256  # elements of a tile for each warp: 8 a thread
WIDE = 128  # channels of a program, over all its heads, where a row can be split


@untraced_methods
class Triton(Backend):
    """Fused sums and attention; the other operations are composed of sums."""

    def weighted_sum(self, graph: Graph, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """`out_i = Σ_e w_e x_j` [T, d] over the edges e = (j, i), for `x` [S, d] and `weight` [E].

        Backward is one pass over the transpose, which gathers `∂out_i` once for both gradients.
        """
        return _WeightedSum.apply(graph, x, weight)

    def attention(
        self, graph: Graph, x: Tensor, sent: Tensor, received: Tensor, weight: Tensor | None,
        keep: Tensor | None, slope: float = 0.2,
    ) -> Tensor:  # fmt: skip
        """`out_i = Σ_e k_e α_e x_j` [T, H, d], `α_e ∝ w_e exp(LeakyReLU(s_j + r_i))`.

        What GAT computes (Veličković et al., ICLR 2018, arXiv:1710.10903), with the online softmax
        and the backward of FlashAttention (Dao et al., NeurIPS 2022, arXiv:2205.14135). An edge of
        weight 0 is absent; a target with no other edge gets 0.
        """
        return _Attention.apply(graph, x, sent, received, weight, keep, slope)


BACKEND = Triton()


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x, weight)
        out = x.new_empty(graph.num_nodes, x.size(1))
        _sum(graph.by_target, graph.by_target.columns, x, weight, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        _, needs_x, needs_weight = ctx.needs_input_grad
        grad_x = x.new_empty(x.shape) if needs_x else None
        grad_weight = weight.new_empty(weight.shape) if needs_weight else None
        rows = ctx.graph.by_source
        _sum(rows, rows.columns, grad, weight, grad_x, own=x, dots=grad_weight)
        return None, grad_x, grad_weight


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        graph: Graph,
        x: Tensor,
        sent: Tensor,
        received: Tensor,
        weight: Tensor | None,
        keep: Tensor | None,
        slope: float,
    ) -> Tensor:
        inputs = [_dense(t) for t in (x, sent, received, weight, keep)]
        out = x.new_empty(graph.num_nodes, *x.shape[1:])
        top = x.new_empty(received.shape, dtype=_exact(x))  # max_e l_e
        total = torch.empty_like(top)  # Σ_e w_e exp(l_e - top)
        rows = graph.by_target
        grid, sizes = _heads(rows, x)
        with torch.cuda.device_of(x):
            _attend[grid](
                *(*inputs, rows.offsets, rows.columns, rows.order, out, top, total),
                **sizes,
                SLOPE=slope,
            )
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(*inputs, out, top, total)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, out, top, total = ctx.saved_tensors
        x, sent, received, weight, _ = inputs
        graph, rows = ctx.graph, ctx.graph.by_source
        grid, sizes = _heads(rows, x)
        mean = (grad.to(top.dtype) * out).sum(-1)  # D_i = ⟨∂out_i, out_i⟩ = Σ_e α_e ∂α_e  [T, H]
        grad_x, grad_sent, grad_received = map(torch.empty_like, (x, sent, received))
        grad_logit = top.new_empty(graph.num_edges, x.size(1))  # ∂(s_j + r_i)  [E, H]
        shares = top.new_empty(grid[1], graph.num_edges) if ctx.needs_input_grad[4] else None
        with torch.cuda.device_of(x):
            _attend_backward[grid](
                *(grad.contiguous(), *inputs, rows.offsets, rows.columns, rows.order),
                *(top, total, mean, grad_x, grad_sent, grad_logit, shares, graph.num_edges),
                **sizes,
                SLOPE=ctx.slope,
            )
        _sum(graph.by_target, graph.by_target.order, grad_logit, None, grad_received)
        grad_weight = None if shares is None else shares.sum(0).to(weight.dtype)
        return None, grad_x, grad_sent, grad_received, grad_weight, None, None


def _sum(
    rows: Rows,
    columns: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    out: Tensor | None,
    *,
    own: Tensor | None = None,
    dots: Tensor | None = None,
) -> None:
    """Write `Σ_e w_e x_c` to `out` [R, d] and `⟨x_c, own_r⟩` to `dots` [E], where they are given.

    The row c of `x` for each position is in `columns`; None says that it is the position itself.
    """
    num_rows, d = rows.offsets.numel() - 1, x.size(1)
    width = triton.next_power_of_2(max(d, 1))
    width = min(width, WIDE) if dots is None else width  # a dot product needs the whole row
    with torch.cuda.device_of(x):
        _sum_rows[num_rows, triton.cdiv(max(d, 1), width)](
            *(_dense(x), _dense(weight), None if dots is None else _dense(own)),
            *(rows.offsets, columns, rows.order, out, dots),
            D=d,
            BLOCK_D=width,
            **_tile(rows, x, width),
        )


def _heads(rows: Rows, x: Tensor) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid and the sizes of a kernel over `x` [S, H, d]; a program has whole heads."""
    _, h, d = x.shape
    width = triton.next_power_of_2(max(d, 1))
    heads = min(triton.next_power_of_2(max(h, 1)), max(WIDE // width, 1))
    sizes = {"H": h, "D": d, "BLOCK_H": heads, "BLOCK_D": width, **_tile(rows, x, heads * width)}
    return (rows.offsets.numel() - 1, triton.cdiv(h, heads)), sizes


def _tile(rows: Rows, x: Tensor, width: int) -> dict[str, Any]:
    """How many edges of `width` channels a program takes at a time, with how many warps.

    A row of mean length is one tile. A larger tile costs a short row little: idle lanes fetch
    nothing.
    """
    least, most = TILE
    mean = ceil(rows.columns.numel() / max(rows.offsets.numel() - 1, 1))
    edges = max(triton.next_power_of_2(max(mean, 1)), EDGES, least // width)
    edges = min(edges, max(most // width, 1))
    warps = min(max(edges * width // PER_WARP, 1), 16)
    exact = tl.float64 if _exact(x) == torch.float64 else tl.float32
    return {"BLOCK_E": edges, "num_warps": warps, "TYPE": exact}


def _exact(x: Tensor) -> torch.dtype:
    """The type that sums over `x` are accumulated in."""
    return torch.promote_types(x.dtype, torch.float32)


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


@triton.jit
def _ends(offsets, row):  # type: ignore[no-untyped-def]
    """Where the positions of `row` start and end."""
    return tl.load(offsets + row).to(tl.int64), tl.load(offsets + row + 1).to(tl.int64)


@triton.jit
def _edges(first, end, columns, order, weight, BLOCK_E: tl.constexpr, TYPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of the positions from `first` on: whether inside the row, edge, column, weight; [BLOCK_E].

    Edges and columns are int64 whatever the graph holds: times d they may exceed 32 bits.
    """
    place = first + tl.arange(0, BLOCK_E)
    inside = place < end
    edge = place
    if order is not None:
        edge = tl.load(order + place, mask=inside, other=0).to(tl.int64)
    column = place
    if columns is not None:
        column = tl.load(columns + place, mask=inside, other=0).to(tl.int64)
    w = inside.to(TYPE)
    if weight is not None:
        w = tl.load(weight + edge, mask=inside, other=0).to(TYPE)
    return inside, edge, column, w


@triton.jit
def _sum_rows(  # type: ignore[no-untyped-def]
    x,
    weight,
    own,
    offsets,
    columns,
    order,
    out,
    dots,
    D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TYPE: tl.constexpr,
):
    """`out_r = Σ_e w_e x_c` and `dots_e = ⟨x_c, own_r⟩` for row r and one block of channels."""
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    real = channel < D
    if dots is not None:
        own_r = tl.load(own + row * D + channel, mask=real, other=0).to(TYPE)
    start, end = _ends(offsets, row)
    lanes = tl.zeros([BLOCK_E, BLOCK_D], TYPE)  # partial sums: added up once, after the last tile
    for first in range(start, end, BLOCK_E):
        inside, edge, column, w = _edges(first, end, columns, order, weight, BLOCK_E, TYPE)
        needed = inside
        if dots is None:
            needed = w != 0  # an absent edge is not fetched
        at = x + column[:, None] * D + channel[None, :]
        x_c = tl.load(at, mask=needed[:, None] & real[None, :], other=0).to(TYPE)
        lanes += w[:, None] * x_c
        if dots is not None:
            tl.store(dots + edge, tl.sum(x_c * own_r[None, :], axis=1), mask=inside)
    if out is not None:
        tl.store(out + row * D + channel, tl.sum(lanes, axis=0), mask=real)


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    x,
    sent,
    received,
    weight,
    keep,
    offsets,
    columns,
    order,
    out,
    top,
    total,
    H: tl.constexpr,
    D: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TYPE: tl.constexpr,
):
    """`out_i = Σ_e k_e α_e x_j` for target i and one block of heads, with its `top` and `total`.

    Each lane (edge of the tile, head) keeps an online softmax of its own; they meet at the end.
    """
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    channel = tl.arange(0, BLOCK_D)
    here, real = head < H, channel < D
    r = tl.load(received + row * H + head, mask=here, other=0).to(TYPE)
    start, end = _ends(offsets, row)
    high = tl.full([BLOCK_E, BLOCK_H], float("-inf"), TYPE)  # max l
    mass = tl.zeros([BLOCK_E, BLOCK_H], TYPE)  # Σ w exp(l - high)
    lanes = tl.zeros([BLOCK_E, BLOCK_H, BLOCK_D], TYPE)  # Σ k w exp(l - high) x
    for first in range(start, end, BLOCK_E):
        _, edge, column, w = _edges(first, end, columns, order, weight, BLOCK_E, TYPE)
        present = (w != 0)[:, None] & here[None, :]
        source = column[:, None] * H + head[None, :]
        raw = tl.load(sent + source, mask=present, other=0).to(TYPE) + r[None, :]
        logit = tl.where(present, tl.where(raw > 0, raw, SLOPE * raw), float("-inf"))
        higher = tl.maximum(high, logit)
        base = tl.where(higher > float("-inf"), higher, 0)
        share, fade = w[:, None] * tl.exp(logit - base), tl.exp(high - base)
        mass = mass * fade + share
        if keep is not None:
            k = tl.load(keep + edge[:, None] * H + head[None, :], mask=present, other=0).to(TYPE)
            present, share = present & (k != 0), share * k
        at = x + source[:, :, None] * D + channel[None, None, :]
        x_j = tl.load(at, mask=present[:, :, None] & real[None, None, :], other=0).to(TYPE)
        lanes = lanes * fade[:, :, None] + share[:, :, None] * x_j
        high = higher
    highest = tl.max(high, axis=0)
    base = tl.where(highest > float("-inf"), highest, 0)  # no edge left
    fade = tl.exp(high - base[None, :])
    z = tl.sum(mass * fade, axis=0)
    z = tl.where(z > 0, z, 1)
    tl.store(top + row * H + head, base, mask=here)
    tl.store(total + row * H + head, z, mask=here)
    out_i = tl.sum(lanes * fade[:, :, None], axis=0) / z[:, None]
    at = out + (row * H + head)[:, None] * D + channel[None, :]
    tl.store(at, out_i, mask=here[:, None] & real[None, :])


@triton.jit
def _attend_backward(  # type: ignore[no-untyped-def]
    grad,
    x,
    sent,
    received,
    weight,
    keep,
    offsets,
    columns,
    order,
    top,
    total,
    mean,
    grad_x,
    grad_sent,
    grad_logit,
    shares,
    num_edges,
    H: tl.constexpr,
    D: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TYPE: tl.constexpr,
):
    """The gradients of source j, and of its edges, in one block of heads.

    With the share `σ_e = exp(l_e - top_i) / total_i`, `α_e = w_e σ_e`, `∂α_e = k_e ⟨∂out_i, x_j⟩`
    and D the `mean`: `∂w_e = Σ_h σ_e (∂α_e - D_i)` and `∂l_e = w_e σ_e (∂α_e - D_i)`.
    """
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    channel = tl.arange(0, BLOCK_D)
    here, real = head < H, channel < D
    own = (row * H + head)[:, None] * D + channel[None, :]
    x_j = tl.load(x + own, mask=here[:, None] & real[None, :], other=0).to(TYPE)
    s = tl.load(sent + row * H + head, mask=here, other=0).to(TYPE)
    start, end = _ends(offsets, row)
    lanes = tl.zeros([BLOCK_E, BLOCK_H, BLOCK_D], TYPE)  # Σ k α ∂out_i
    raws = tl.zeros([BLOCK_E, BLOCK_H], TYPE)  # Σ ∂(s_j + r_i)
    for first in range(start, end, BLOCK_E):
        inside, edge, column, w = _edges(first, end, columns, order, weight, BLOCK_E, TYPE)
        valid = inside[:, None] & here[None, :]
        target = column[:, None] * H + head[None, :]
        raw = tl.load(received + target, mask=valid, other=0).to(TYPE) + s[None, :]
        logit = tl.where(raw > 0, raw, SLOPE * raw)
        # Only an absent edge can exceed the top; its bound keeps the gradient of its weight finite.
        share = tl.exp(tl.minimum(logit - tl.load(top + target, mask=valid, other=0), 30.0))
        share = share / tl.load(total + target, mask=valid, other=1)
        needed, k = valid, valid.to(TYPE)
        if keep is not None:
            k = tl.load(keep + edge[:, None] * H + head[None, :], mask=valid, other=0).to(TYPE)
            needed = k != 0
        if shares is None:
            needed = needed & (w != 0)[:, None]
        at = grad + target[:, :, None] * D + channel[None, None, :]
        grad_i = tl.load(at, mask=needed[:, :, None] & real[None, None, :], other=0).to(TYPE)
        lanes += (k * w[:, None] * share)[:, :, None] * grad_i
        grad_alpha = k * tl.sum(grad_i * x_j[None, :, :], axis=2)
        pull = share * (grad_alpha - tl.load(mean + target, mask=valid, other=0))
        grad_raw = w[:, None] * pull
        grad_raw = tl.where(raw > 0, grad_raw, SLOPE * grad_raw)
        raws += grad_raw
        tl.store(grad_logit + edge[:, None] * H + head[None, :], grad_raw, mask=valid)
        if shares is not None:
            at = shares + tl.program_id(1).to(tl.int64) * num_edges + edge
            tl.store(at, tl.sum(pull, axis=1), mask=inside)
    tl.store(grad_x + own, tl.sum(lanes, axis=0), mask=here[:, None] & real[None, :])
    tl.store(grad_sent + row * H + head, tl.sum(raws, axis=0), mask=here)
