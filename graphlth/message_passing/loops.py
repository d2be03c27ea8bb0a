"""Loops that layers remove and add, found once for all passes over the same edge_index.

The edges are the same tensors in every pass, and followed. Where edges have attributes, or in more
than one context, PyG's own functions are called.
"""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops, remove_self_loops

from graphlth.message_passing.cache import Split
from graphlth.message_passing.tracking import EdgeTracker, only_tracker


def remove_masked_loops(edge_index: Any, edge_attr: Any = None) -> Any:
    """PyG's `remove_self_loops`."""
    tracker = _tracker(edge_index, edge_attr)
    with torch._C.DisableTorchFunction():
        split = None if tracker is None else split_edges(tracker, edge_index)
    return remove_self_loops(edge_index, edge_attr) if split is None else (split.rest, None)


def add_loops_to_masked(
    edge_index: Any, edge_attr: Any = None, fill_value: Any = None, num_nodes: Any = None
) -> Any:
    """PyG's `add_self_loops`."""
    tracker = _tracker(edge_index, edge_attr) if type(num_nodes) is int else None
    with torch._C.DisableTorchFunction():
        whole = None if tracker is None else extend_edges(tracker, edge_index, num_nodes)
    if whole is None:
        return add_self_loops(edge_index, edge_attr, fill_value, num_nodes)
    return whole, None


def extend_edges(tracker: EdgeTracker, edge_index: Tensor, num_nodes: int) -> Tensor | None:
    """The edges and a loop of weight 1 for each node; None if somebody has changed them."""
    whole = tracker.graphs.loops.extend(edge_index, num_nodes)
    if whole._version:
        return None
    if tracker.ids(whole) is None:
        ids, m = tracker.ids(edge_index), tracker.column_weight(edge_index)
        assert ids is not None
        assert m is not None
        ids = torch.cat([ids[0], ids.new_zeros(num_nodes)]).expand(2, -1)
        with torch.enable_grad():  # for later passes, too
            tracker.follow(whole, ids, torch.cat([m, m.new_ones(num_nodes)]))
    return whole


def split_edges(tracker: EdgeTracker, edge_index: Tensor) -> Split | None:
    """The edges without loops, followed; None if somebody has changed them."""
    split = tracker.graphs.loops.split(edge_index)
    if split.rest._version:
        return None
    if tracker.ids(split.rest) is None:
        ids = tracker.ids(edge_index)
        assert ids is not None
        kept = ids if split.edges is None else ids[0][split.edges].expand(2, -1)
        tracker.follow(split.rest, kept)
    return split


def _tracker(edge_index: Any, edge_attr: Any) -> EdgeTracker | None:
    tracker = only_tracker()
    known = tracker is not None and edge_attr is None and tracker.ids(edge_index) is not None
    return tracker if known else None
