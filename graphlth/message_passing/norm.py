"""The normalised adjacency of GCN and its kin under a mask, made once for all layers of a pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils.num_nodes import maybe_num_nodes

from graphlth.message_passing.call import GraphCache
from graphlth.message_passing.tracking import EdgeTracker
from graphlth.sparse.composition import gather
from graphlth.sparse.graph import Graph

Norm = Callable[..., Any]


class Looped(NamedTuple):
    """A graph with a loop for every node: its own edges but for loops, then a loop for each."""

    edge_index: Tensor  # [2, E' + N]
    edges: Tensor | None  # [E'] which edges of the graph these are; None: all
    loops: Tensor | None  # [L] which edges of the graph were loops, of different nodes


def masked_gcn_norm(tracker: EdgeTracker, cache: GraphCache, alone: Callable[[], bool]) -> Norm:
    """PyG's `gcn_norm`, whose degrees are those of the masked graph.

    The weights that come back, `d_s^-½ a_e d_t^-½`, are not masked: what is sent by them is.
    Layers that ask for the same are given the same. Of loops of the data, several at a node, and
    where the mask is not `alone`, PyG's own is computed under the mask.
    """
    known: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def norm(
        edge_index: Any, edge_weight: Any = None, num_nodes: int | None = None,
        improved: bool = False, add_self_loops: bool = True, flow: str = "source_to_target",
        dtype: torch.dtype | None = None,
    ) -> Any:  # fmt: skip
        rest = num_nodes, improved, add_self_loops, flow, dtype
        m = tracker.column_weight(edge_index) if alone() else None
        if m is None:
            return gcn_norm(edge_index, edge_weight, *rest)
        changes = edge_index._version, None if edge_weight is None else edge_weight._version
        key = id(edge_index), id(edge_weight), changes, torch.is_grad_enabled(), *rest
        if key not in known:
            with torch._C.DisableTorchFunction():
                found = _normalise(tracker, cache, m, edge_index, edge_weight, *rest)
            if found is None:
                return gcn_norm(edge_index, edge_weight, *rest)
            known[key] = *found, edge_index, edge_weight  # which keeps them, and so their names
        return known[key][:2]

    return norm


def _normalise(
    tracker: EdgeTracker, cache: GraphCache, m: Tensor, edge_index: Tensor, a: Tensor | None,
    num_nodes: int | None, improved: bool, add_self_loops: bool, flow: str,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    n, fill = maybe_num_nodes(edge_index, num_nodes), 2.0 if improved else 1.0
    if add_self_loops:
        graph = cache.graph(edge_index, (n, n))
        looped = graph.constant("one loop each", lambda: _add_loops(graph))
        if looped is None or looped.edge_index._version:  # changed by who was given it
            return None
        edge_index, m, a = _with_loops(tracker, looped, edge_index, m, a, fill)
    a = torch.ones(m.shape, dtype=dtype, device=m.device) if a is None else a
    row, column = edge_index[0], edge_index[1]
    counted = column if flow == "source_to_target" else row
    degree = a.new_zeros(n).index_add(0, counted, m.to(a.dtype) * a)  # Σ_e m_e a_e
    none = degree == 0
    root = degree.masked_fill(none, 1).pow(-0.5).masked_fill(none, 0)
    return edge_index, gather(root, row) * a * gather(root, column)


def _add_loops(graph: Graph) -> Looped | None:
    """`graph` with a loop for every node; None if one has several loops."""
    row, column = graph.edge_index
    is_loop = row == column
    every = torch.arange(graph.num_nodes, device=row.device).expand(2, -1)
    if not bool(is_loop.any()):
        return Looped(torch.cat([graph.edge_index, every], 1), None, None)
    edges, loops = (~is_loop).nonzero().view(-1), is_loop.nonzero().view(-1)
    if len(row[loops].unique()) < len(loops):
        return None
    return Looped(torch.cat([graph.edge_index[:, edges], every], 1), edges, loops)


def _with_loops(
    tracker: EdgeTracker, looped: Looped, edge_index: Tensor, m: Tensor, a: Tensor | None,
    fill: float,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """The edges with a loop for every node, their mask and their own weights.

    A loop of the data has the weight `fill + m (a - fill)`: with the mask 0 it is as if added.
    """
    whole, edges, loops = looped
    ids = tracker.ids(edge_index)
    assert ids is not None
    n = whole.size(1) - (m.numel() if edges is None else edges.numel())
    if a is not None:
        a = a.reshape(-1)
        own = a.new_full((n,), fill)
        if loops is not None:
            m_loop, a_loop = gather(m, loops).to(a.dtype), gather(a, loops)
            own = own.index_add(0, edge_index[0][loops], m_loop * (a_loop - fill))
        a = torch.cat([a if edges is None else gather(a, edges), own])
    kept, m = (ids[0], m) if edges is None else (ids[0][edges], gather(m, edges))
    m = torch.cat([m, m.new_ones(n)])
    tracker.follow(whole, torch.cat([kept, kept.new_zeros(n)]).expand(2, -1), m)
    return whole, m, a
