"""The masked message-passing kernel: sums, means and attention over a `Graph`.

An edge mask is an edge weight. Gradients flow to the features and to the weights;
a weight of 0 leaves no trace of its edge. Shapes: N nodes, E edges, d channels,
`x` [N, d] or [N, heads, d], weights [E] or [E, heads] in the order of `edge_index`.

Backends, a file each in `graphlth/sparse/kernels`; `graphlth.sparse.backend` says what they can do:

- `numba`: compiled loops for the CPU, with a fused `attention` and `dynamic_attention`.
- `triton`: kernels for the GPU, with a fused `attention`; no atomics, so results are repeatable.
- `sparse`: torch's sparse operators: rows times dense, and a sampled dense-dense product.
- `scatter`: torch-scatter's `segment_csr` over gathered messages.
- `reference`: gather, multiply, `index_add`. What the tests compare against.

The first three never make a tensor of E × d. `auto` is `numba` for float32 and float64 on the CPU
and `triton` on a GPU that has it; otherwise `sparse`, for half precision `scatter` or `reference`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphlth.sparse import composition, vmap
from graphlth.sparse.backend import find_backend
from graphlth.sparse.graph import Graph


def weighted_sum(
    graph: Graph, x: Tensor, weight: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """`out_i = Σ_e w_e x_j` over the edges e = (j, i).

    Args:
        graph: the edges.
        x: [N, d] or [N, heads, d].
        weight: [E], or [E, heads] with `x` [N, heads, d]; None counts every edge once.
        backend: a name in `BackendName`; `auto` takes the fastest one here.

    Raises:
        ValueError: a shape does not fit the graph, or `backend` is unknown or not installed.
    """
    check_shapes(graph, x, weight)
    if vmap.inside():
        return vmap.apply_rule(_sum_of_each, graph, x, weight, backend)
    primitive = find_backend(backend, x).weighted_sum
    return composition.sum_over_edges(primitive, graph, x, weight)


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


def attention(
    graph: Graph,
    x: Tensor,
    sent: Tensor,
    received: Tensor,
    weight: Tensor | None = None,
    keep: Tensor | None = None,
    *,
    slope: float = 0.2,
    backend: str = "auto",
) -> Tensor:
    """`out_i = Σ_e k_e α_e x_j` with `α_e ∝ w_e exp(LeakyReLU(s_j + r_i))` over the edges into i.

    The attention of GAT (Veličković et al., ICLR 2018, arXiv:1710.10903) in one pass, without the
    messages.

    Args:
        graph: the edges.
        x: [N, heads, d].
        sent: [N, heads], s of every source.
        received: [N, heads], r of every target.
        weight: [E], not negative; None counts every edge once.
        keep: [E, heads], what dropout multiplies α by; no gradient flows to it.
        slope: LeakyReLU's, below 0.
        backend: a name in `BackendName`; `auto` takes the fastest one here.

    Raises:
        ValueError: a shape does not fit the graph, or `backend` is unknown or not installed.
    """
    _check_attention(graph, x, weight, {
        "sent": (sent, (graph.num_sources, *x.shape[1:2])),
        "received": (received, (graph.num_nodes, *x.shape[1:2])),
        "keep": (keep, (graph.num_edges, *x.shape[1:2])),
    })  # fmt: skip
    if vmap.inside():
        ends = sent, received, weight, keep
        return vmap.apply_rule(_attention_of_each, graph, x, *ends, slope, backend)
    kernel = find_backend(backend, x)
    return kernel.attention(graph, x, sent, received, weight, keep, slope)


def dynamic_attention(
    graph: Graph,
    x: Tensor,
    received: Tensor,
    a: Tensor,
    weight: Tensor | None = None,
    keep: Tensor | None = None,
    *,
    slope: float = 0.2,
    backend: str = "auto",
) -> Tensor:
    """`out_i = Σ_e k_e α_e x_j` with `α_e ∝ w_e exp(aᵀ LeakyReLU(x_j + r_i))` over edges into i.

    The attention of GATv2 (Brody et al., ICLR 2022, arXiv:2105.14491), without the messages.

    Args:
        graph: the edges.
        x: [N, heads, d].
        received: [N, heads, d], r of every target.
        a: [heads, d], the weights of the channels in a score.
        weight: [E], not negative; None counts every edge once.
        keep: [E, heads], what dropout multiplies α by; no gradient flows to it.
        slope: LeakyReLU's, below 0; at most 1.
        backend: a name in `BackendName`; `auto` takes the fastest one here.

    Raises:
        ValueError: a shape does not fit the graph, or `backend` is unknown or not installed.
    """
    _check_attention(graph, x, weight, {
        "received": (received, (graph.num_nodes, *x.shape[1:])),
        "a": (a, tuple(x.shape[1:])),
        "keep": (keep, (graph.num_edges, *x.shape[1:2])),
    })  # fmt: skip
    if vmap.inside():
        sums = partial(weighted_sum, backend=backend)
        rest = received, a, weight, keep, slope
        return composition.dynamic_attention(sums, graph, x, *rest)
    kernel = find_backend(backend, x)
    return kernel.dynamic_attention(graph, x, received, a, weight, keep, slope)


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
    sums = partial(weighted_sum, backend=backend)
    return composition.edge_softmax(sums, graph, logits, weight)


def degree(
    graph: Graph, weight: Tensor | None = None, *, dtype: torch.dtype, backend: str = "auto"
) -> Tensor:
    """`Σ_e w_e` over the edges into each node: [N], or [N, heads] for weights [E, heads]."""
    return composition.degree(partial(weighted_sum, backend=backend), graph, weight, dtype)


def normalise(graph: Graph, weight: Tensor, *, side: str = "in", backend: str = "auto") -> Tensor:
    """`d_s^-½ w_e d_t^-½` [E] for every edge e = (s, t), with degrees `d_i = Σ_e w_e`.

    The symmetric normalisation of GCN (Kipf & Welling, ICLR 2017, arXiv:1609.02907). An edge from
    or into a node of degree 0 gets 0.

    Args:
        graph: the edges.
        weight: [up to E]; edges after those that it has count once.
        side: d counts the edges into a node ("in") or out of it ("out").
        backend: as `weighted_sum`.

    Raises:
        ValueError: `weight` has more entries, sources are other nodes than targets, or an argument
            is unknown.
    """
    if weight.dim() != 1 or weight.size(0) > graph.num_edges:
        raise ValueError(
            f"`weight` must have shape [up to {graph.num_edges}], got {list(weight.shape)}"
        )
    if graph.num_sources != graph.num_nodes:
        raise ValueError(f"`graph` must have as many sources as targets, got {graph.size}")
    if side not in ("in", "out"):
        raise ValueError(f"`side` must be in or out, got {side!r}")
    if vmap.inside():
        sums = partial(weighted_sum, backend=backend)
        return composition.normalise(sums, graph, weight, side)
    return find_backend(backend, weight).normalise(graph, weight, side)


def check_shapes(graph: Graph, x: Tensor, weight: Tensor | None) -> None:
    """Refuse features and edge weights that do not fit a graph.

    Raises:
        ValueError: they do not.
    """
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


def _check_attention(
    graph: Graph, x: Tensor, weight: Tensor | None,
    shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]],
) -> None:  # fmt: skip
    """Refuse `x`, weights and other arguments whose shapes are not those of an attention."""
    if x.dim() != 3:
        raise ValueError(f"`x` must have shape [N, heads, d], got {list(x.shape)}")
    check_shapes(graph, x, weight)
    shapes = {**shapes, "weight": (weight, (graph.num_edges,))}
    for name, (value, shape) in shapes.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"`{name}` must have shape {list(shape)}, got {list(value.shape)}")


def _sum_of_each(
    size: int, dims: vmap.Dims, graph: Graph, x: Tensor, weight: Tensor | None, backend: str
) -> tuple[Tensor, int | None]:
    """`weighted_sum` of each of S `x`, `weight` or both."""
    _, of_x, of_weight, _ = dims
    if of_x is None and of_weight is None:
        return weighted_sum(graph, x, weight, backend=backend), None
    if of_x is not None and of_weight is None and (weight is None or weight.dim() == 1):
        x = x.movedim(of_x, 1)  # [N, S, ...]: one matrix, S times the columns
        out = weighted_sum(graph, x.flatten(1), weight, backend=backend)
        return out.view(graph.num_nodes, *x.shape[1:]), 1
    x, weight = _copy(size, of_x, x), None if weight is None else _copy(size, of_weight, weight)
    out = weighted_sum(graph.heads(size), x, weight, backend=backend)
    return out.view(graph.num_nodes, size, *out.shape[1:]), 1


def _attention_of_each(
    size: int, dims: vmap.Dims, graph: Graph, *rest: Any
) -> tuple[Tensor, int | None]:
    """`attention` of each of S arguments."""
    *tensors, slope, backend = rest
    if all(dim is None for dim in dims):
        return attention(graph, *tensors, slope=slope, backend=backend), None
    given = zip(dims[1:-2], tensors, strict=True)
    copies = [None if t is None else _copy(size, dim, t) for dim, t in given]
    out = attention(graph.heads(size), *copies, slope=slope, backend=backend)  # type: ignore[arg-type]
    return out.view(graph.num_nodes, size, *out.shape[1:]), 1


def _copy(size: int, dim: int | None, values: Tensor) -> Tensor:
    """`values` [N, ...] or [E, ...], stacked along `dim`, as `graph.heads(size)` takes them."""
    if dim is None:
        values = values.unsqueeze(1).expand(-1, size, *values.shape[1:])
    else:
        values = values.movedim(dim, 1)
    return values.flatten(0, 1)
