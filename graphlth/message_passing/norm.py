"""The normalised adjacency of GCN and its kin under a mask, made once for all layers of a pass."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils.num_nodes import maybe_num_nodes

from graphlth.message_passing.loops import extend_edges, split_edges
from graphlth.message_passing.reductions import LOW
from graphlth.message_passing.tracking import EdgeTracker, only_tracker
from graphlth.sparse.composition import gather


def masked_gcn_norm(
    edge_index: Any, edge_weight: Any = None, num_nodes: int | None = None,
    improved: bool = False, add_self_loops: bool = True, flow: str = "source_to_target",
    dtype: torch.dtype | None = None,
) -> Any:  # fmt: skip
    """PyG's `gcn_norm`, whose degrees are those of the masked graph.

    The weights that come back, `d_s^-½ a_e d_t^-½`, are not masked: what is sent by them is.
    Layers that ask for the same are given the same. Of loops of the data, several at a node, and
    in more than one context, PyG's own is computed under the mask.
    """
    rest = num_nodes, improved, add_self_loops, flow, dtype
    tracker = only_tracker()
    m = None if tracker is None else tracker.column_weight(edge_index)
    if tracker is None or m is None:
        return gcn_norm(edge_index, edge_weight, *rest)
    changes = edge_index._version, None if edge_weight is None else edge_weight._version
    key = id(edge_index), id(edge_weight), changes, torch.is_grad_enabled(), *rest
    if key not in tracker.norms:
        with torch._C.DisableTorchFunction():
            found = _normalise(tracker, m, edge_index, edge_weight, *rest)
        if found is None:
            return gcn_norm(edge_index, edge_weight, *rest)
        tracker.norms[key] = *found, edge_index, edge_weight  # which keeps them, and their ids
    return tracker.norms[key][:2]


def _normalise(
    tracker: EdgeTracker, m: Tensor, edge_index: Tensor, a: Tensor | None,
    num_nodes: int | None, improved: bool, add_self_loops: bool, flow: str,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    n, fill = maybe_num_nodes(edge_index, num_nodes), 2.0 if improved else 1.0
    if add_self_loops:
        found = _with_loops(tracker, edge_index, m, a, n, fill)
        if found is None:
            return None
        edge_index, a = found
        followed = tracker.column_weight(edge_index)
        assert followed is not None
        m = followed
    a = torch.ones(m.shape, dtype=dtype, device=m.device) if a is None else a
    row, column = edge_index[0], edge_index[1]
    counted = column if flow == "source_to_target" else row
    wide = torch.float32 if a.dtype in LOW else a.dtype  # above 256, bfloat16 cannot add 1
    degree = a.new_zeros(n, dtype=wide).index_add(0, counted, m.to(wide) * a)  # Σ_e m_e a_e
    none = degree == 0
    root = degree.masked_fill(none, 1).pow(-0.5).masked_fill(none, 0)
    return edge_index, (gather(root, row) * a * gather(root, column)).to(a.dtype)


def _with_loops(
    tracker: EdgeTracker, edge_index: Tensor, m: Tensor, a: Tensor | None, n: int, fill: float
) -> tuple[Tensor, Tensor | None] | None:
    """The edges with a loop for each of n nodes, and their own weights; None: not for this way.

    A loop of the data has the weight `fill + m (a - fill)`: with the mask 0 it is as if added.
    """
    split = split_edges(tracker, edge_index)
    if split is None or not split.is_single:
        return None
    whole = extend_edges(tracker, split.rest, n)
    if whole is None or a is None:
        return None if whole is None else (whole, None)
    a = a.reshape(-1)
    own = a.new_full((n,), fill)
    if len(split.loops):
        m_loop, a_loop = gather(m, split.loops).to(a.dtype), gather(a, split.loops)
        own = own.index_add(0, edge_index[0][split.loops], m_loop * (a_loop - fill))
    return whole, torch.cat([a if split.edges is None else gather(a, split.edges), own])
