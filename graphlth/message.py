"""The masked message-passing kernel: sums, means and attention over a `Graph`.

An edge mask is an edge weight. Gradients flow to the features and to the weights;
a weight of 0 leaves no trace of its edge. Shapes: N nodes, E edges, d channels,
`x` [N, d] or [N, heads, d], weights [E] or [E, heads] in the order of `edge_index`.

Backends of the one primitive `A(weight) @ x`:

- `sparse`: compressed sparse rows times dense; backward through the transpose and a sampled
  dense-dense product. No tensor of E × d is ever made.
- `scatter`: torch-scatter's `segment_csr` over gathered messages.
- `reference`: gather, multiply, `index_add`. What the tests compare against.

`auto` is `sparse` for float32 and float64, otherwise `scatter` where torch-scatter is
installed, otherwise `reference`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from graphlth.graph import Features, Graph, Rows

BACKENDS = ("auto", "sparse", "scatter", "reference")
NARROW = 16  # columns


def weighted_sum(
    graph: Graph, x: Tensor, weight: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """`out_i = Σ_e w_e x_j` over the edges e = (j, i).

    Args:
        graph: the edges.
        x: [N, d] or [N, heads, d].
        weight: [E], or [E, heads] with `x` [N, heads, d]; None counts every edge once.
        backend: one of `auto`, `sparse`, `scatter`, `reference`.

    Raises:
        ValueError: a shape does not fit the graph, or `backend` is unknown or not installed.
    """
    _check(graph, x, weight)
    product = _primitive(backend, x.dtype)
    if weight is not None and weight.dim() == 2:
        h = weight.size(1)
        out = product(graph.heads(h), x.reshape(-1, x.size(-1)), weight.reshape(-1))
    else:
        out = product(graph, x.reshape(x.size(0), -1), weight)
    return out.view(graph.num_nodes, *x.shape[1:])


def weighted_mean(
    graph: Graph, x: Tensor, weight: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """`out_i = Σ_e w_e x_j / Σ_e w_e`, and 0 where the weights sum to 0.

    Shapes and errors as `weighted_sum`.
    """
    total = degree(graph, weight, dtype=x.dtype, backend=backend)  # [N] or [N, heads]
    total = torch.where(total > 0, total, 1)
    out = weighted_sum(graph, x, weight, backend=backend)
    return out / total.view(*total.shape, *[1] * (x.dim() - total.dim()))


def weighted_softmax(
    graph: Graph,
    x: Tensor,
    logits: Tensor,
    weight: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """`out_i = Σ_e α_e x_j` with `α_e = w_e exp(l_e) / Σ_e' w_e' exp(l_e')` over the edges into i.

    `logits` and `weight` are [E] or [E, heads]; weights must not be negative. Other shapes
    and errors as `weighted_sum`.
    """
    alpha = edge_softmax(graph, logits, weight, backend=backend)
    return weighted_sum(graph, x, alpha, backend=backend)


def edge_softmax(
    graph: Graph, logits: Tensor, weight: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """The attention `α` of `weighted_softmax`, shaped like `logits`; an edge of weight 0 gets 0.

    Raises:
        ValueError: `logits` is not [E] or [E, heads], or `weight` neither [E] nor shaped like it.
    """
    e = graph.num_edges
    if logits.dim() not in (1, 2) or logits.size(0) != e:
        raise ValueError(
            f"`logits` must have shape [{e}] or [{e}, heads], got {list(logits.shape)}"
        )
    if weight is not None and weight.shape not in ((e,), logits.shape):
        shapes = f"[{e}] or {list(logits.shape)}"
        raise ValueError(f"`weight` must have shape {shapes}, got {list(weight.shape)}")
    if logits.dim() == 2:
        heads = logits.size(1)
        weight = weight if weight is None or weight.dim() == 2 else weight.unsqueeze(1)
        flat = None if weight is None else weight.expand(-1, heads).reshape(-1)
        alpha = edge_softmax(graph.heads(heads), logits.reshape(-1), flat, backend=backend)
        return alpha.view_as(logits)
    target = graph.edge_index[1]
    present = logits if weight is None else logits.masked_fill(weight <= 0, -torch.inf)
    top = logits.new_full((graph.num_nodes,), -torch.inf)
    top = top.scatter_reduce(0, target, present.detach(), "amax")
    top = top.masked_fill(top == -torch.inf, 0)  # no edge left
    # Only an absent edge can exceed the top; its bound keeps the gradient of its weight finite.
    share = (logits - top[target]).clamp(max=30).exp()
    share = share if weight is None else share * weight
    total = degree(graph, share, dtype=share.dtype, backend=backend)
    return share / torch.where(total > 0, total, 1)[target]


def degree(
    graph: Graph, weight: Tensor | None = None, *, dtype: torch.dtype, backend: str = "auto"
) -> Tensor:
    """`Σ_e w_e` over the edges into each node: [N], or [N, heads] for weights [E, heads]."""
    shape = (graph.num_sources, 1) if weight is None else (graph.num_sources, *weight.shape[1:], 1)
    ones = torch.ones(shape, dtype=dtype, device=graph.device)
    return weighted_sum(graph, ones, weight, backend=backend).squeeze(-1)


def product(x: Tensor | Features, w: Tensor, *, backend: str = "auto") -> Tensor:
    """`x @ w` [N, d] for features `x` [N, F], dense or sparse, and `w` [F, d]."""
    if isinstance(x, Features):
        return weighted_sum(x.graph, w, x.values, backend=backend)
    return _DenseProduct.apply(x, w)


Primitive = Callable[[Graph, Tensor, Tensor | None], Tensor]


def _primitive(backend: str, dtype: torch.dtype) -> Primitive:
    """The product `A(weight) @ x` for `x` [N, d] and `weight` [E] or None."""
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        exact = dtype in (torch.float32, torch.float64)
        backend = "sparse" if exact else "scatter" if find_spec("torch_scatter") else "reference"
    return {"sparse": _sparse, "scatter": _scatter, "reference": _reference}[backend]


def _reference(graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
    source, target = graph.edge_index
    message = x[source] if weight is None else weight.unsqueeze(-1) * x[source]  # [E, d]
    return x.new_zeros(graph.num_nodes, x.size(1)).index_add(0, target, message)


def _scatter(graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
    try:
        from torch_scatter import segment_csr
    except ImportError:
        raise ValueError(
            "`backend` 'scatter' needs torch-scatter, which is not installed"
        ) from None
    rows = graph.by_target
    message = x.index_select(0, rows.columns)  # [E, d]
    if weight is not None:
        message = rows.arrange(weight).unsqueeze(-1) * message
    return segment_csr(message, rows.offsets, reduce="sum")


def _sparse(graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
    return _SparseSum.apply(graph, x, weight)


class _SparseSum(torch.autograd.Function):
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


class _DenseProduct(torch.autograd.Function):
    """`x @ w`; few columns are multiplied as rows, which the CPU does 3 to 6 times faster."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return (w.t() @ x.t()).t().contiguous() if w.size(1) < NARROW else x @ w

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        grad_x = grad @ w.t() if ctx.needs_input_grad[0] else None
        grad_w = (grad.t() @ x).t().contiguous() if ctx.needs_input_grad[1] else None
        return grad_x, grad_w


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


def _check(graph: Graph, x: Tensor, weight: Tensor | None) -> None:
    if x.dim() not in (2, 3) or x.size(0) != graph.num_sources:
        raise ValueError(
            f"`x` must have shape [{graph.num_sources}, d] or [{graph.num_sources}, heads, d], "
            f"got {list(x.shape)}"
        )
    if weight is None:
        return
    fits = weight.shape == (graph.num_edges,) or (
        x.dim() == 3 and weight.shape == (graph.num_edges, x.size(1))
    )
    if not fits:
        raise ValueError(
            f"`weight` must have shape [{graph.num_edges}] or [{graph.num_edges}, heads] "
            f"with heads as in `x` {list(x.shape)}, got {list(weight.shape)}"
        )
