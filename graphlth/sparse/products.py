"""Products with weight matrices, dense and sparse, and matrices scattered from vectors."""

from typing import Any

import torch
from torch import Tensor

from graphlth.sparse import vmap
from graphlth.sparse.backend import find_backend
from graphlth.sparse.cache import WeightCache
from graphlth.sparse.features import Features
from graphlth.sparse.message import check_shapes, weighted_sum
from graphlth.sparse.pattern import SparsityPattern


def product(
    x: Tensor | Features, w: Tensor, *, cache: WeightCache | None = None, backend: str = "auto"
) -> Tensor:
    """`x @ w` [N, d] for features `x` [N, F], dense or sparse, and `w` [F, d].

    Args:
        x: the features.
        w: the weights.
        cache: what is known of `w`. Features whose weights are 0 are then not read, and a product
            without gradients is kept for the next one with the same `x` and `w`.
        backend: a name in `BackendName`; `auto` takes the fastest one here.
    """
    if not isinstance(x, Features):
        return x @ w if vmap.inside() else find_backend(backend, x).product(x, w)
    if vmap.inside():
        return weighted_sum(x.graph, w, x.values, backend=backend)
    check_shapes(x.graph, w, x.values)
    kernel = find_backend(backend, w)
    if cache is None:
        return kernel.features_product(x, w)
    x = cache.restrict(x)
    if torch.is_grad_enabled():
        value = None if x.values.requires_grad else cache.recall(x, w)[0]
        return kernel.features_product(x, w, value)
    out = kernel.features_product(x, w)
    cache.remember(x, w, out)
    return out


def scatter_into(zeros: Tensor, values: Tensor, pattern: SparsityPattern) -> Tensor:
    """A tensor with `values` [entries] where `pattern` says and 0 elsewhere.

    It lies in the memory of `zeros`; its gradient goes to `values`.
    """
    out: Tensor = _ScatterInto.apply(zeros, values, pattern)
    return out


def padded_zeros(like: Tensor) -> Tensor:
    """Zeros for `scatter_into`, or for a product, shaped like `like`; their rows may lie apart."""
    return find_backend("auto", like).padded_zeros(like.detach())


def scatter(values: Tensor, pattern: SparsityPattern, out: Tensor) -> None:
    """Write `values` [entries] to the entries of `out` that `pattern` names, in place."""
    find_backend("auto", out).scatter(values, pattern, out)


class _ScatterInto(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, zeros: Tensor, values: Tensor, pattern: SparsityPattern) -> Tensor:
        ctx.pattern = pattern
        scatter(values, pattern, zeros)
        return zeros.view_as(zeros)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        return None, find_backend("auto", grad).gather(grad, ctx.pattern), None
