"""torch's sparse operators: compressed sparse rows times dense, and a sampled dense product."""

from typing import Any

import torch
from torch import Tensor

from graphlth.sparse.backend import Backend
from graphlth.sparse.graph import Graph, Rows


class Sparse(Backend):
    """torch's compressed sparse rows."""

    def weighted_sum(self, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        """`A(weight) @ x` for `x` [N, d] and `weight` [E] or None, without a tensor of E × d."""
        return _Sum.apply(graph, x, weight)


BACKEND = Sparse()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x, weight)
        return _matmul(graph.by_target, weight, x, graph.num_sources)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        graph, (x, weight) = ctx.graph, ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_x = _matmul(graph.by_source, weight, grad, graph.num_nodes)
        if weight is not None and ctx.needs_input_grad[2]:
            grad_weight = _dots(graph, grad.contiguous(), x)
        return None, grad_x, grad_weight


def _dots(graph: Graph, grad: Tensor, x: Tensor) -> Tensor:
    """`⟨∂out_i, x_j⟩` [E] for every edge (j, i)."""
    rows = graph.by_target
    if graph.num_edges > grad.size(0) * x.size(0):  # more than a sparse matrix may hold: few nodes
        source, target = graph.edge_index
        return (grad @ x.t())[target, source]
    pattern = _csr(rows, x.new_zeros(graph.num_edges), graph.num_sources)
    return rows.restore(torch.sparse.sampled_addmm(pattern, grad, x.t(), beta=0.0).values())


def _csr(rows: Rows, values: Tensor, num_columns: int) -> Tensor:
    size = (rows.offsets.numel() - 1, num_columns)
    return torch.sparse_csr_tensor(rows.offsets, rows.columns, values, size, check_invariants=False)


def _matmul(rows: Rows, weight: Tensor | None, x: Tensor, num_columns: int) -> Tensor:
    values = x.new_ones(rows.columns.numel()) if weight is None else rows.arrange(weight)
    matrix = _csr(rows, values.to(x.dtype), num_columns)
    if x.is_cuda:
        return matrix @ x
    return torch.sparse.mm(matrix, x.contiguous(), "sum")  # torch's own loop, not MKL's
