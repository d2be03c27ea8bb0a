"""Operators with a kernel of our own behind them: what `propagate` gives, without the messages.

Each function computes the same as the operator's own message passing under a mask, or says with
None that it does not know this case. Shapes: N targets, M sources, E edges as the call has them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import conv as pyg

from graphlth.message_passing.call import Call
from graphlth.message_passing.support import operator_support
from graphlth.sparse.backend import EXACT
from graphlth.sparse.composition import gather
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import attention, dynamic_attention, weighted_sum
from graphlth.sparse.torch_dropout import dropout

Kernel = Callable[[Any, Call], Any]


class Ends(NamedTuple):
    """What the edges of a call connect."""

    graph: Graph
    source: Tensor  # [M, ...]
    target: Tensor | None  # [N, ...]


class Scores(NamedTuple):
    """What attention is made of, in place of its values at the edges."""

    ends: Ends
    keep: Tensor | None  # [E, heads] what dropout multiplies it by
    weight: Tensor | None  # [E]


def sum_neighbours(conv: Any, call: Call) -> Tensor | None:
    """`Σ_e m_e a_e x_j` [N, d], or `Σ_e m_e a_e x_j / Σ_e m_e` if the operator takes the mean.

    a [E] is the operator's own `edge_weight`, if it has any.
    """
    ends, a = _ends(conv, call, call.kwargs["x"]), call.kwargs.get("edge_weight")
    if ends is None or conv.aggr not in ("add", "sum", "mean") or (a is not None and a.dim() != 1):
        return None
    weight = call.weight
    if conv.aggr == "mean":
        weight = _divide_by_total(ends, weight)
    if a is not None:
        weight = a if weight is None else a * weight
    return weighted_sum(ends.graph, ends.source, weight)


def attend(conv: Any, call: Call) -> Tensor | None:
    """`Σ_e k_e α_e x_j` [N, heads, d] of GAT, if its `edge_updater` gave `Scores`."""
    scores = call.kwargs["alpha"]
    if not isinstance(scores, Scores):
        return None
    (graph, sent, received), keep, weight = scores
    assert received is not None
    x, slope = call.kwargs["x"][0], conv.negative_slope
    return attention(graph, x, sent, received, weight, keep, slope=slope)


def attend_dynamically(conv: Any, call: Call) -> Tensor | None:
    """`Σ_e k_e α_e x_j` [N, heads, d] of GATv2, if its `edge_updater` gave `Scores`."""
    scores = call.kwargs["alpha"]
    if not isinstance(scores, Scores):
        return None
    (graph, x, received), keep, weight = scores
    assert received is not None
    slope = conv.negative_slope
    return dynamic_attention(graph, x, received, conv.att[0], weight, keep, slope=slope)


def score_ends(conv: Any, call: Call) -> Scores | None:
    """The scores [·, heads] of both ends of GAT's edges, for `attend`."""
    with_attributes = conv.lin_edge is not None and call.kwargs["edge_attr"] is not None
    return None if with_attributes else _scores(conv, call, call.kwargs["alpha"])


def score_pairs(conv: Any, call: Call) -> Scores | None:
    """The features [·, heads, d] of both ends of GATv2's edges, for `attend_dynamically`."""
    return None if call.kwargs["edge_attr"] is not None else _scores(conv, call, call.kwargs["x"])


def _scores(conv: Any, call: Call, values: Any) -> Scores | None:
    plain = conv.aggr in ("add", "sum") and 0 <= conv.negative_slope <= 1
    ends = _ends(conv, call, values) if plain and not call.returns_attention else None
    if ends is None or ends.target is None:
        return None
    keep = None
    if conv.training and conv.dropout > 0:  # of the same random numbers as PyG's own
        keep = dropout(ends.source.new_ones(ends.graph.num_edges, conv.heads), conv.dropout)
    return Scores(ends, keep, call.weight)


def _ends(conv: Any, call: Call, values: Any) -> Ends | None:
    """The values of sources and targets of a call; None: not for a kernel."""
    source, target = (values, values) if isinstance(values, Tensor) else values  # by any flow
    if source is None or source.dtype not in EXACT or (conv.node_dim == -2 and source.dim() != 2):
        return None
    graph = call.graph()
    number = graph.num_nodes if target is None else target.size(0)
    if graph.size != (source.size(0), number):
        return None  # PyG refuses it, in its own words
    return Ends(graph, source, target)


def _divide_by_total(ends: Ends, weight: Tensor | None) -> Tensor:
    """`w_e / Σ_e' w_e'` [E] over the edges into the same node; 0 where these sum to 0."""
    graph, x, _ = ends
    w = x.new_ones(graph.num_edges) if weight is None else weight.to(x.dtype)
    total = w.new_zeros(graph.num_nodes).index_add(0, graph.edge_index[1], w)
    return w / gather(torch.where(total > 0, total, 1), graph.edge_index[1])


# Never of a class derived from one of these: it may have messages of its own.
KERNELS: Mapping[type, Kernel] = MappingProxyType(
    {
        **dict.fromkeys(
            (pyg.GCNConv, pyg.SAGEConv, pyg.GINConv, pyg.GraphConv, pyg.TAGConv, pyg.SGConv,
             pyg.APPNP, pyg.GCN2Conv, pyg.SSGConv, pyg.LGConv, pyg.MixHopConv,
             pyg.GatedGraphConv),
            sum_neighbours,
        ),
        pyg.GATConv: attend,
        pyg.GATv2Conv: attend_dynamically,
    }
)  # fmt: skip
EDGE_KERNELS: Mapping[type, Kernel] = MappingProxyType(
    {pyg.GATConv: score_ends, pyg.GATv2Conv: score_pairs}
)


def find_kernel(kernels: Mapping[type, Kernel], conv: nn.Module) -> Kernel | None:
    """What stands in for the message passing of `conv`, if nothing else looks into it.

    None where its attribute `backend` is "reference": messages can be differentiated twice.
    """
    changed = vars(conv)
    if changed.get("backend") == "reference":
        return None
    hooked = any(hooks for name, hooks in changed.items() if name.endswith(HOOKS))
    own = changed.keys() & {"message", "aggregate", "update", "edge_update", "propagate"}
    return None if hooked or own or changed.get("_explain") else kernels.get(type(conv))


def has_kernels(model: nn.Module) -> bool:
    """Whether all operators of `model` have a kernel, and there are any."""
    found = [find_kernel(KERNELS, m) for m in model.modules() if isinstance(m, pyg.MessagePassing)]
    refused = any(operator_support(m).kind == "refused" for m in model.modules())
    return bool(found) and None not in found and not refused


PARTS = "propagate", "message", "aggregate", "edge_update"
HOOKS = tuple(f"_{part}_forward_{end}" for part in PARTS for end in ("hooks", "pre_hooks"))
