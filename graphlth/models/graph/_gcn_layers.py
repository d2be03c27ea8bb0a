"""What GCN computes in one pass, and what an evaluation leaves for the training step after it.

Shapes: N nodes (targets), M sources, E edges, F features, d and C channels.
"""

import torch
from torch import Tensor

from graphlth.sparse import vmap
from graphlth.sparse.backend import Selection, find_backend
from graphlth.sparse.blocks import Block
from graphlth.sparse.cache import Sum, WeightCache
from graphlth.sparse.dropout import relu_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo
from graphlth.sparse.message import check_shapes, weighted_sum
from graphlth.sparse.products import product

MOST = 3  # terms of a sum of rows for each entry summed: with more, two products are faster


def propagate(
    graph: Graph, x: Tensor | Features, w: Tensor, weight: Tensor, *,
    cache: WeightCache | None = None, constant: bool = False, backend: str = "auto",
) -> Tensor:  # fmt: skip
    """`A(weight) (x @ w)` [N, d].

    Args:
        graph: the edges.
        x: [M, F], dense or sparse.
        w: [F, d].
        weight: [E].
        cache: what is known of `w`.
        constant: whether `weight` is the same tensor in every call. The gradient of `w` then goes
            through `A(weight) x`, which is made once.
        backend: as `weighted_sum`.
    """
    cache = WeightCache() if cache is None else cache
    if not isinstance(x, Features) or vmap.inside():
        h = product(x, w, cache=cache, backend=backend)
        return weighted_sum(graph, h, weight, backend=backend)
    kernel, x = find_backend(backend, w), cache.restrict(x)
    learns = torch.is_grad_enabled() and w.requires_grad and not x.values.requires_grad
    if learns and weight.requires_grad:
        check_shapes(graph, w.new_empty(graph.num_sources, 0), weight)
        value, last = cache.recall(x, w)
        sums = None if last is None else last.over(graph, weight)
        return kernel.propagate(graph, x, w, weight, value, sums, cache.scattered)
    through = aggregate(graph, weight, x) if constant and learns else None
    if through is None:
        h = product(x, w, cache=cache, backend=backend)
        return weighted_sum(graph, h, weight, backend=backend)
    out, _ = cache.recall(through, w)
    if out is None:
        with torch.no_grad():
            value, _ = cache.recall(x, w)
            value = kernel.features_product(x, w) if value is None else value
            out = weighted_sum(graph, value, weight, backend=backend)
    return kernel.features_product(through, w, out, cache.scattered)


def propagate_relu_product(
    block: Block, x: Tensor | Features, w: Tensor, weight: Tensor, v: Tensor, *,
    cache: WeightCache | None = None, following: tuple[Block, Tensor] | None = None,
    constant: bool = False, backend: str = "auto",
) -> Tensor:  # fmt: skip
    """`relu(A(weight) (x @ w)) @ v` [N, C] over the edges of `block`.

    Without gradients, and with sparse `x` and few columns of `v`, no N × d numbers are written on
    the CPU but those that the next training step asks for: they are left in `cache`.

    Args:
        block: the edges.
        x: [M, F], dense or sparse.
        w: [F, d].
        weight: [E].
        v: [d, C].
        cache: what is known of `w`.
        following: the block of the next training step, and the weights of its edges.
        constant: whether both weights are the same tensors in every call.
        backend: as `weighted_sum`.
    """
    cache = WeightCache() if cache is None else cache
    block, own = block.restrict(x)
    fused = not torch.is_grad_enabled() and not vmap.inside()
    if fused and following and isinstance(x, Features) and isinstance(own, Features):
        part, norm = following
        position, read = block.positions_in(part), part.select_features(x)
        if position is not None and read.row_mask is not None:
            kernel, own = find_backend(backend, w), cache.restrict(own)
            through = aggregate(part.graph, norm, cache.restrict(read)) if constant else None
            kept = through is not None or not constant
            out, value, sums = kernel.propagate_relu_product(
                block.graph, own, w, weight, v,
                rows=read.row_numbers if through is None else None,
                sums=Selection(position, part.graph.num_nodes) if kept else None,
            )  # fmt: skip
            if through is not None and sums is not None:
                cache.remember(through, w, sums)
            elif value is not None:
                last = None if sums is None else Sum(part.graph, norm, sums)
                cache.remember(read, w, value, last)
            return out
    h = product(own, w, cache=cache, backend=backend)
    return relu_product(block.graph, h, weight, v, backend=backend)


def relu_product(
    graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor, *, backend: str = "auto"
) -> Tensor:
    """`relu(A(weight) @ x) @ w` [N, C] for `x` [M, d], `weight` [E] and `w` [d, C].

    Without gradients and with few columns, the CPU writes no N × d numbers.
    """
    check_shapes(graph, x, weight)
    if vmap.inside():
        return product(weighted_sum(graph, x, weight, backend=backend).relu(), w, backend=backend)
    return find_backend(backend, x).relu_product(graph, x, weight, w)


def relu_dropout_product(x: Tensor, w: Tensor, p: float, *, backend: str = "auto") -> Tensor:
    """`relu_dropout(x, p) @ w` [N, C] for `x` [N, d] and `w` [d, C], as in training."""
    if vmap.inside():
        return product(relu_dropout(x, p), w, backend=backend)
    return find_backend(backend, x).relu_dropout_product(x, w, p)


def aggregate(graph: Graph, weight: Tensor, x: Features) -> Features | None:
    """`A(weight) x` [N, F], made once for the same tensors; None where it fills up too much.

    The gradient of W in `A (x W)` is one product with its transpose, without the N × d numbers
    between the two. That pays while there are few edges, as those towards some rows.
    """
    known: Memo[Memo[Features | None]] = graph.constant("aggregated features", Memo)
    return known(weight, Memo)(x, lambda: _aggregate(graph, weight, x))


def _aggregate(graph: Graph, weight: Tensor, x: Features) -> Features | None:
    source, target = graph.edge_index
    rows = x.graph.by_target
    count = rows.offsets.diff()[source]  # [E]
    if int(count.sum()) > MOST * rows.count:
        return None
    edge = torch.arange(graph.num_edges, device=graph.device).repeat_interleave(count)  # [terms]
    entry = torch.arange(edge.numel(), device=graph.device) - (count.cumsum(0) - count)[edge]
    entry = entry + rows.offsets[source][edge]
    key = target[edge] * x.shape[1] + rows.columns[entry]
    key, place = key.unique(return_inverse=True)
    terms = weight[edge] * rows.arrange(x.values)[entry]
    values = terms.new_zeros(key.numel()).index_add(0, place, terms)
    ends = torch.stack([key % x.shape[1], key // x.shape[1]])
    return Features(Graph(ends, (x.shape[1], graph.num_nodes)), values)
