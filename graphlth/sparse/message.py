"""The masked message-passing kernel: sums, means and attention over a `Graph`.

An edge mask is an edge weight. Gradients flow to the features and to the weights;
a weight of 0 leaves no trace of its edge. Shapes: N nodes, E edges, d channels,
`x` [N, d] or [N, heads, d], weights [E] or [E, heads] in the order of `edge_index`.

Backends of the one primitive `A(weight) @ x`, a file each in `graphlth/sparse/kernels`:

- `numba`: compiled loops for the CPU, with a fused `attention`.
- `triton`: kernels for the GPU, with a fused `attention`; no atomics, so results are repeatable.
- `sparse`: torch's sparse operators: rows times dense, and a sampled dense-dense product.
- `scatter`: torch-scatter's `segment_csr` over gathered messages.
- `reference`: gather, multiply, `index_add`. What the tests compare against.

The first three never make a tensor of E × d. `auto` is `numba` for float32 and float64 on the CPU
and `triton` on a GPU that has it; otherwise `sparse`, for half precision `scatter` or `reference`.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from graphlth.sparse import vmap
from graphlth.sparse.dropout import relu_dropout, relu_dropped
from graphlth.sparse.graph import Block, Features, Graph, Places, Sum

BACKENDS = ("auto", "numba", "triton", "sparse", "scatter", "reference")
EXACT = (torch.float32, torch.float64)
NEEDS = {"scatter": "torch-scatter"}
NARROW = 16  # columns


def weighted_sum(
    graph: Graph, x: Tensor, weight: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """`out_i = Σ_e w_e x_j` over the edges e = (j, i).

    Args:
        graph: the edges.
        x: [N, d] or [N, heads, d].
        weight: [E], or [E, heads] with `x` [N, heads, d]; None counts every edge once.
        backend: one of `auto`, `numba`, `triton`, `sparse`, `scatter`, `reference`.

    Raises:
        ValueError: a shape does not fit the graph, or `backend` is unknown or not installed.
    """
    _check(graph, x, weight)
    if vmap.inside():
        return vmap.at_once(_sum_of_each, graph, x, weight, backend)
    product = _primitive(backend, x)
    if x.dim() == 2:
        return product(graph, x, weight)
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
        backend: one of `auto`, `numba`, `triton`, `sparse`, `scatter`, `reference`.

    Raises:
        ValueError: a shape does not fit the graph, or `backend` is unknown or not installed.
    """
    if x.dim() != 3:
        raise ValueError(f"`x` must have shape [N, heads, d], got {list(x.shape)}")
    _check(graph, x, weight)
    heads = x.size(1)
    shapes = {
        "sent": (sent, (graph.num_sources, heads)),
        "received": (received, (graph.num_nodes, heads)),
        "keep": (keep, (graph.num_edges, heads)),
        "weight": (weight, (graph.num_edges,)),
    }
    for name, (value, shape) in shapes.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"`{name}` must have shape {list(shape)}, got {list(value.shape)}")
    if vmap.inside():
        ends = sent, received, weight, keep
        return vmap.at_once(_attention_of_each, graph, x, *ends, slope, backend)
    kernel = _kernel(backend, x)
    if hasattr(kernel, "attention"):
        return kernel.attention(graph, x, sent, received, weight, keep, slope)
    source, target = graph.edge_index
    logits = leaky_relu(sent[source] + received[target], slope)  # [E, heads]
    alpha = edge_softmax(graph, logits, weight, backend=backend)
    return weighted_sum(graph, x, alpha if keep is None else keep * alpha, backend=backend)


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
    kernel = _kernel(backend, weight)
    if hasattr(kernel, "normalise") and not vmap.inside():
        out: Tensor = kernel.normalise(graph, weight, side)
        return out
    rest = graph.num_edges - weight.size(0)
    w = torch.cat([weight, weight.new_ones(rest)]) if rest else weight
    counted = graph if side == "in" else graph.reversed
    deg = degree(counted, w, dtype=w.dtype, backend=backend)
    root = torch.where(deg > 0, deg.clamp(min=1e-12).rsqrt(), 0)
    source, target = graph.edge_index
    return at(root, source) * w * at(root, target)


def at(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]`, whose gradient is summed in a fixed order: on the CPU without sorting."""
    return values.index_select(0, index) if values.device.type == "cpu" else values[index]


def spread(values: Tensor, places: Places, zeros: Tensor) -> Tensor:
    """A tensor with `values` at `places` and 0 elsewhere, in the memory of `zeros`.

    `product` does not read features whose every weight is such a 0, nor compute their gradients.
    """
    out: Tensor = _Spread.apply(values, places, zeros)
    if out.grad_fn is not None:
        vars(out.grad_fn)["values"] = values  # for `propagate`, as are the places
    return out


def blank(like: Tensor) -> Tensor:
    """Zeros for `spread`, or for a product, shaped like `like`; their rows may lie apart."""
    zeros = getattr(_kernel("auto", like), "blank", torch.zeros_like)
    out: Tensor = zeros(like.detach())
    return out


def put(values: Tensor, places: Places, out: Tensor) -> None:
    """Write `values` to `places` of `out`, in place."""
    kernel = _kernel("auto", out)
    if hasattr(kernel, "put"):
        kernel.put(values, places, out)
    else:
        out.detach().view(-1).scatter_(0, places.index, values)


def product(x: Tensor | Features, w: Tensor, *, backend: str = "auto") -> Tensor:
    """`x @ w` [N, d] for features `x` [N, F], dense or sparse, and `w` [F, d]."""
    if not isinstance(x, Features):
        if vmap.inside():
            return x @ w
        kernel = _kernel(backend, x)
        few = w.size(1) < NARROW and hasattr(kernel, "narrow_product")
        return kernel.narrow_product(x, w) if few else _DenseProduct.apply(x, w)
    if vmap.inside():
        return weighted_sum(x.graph, w, x.values, backend=backend)
    x = _read(x, w)
    if not torch.is_grad_enabled():
        out = weighted_sum(x.graph, w, x.values, backend=backend)
        x.remember(w, out)
        return out
    known, _ = x.recall(w)
    if known is None or x.values.requires_grad:
        return weighted_sum(x.graph, w, x.values, backend=backend)
    return _KnownSum.apply(x.graph, w, x.values, known, backend)


def relu_dropout_product(x: Tensor, w: Tensor, p: float, *, backend: str = "auto") -> Tensor:
    """`relu_dropout(x, p) @ w` [N, C] for `x` [N, d] and `w` [d, C], as in training.

    The gradients of few columns come in one pass on the CPU.
    """
    kernel = _kernel(backend, x)
    if vmap.inside() or w.size(1) >= NARROW or not hasattr(kernel, "narrow_product"):
        return product(relu_dropout(x, p), w, backend=backend)
    return kernel.narrow_product(x, w, *relu_dropped(x, p))


def propagate(
    graph: Graph,
    x: Tensor | Features,
    w: Tensor,
    weight: Tensor,
    *,
    fixed: bool = False,
    backend: str = "auto",
) -> Tensor:
    """`A(weight) (x @ w)` [N, d].

    With `fixed`, `weight` [E] is the same tensor in every call, and the gradient of `w` goes
    through `A(weight) x`, which is made once.
    """
    if not isinstance(x, Features) or vmap.inside():
        return weighted_sum(graph, product(x, w, backend=backend), weight, backend=backend)
    kernel, x = _kernel(backend, w), _read(x, w)
    learns = torch.is_grad_enabled() and w.requires_grad and not x.values.requires_grad
    if learns and weight.requires_grad and hasattr(kernel, "propagate"):
        (known, last), places = _known(x, w, backend), _places(w)
        _check(graph, known, weight)
        learned = w if places is None else vars(w.grad_fn)["values"]
        summed = None if last is None else last.over(graph, weight)
        found: Tensor = kernel.propagate(graph, x, learned, weight, known, summed, places)
        return found
    ahead = graph.ahead(weight, x) if fixed and learns and not weight.requires_grad else None
    if ahead is None:
        return weighted_sum(graph, product(x, w, backend=backend), weight, backend=backend)
    out, _ = ahead.recall(w)
    if out is None:
        with torch.no_grad():
            out = weighted_sum(graph, _known(x, w, backend)[0], weight, backend=backend)
    places = _places(w)
    if places is not None and hasattr(kernel, "sums_at"):
        values = vars(w.grad_fn)["values"]
        return _KnownSumAt.apply(ahead.graph, values, ahead.values, out, places, kernel)
    return _KnownSum.apply(ahead.graph, w, ahead.values, out, backend)


def convolve(
    block: Block,
    x: Tensor | Features,
    w: Tensor,
    weight: Tensor,
    v: Tensor,
    *,
    following: tuple[Block, Tensor] | None = None,
    fixed: bool = False,
    backend: str = "auto",
) -> Tensor:
    """`relu(A(weight) (x @ w)) @ v` [R, C] for `w` [F, d], `weight` [E] and `v` [d, C].

    `following` are the block of the next training step and the weights of its edges; with `fixed`
    they are the same tensor in every step. What the `propagate` of that step asks for is then kept,
    and, where no gradients are asked for, `x` is sparse and C is small, no other N × d numbers are
    written.
    """
    kernel, (block, own) = _kernel(backend, w), block.reading(x)
    one = not torch.is_grad_enabled() and not vmap.inside() and v.size(1) < NARROW
    if one and following and isinstance(own, Features) and hasattr(kernel, "convolve"):
        part, norm = following
        assert isinstance(x, Features)
        places, read = block.places(part), part.of_features(x)
        if places is not None and read.places is not None:
            ahead = part.graph.ahead(norm, _read(read, w)) if fixed else None
            made = (read.places, read.shape[0]) if ahead is None else None
            kept = (places, part.graph.num_nodes) if ahead is not None or not fixed else None
            how = block.graph, _read(own, w), w, weight, v
            out, early, late = kernel.convolve(*how, made, kept)
            if ahead is not None:
                ahead.remember(w, late)
            else:
                read.remember(w, early, None if late is None else Sum(part.graph, norm, late))
            return out
    h = product(own, w, backend=backend)
    return relu_product(block.graph, h, weight, v, backend=backend)


def relu_product(
    graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor, *, backend: str = "auto"
) -> Tensor:
    """`relu(A(weight) @ x) @ w` [N, C] for `x` [N, d], `weight` [E] and `w` [d, C].

    Where no gradients are asked for and C is small, in one pass that never writes N × d numbers.
    """
    _check(graph, x, weight)
    kernel = _kernel(backend, x)
    one = not torch.is_grad_enabled() and not vmap.inside() and w.size(1) < NARROW
    if one and hasattr(kernel, "relu_product"):
        return kernel.relu_product(graph, x, weight, w)
    return product(weighted_sum(graph, x, weight, backend=backend).relu(), w, backend=backend)


def _known(x: Features, w: Tensor, backend: str) -> tuple[Tensor, Sum | None]:
    """`x @ w` without gradients, and a sum of it: what an evaluation has left, if it has."""
    with torch.no_grad():
        known, last = x.recall(w)
        if known is None:
            return weighted_sum(x.graph, w, x.values, backend=backend), None
        return known, last


def _read(x: Features, w: Tensor) -> Features:
    """`x` without the features that `w` is known not to read."""
    places = _places(w)
    return x if places is None else places.read(x)


def _places(w: Tensor) -> Places | None:
    """Where `w` may differ from 0, if it comes from `spread`."""
    places = getattr(w.grad_fn, "places", None)
    return places if isinstance(places, Places) else None


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


Primitive = Callable[[Graph, Tensor, Tensor | None], Tensor]


def _primitive(backend: str, x: Tensor) -> Primitive:
    """The product `A(weight) @ x` for `x` [N, d] and `weight` [E] or None."""
    return _kernel(backend, x).weighted_sum


def _kernel(backend: str, x: Tensor) -> Any:
    """The module of a backend.

    Raises:
        ValueError: there is no such backend, or what it needs is not installed or not given.
    """
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {', '.join(BACKENDS)}, got {backend!r}")
    name = _fastest(x) if backend == "auto" else backend
    if name == "numba" and (x.device.type != "cpu" or x.dtype not in EXACT):
        raise ValueError(f"`backend` 'numba' needs float32 or float64 on the CPU, "
                         f"got {x.dtype} on {x.device}")  # fmt: skip
    if name == "triton" and not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"`backend` 'triton' needs a CUDA device, got {x.device}")
    try:
        return import_module(f"graphlth.sparse.kernels.{name}")
    except ImportError as error:
        needs = NEEDS.get(name, name)
        raise ValueError(f"`backend` {name!r} needs {needs}, which is not installed") from error


def _fastest(x: Tensor) -> str:
    exact = x.dtype in EXACT
    if x.is_cuda:
        has_triton = "triton" in sys.modules or find_spec("triton")
        return "triton" if has_triton else "sparse" if exact else "reference"
    if exact and x.device.type == "cpu":
        return "numba"
    return "scatter" if find_spec("torch_scatter") else "reference"


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Places, zeros: Tensor) -> Tensor:
        ctx.places = places  # which `product` looks for
        put(values, places, zeros)
        return zeros.view_as(zeros)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        kernel = _kernel("auto", grad)
        if hasattr(kernel, "take"):
            return kernel.take(grad, ctx.places), None, None
        return grad.reshape(-1).index_select(0, ctx.places.index), None, None


class _KnownSum(torch.autograd.Function):
    """`weighted_sum(graph, x, weight)` whose value is known already; differentiable in `x`."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Tensor, weight: Tensor, known: Tensor, backend: str
    ) -> Tensor:
        ctx.graph, ctx.weight, ctx.backend = graph, weight, backend
        return known.view_as(known)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x = weighted_sum(ctx.graph.reversed, grad, ctx.weight, backend=ctx.backend)
        return None, grad_x, None, None, None


class _KnownSumAt(torch.autograd.Function):
    """The same of the `values` of `spread`: their gradient alone is computed."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, values: Tensor, weight: Tensor, known: Tensor, places: Places,
        kernel: Any,
    ) -> Tensor:  # fmt: skip
        ctx.graph, ctx.weight, ctx.places, ctx.kernel = graph, weight, places, kernel
        return known.view_as(known)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_values = ctx.kernel.sums_at(ctx.graph.by_source, grad, ctx.weight, ctx.places)
        return None, to_values, None, None, None, None


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
