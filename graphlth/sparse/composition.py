"""Operations over edges, composed of weighted sums: what a backend without kernels of its own does.

Each takes `weighted_sum(graph, x, weight)` [N, ...] for `x` [N, d] or [N, heads, d] and weights [E]
or [E, heads] or None, and checks no arguments.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from graphlth.sparse.graph import Graph

WeightedSum = Callable[[Graph, Tensor, Tensor | None], Tensor]


def sum_over_edges(
    primitive: WeightedSum, graph: Graph, x: Tensor, weight: Tensor | None
) -> Tensor:
    """The sum for any number of heads, from a `primitive` for `x` [N, d] and weights [E]."""
    if x.dim() == 2:
        return primitive(graph, x, weight)
    if weight is not None and weight.dim() == 2:
        heads = graph.heads(weight.size(1))
        out = primitive(heads, x.reshape(-1, x.size(-1)), weight.reshape(-1))
    else:
        out = primitive(graph, x.reshape(x.size(0), -1), weight)
    return out.view(graph.num_nodes, *x.shape[1:])


def degree(
    weighted_sum: WeightedSum, graph: Graph, weight: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """`Σ_e w_e` over the edges into each node: [N], or [N, heads] for weights [E, heads]."""
    shape = (graph.num_sources, 1) if weight is None else (graph.num_sources, *weight.shape[1:], 1)
    ones = torch.ones(shape, dtype=dtype, device=graph.device)
    return weighted_sum(graph, ones, weight).squeeze(-1)


def edge_softmax(
    weighted_sum: WeightedSum, graph: Graph, logits: Tensor, weight: Tensor | None
) -> Tensor:
    """`w_e exp(l_e) / Σ_e' w_e' exp(l_e')` [E] or [E, heads] over the edges into the same node."""
    if logits.dim() == 2:
        heads = logits.size(1)
        weight = weight if weight is None or weight.dim() == 2 else weight.unsqueeze(1)
        flat = None if weight is None else weight.expand(-1, heads).reshape(-1)
        alpha = edge_softmax(weighted_sum, graph.heads(heads), logits.reshape(-1), flat)
        return alpha.view_as(logits)
    target = graph.edge_index[1]
    present = logits if weight is None else logits.masked_fill(weight <= 0, -torch.inf)
    top = logits.new_full((graph.num_nodes,), -torch.inf)
    top = top.scatter_reduce(0, target, present.detach(), "amax")
    top = top.masked_fill(top == -torch.inf, 0)  # no edge left
    # Only an absent edge can exceed the top; its bound keeps the gradient of its weight finite.
    share = (logits - top[target]).clamp(max=30).exp()
    share = share if weight is None else share * weight
    total = degree(weighted_sum, graph, share, share.dtype)
    return share / torch.where(total > 0, total, 1)[target]


def attention(
    weighted_sum: WeightedSum, graph: Graph, x: Tensor, sent: Tensor, received: Tensor,
    weight: Tensor | None, keep: Tensor | None, slope: float,
) -> Tensor:  # fmt: skip
    """`out_i = Σ_e k_e α_e x_j` with `α_e ∝ w_e exp(LeakyReLU(s_j + r_i))`."""
    source, target = graph.edge_index
    logits = leaky_relu(sent[source] + received[target], slope)  # [E, heads]
    alpha = edge_softmax(weighted_sum, graph, logits, weight)
    return weighted_sum(graph, x, alpha if keep is None else keep * alpha)


def dynamic_attention(
    weighted_sum: WeightedSum, graph: Graph, x: Tensor, received: Tensor, a: Tensor,
    weight: Tensor | None, keep: Tensor | None, slope: float,
) -> Tensor:  # fmt: skip
    """`out_i = Σ_e k_e α_e x_j` with `α_e ∝ w_e exp(aᵀ LeakyReLU(x_j + r_i))`."""
    source, target = graph.edge_index
    z = leaky_relu(gather(x, source) + gather(received, target), slope)  # [E, heads, d]
    alpha = edge_softmax(weighted_sum, graph, (z * a).sum(-1), weight)
    return weighted_sum(graph, x, alpha if keep is None else keep * alpha)


def normalise(weighted_sum: WeightedSum, graph: Graph, weight: Tensor, side: str) -> Tensor:
    """`d_s^-½ w_e d_t^-½` [E]; edges after those that `weight` has count once."""
    rest = graph.num_edges - weight.size(0)
    w = torch.cat([weight, weight.new_ones(rest)]) if rest else weight
    deg = degree(weighted_sum, graph if side == "in" else graph.reverse, w, w.dtype)
    root = torch.where(deg > 0, deg.clamp(min=1e-12).rsqrt(), 0)
    source, target = graph.edge_index
    return gather(root, source) * w * gather(root, target)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]`, whose gradient is summed in a fixed order: on the CPU without sorting."""
    return values.index_select(0, index) if values.device.type == "cpu" else values[index]
