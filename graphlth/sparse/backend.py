"""What a backend of the message-passing kernel can do, and which one is used.

A backend has every operation of `Backend`. It writes `weighted_sum` itself; the others are composed
of that where it has no kernel of its own. Operations check no arguments: `graphlth.sparse.message`
and `graphlth.sparse.products` do.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from graphlth.settings.types import BackendName
from graphlth.sparse import composition
from graphlth.sparse.dropout import relu_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern

BACKENDS: tuple[str, ...] = get_args(BackendName)
EXACT = (torch.float32, torch.float64)
NEEDS = {"scatter": "torch-scatter"}
NARROW = 16  # columns: a matrix of fewer is multiplied in another way


class Selection(NamedTuple):
    """Some rows of a result [N, d], each with its position among `num_rows` rows."""

    position: Tensor  # [N], −1 for the rows that are left out
    num_rows: int


class Backend(Protocol):
    """The operations of a backend, and how they are composed where it has no kernels of its own.

    Shapes: N nodes (targets), M sources, E edges, F features, d and C channels. A is the matrix
    [N, M] of a graph with edge weights [E]; None counts every edge once.
    """

    def weighted_sum(self, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        """`A(weight) @ x` [N, d] for `x` [M, d], differentiable in `x` and `weight`."""
        ...

    def attention(
        self, graph: Graph, x: Tensor, sent: Tensor, received: Tensor, weight: Tensor | None,
        keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        """`Σ_e k_e α_e x_j` [N, heads, d] with `α_e ∝ w_e exp(LeakyReLU(s_j + r_i))`.

        For `x` [M, heads, d], `sent` [M, heads], `received` [N, heads] and `keep` [E, heads], which
        has no gradient.
        """
        rest = sent, received, weight, keep, slope
        return composition.attention(self._any_heads, graph, x, *rest)

    def dynamic_attention(
        self, graph: Graph, x: Tensor, received: Tensor, a: Tensor, weight: Tensor | None,
        keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        """`Σ_e k_e α_e x_j` [N, heads, d] with `α_e ∝ w_e exp(aᵀ LeakyReLU(x_j + r_i))`.

        For `x` [M, heads, d], `received` [N, heads, d], `a` [heads, d] and `keep` [E, heads], which
        has no gradient.
        """
        rest = received, a, weight, keep, slope
        return composition.dynamic_attention(self._any_heads, graph, x, *rest)

    def normalise(self, graph: Graph, weight: Tensor, side: str) -> Tensor:
        """`d_s^-½ w_e d_t^-½` [E], degrees of the `side` "in" or "out"; `weight` [up to E]."""
        return composition.normalise(self._any_heads, graph, weight, side)

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """`x @ w` [N, C] for dense `x` [N, d] and `w` [d, C]."""
        out: Tensor = _DenseProduct.apply(x, w)
        return out

    def relu_dropout_product(self, x: Tensor, w: Tensor, p: float) -> Tensor:
        """`relu_dropout(x, p) @ w` [N, C] for `x` [N, d] and `w` [d, C]."""
        return self.product(relu_dropout(x, p), w)

    def features_product(
        self, x: Features, w: Tensor, value: Tensor | None = None,
        scattered: ScatteredWeight | None = None,
    ) -> Tensor:  # fmt: skip
        """`x @ w` [N, d] for sparse `x` [N, F] and `w` [F, d], differentiable in `w`.

        Args:
            x: constant features.
            w: the matrix.
            value: the product, if it is known; then only its gradient is computed.
            scattered: where `w` comes from; the gradient may go to these values at once.
        """
        if value is None:
            return self.weighted_sum(x.graph, w, x.values)
        out: Tensor = _KnownProduct.apply(self, x, w, value)
        return out

    def propagate(
        self, graph: Graph, x: Features, w: Tensor, weight: Tensor, value: Tensor | None = None,
        sums: Tensor | None = None, scattered: ScatteredWeight | None = None,
    ) -> Tensor:  # fmt: skip
        """`A(weight) (x @ w)` [N, d] for `x` [M, F], differentiable in `w` and `weight` [E].

        Args:
            graph: the edges.
            x: constant features.
            w: [F, d].
            weight: [E].
            value: `x @ w`, if it is known.
            sums: the result, if it is known; then only its gradients are computed.
            scattered: where `w` comes from; its gradient may go to these values at once.
        """
        return self.weighted_sum(graph, self.features_product(x, w, value), weight)

    def relu_product(self, graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor) -> Tensor:
        """`relu(A(weight) @ x) @ w` [N, C] for `x` [M, d] and `w` [d, C]."""
        return self.product(self.weighted_sum(graph, x, weight).relu(), w)

    def propagate_relu_product(
        self, graph: Graph, x: Features, w: Tensor, weight: Tensor, v: Tensor, *,
        rows: Tensor | None = None, sums: Selection | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """`relu(A(weight) (x @ w)) @ v` [N, C], and what was kept of the matrices on the way.

        Without gradients. Returns also `x @ w` [M, d] and the selected rows of `A(weight) (x @ w)`
        [sums.num_rows, d]; None for what was not kept.

        Args:
            graph: the edges.
            x: [M, F].
            w: [F, d].
            weight: [E].
            v: [d, C].
            rows: [M] the number of each row of `x @ w` that is asked for, −1 for the others, which
                may hold anything. None asks for no row.
            sums: the rows of `A(weight) (x @ w)` that are asked for.
        """
        value = self.weighted_sum(x.graph, w, x.values)
        return self.relu_product(graph, value, weight, v), value, None

    def padded_zeros(self, like: Tensor) -> Tensor:
        """Zeros shaped like `like`, for `scatter` or a product; their rows may lie apart."""
        return torch.zeros_like(like)

    def scatter(self, values: Tensor, pattern: SparsityPattern, out: Tensor) -> None:
        """Write `values` [entries] to the entries of `out` that `pattern` names, in place."""
        out.detach().view(-1).scatter_(0, pattern.index, values)

    def gather(self, whole: Tensor, pattern: SparsityPattern) -> Tensor:
        """The entries [entries] of `whole` that `pattern` names, without gradients."""
        return whole.reshape(-1).index_select(0, pattern.index)

    def _any_heads(self, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        return composition.sum_over_edges(self.weighted_sum, graph, x, weight)


def find_backend(name: str, x: Tensor) -> Backend:
    """The backend of a name, or with `auto` the fastest for tensors like `x`.

    Raises:
        ValueError: there is no such backend, or what it needs is not installed or not given.
    """
    if name not in BACKENDS:
        raise ValueError(f"`backend` must be one of {', '.join(BACKENDS)}, got {name!r}")
    name = _fastest(x) if name == "auto" else name
    if name == "numba" and (x.device.type != "cpu" or x.dtype not in EXACT):
        raise ValueError(f"`backend` 'numba' needs float32 or float64 on the CPU, "
                         f"got {x.dtype} on {x.device}")  # fmt: skip
    if name == "triton" and not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"`backend` 'triton' needs a CUDA device, got {x.device}")
    try:
        backend: Backend = import_module(f"graphlth.sparse.kernels.{name}").BACKEND
    except ImportError as error:
        needs = NEEDS.get(name, name)
        raise ValueError(f"`backend` {name!r} needs {needs}, which is not installed") from error
    return backend


def _fastest(x: Tensor) -> str:
    exact = x.dtype in EXACT
    if x.is_cuda:
        has_triton = "triton" in sys.modules or find_spec("triton")
        return "triton" if has_triton else "sparse" if exact else "reference"
    if exact and x.device.type == "cpu":
        return "numba"
    return "scatter" if find_spec("torch_scatter") else "reference"


class _KnownProduct(torch.autograd.Function):
    """`x @ w` whose value is known already; differentiable in `w`."""

    @staticmethod
    def forward(ctx: Any, backend: Backend, x: Features, w: Tensor, value: Tensor) -> Tensor:
        ctx.backend, ctx.x = backend, x
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, None]:
        return None, None, ctx.backend.weighted_sum(ctx.x.graph.reverse, grad, ctx.x.values), None


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
