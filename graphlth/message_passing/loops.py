"""Loops that layers remove and add, found once for all passes over the same edge_index."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops, remove_self_loops

from graphlth.message_passing.tracking import EdgeTracker
from graphlth.sparse.memo import Memo


class Split(NamedTuple):
    """The edges of an edge_index [2, E] without its loops."""

    rest: Tensor  # [2, E']
    edges: Tensor | None  # [E'] which of the edges these are; None: all
    loops: Tensor  # [L] which of the edges are loops
    is_single: bool  # whether no node has two of them


class LoopCache:
    """The edges without loops, and with one for every node, of each edge_index, by identity."""

    def __init__(self) -> None:
        self._splits: Memo[Split] = Memo()
        self._sums: dict[int, Memo[Tensor]] = {}

    def split(self, edge_index: Tensor) -> Split:
        """`edge_index` without loops, in memory of its own."""
        return self._splits(edge_index, lambda: _split(edge_index))

    def extend(self, edge_index: Tensor, num_nodes: int) -> Tensor:
        """`edge_index` and, after its edges, a loop for each of `num_nodes` nodes."""
        memo = self._sums.setdefault(num_nodes, Memo())
        return memo(edge_index, lambda: _extend(edge_index, num_nodes))


def _split(edge_index: Tensor) -> Split:
    is_loop = edge_index[0] == edge_index[1]
    edges, loops = (~is_loop).nonzero().view(-1), is_loop.nonzero().view(-1)
    if not len(loops):
        return Split(edge_index.clone(), None, loops, True)
    single = len(edge_index[0][loops].unique()) == len(loops)
    return Split(edge_index[:, edges], edges, loops, single)


def _extend(edge_index: Tensor, num_nodes: int) -> Tensor:
    loops = torch.arange(num_nodes, dtype=edge_index.dtype, device=edge_index.device)
    return torch.cat([edge_index, loops.expand(2, -1)], dim=1)


class MaskedLoops:
    """What PyG's functions of loops make of masked edges: `remove` and `add` stand in for them.

    The edges are the same tensors in every pass, and followed. Where edges have attributes, or the
    mask is not `alone`, PyG's own functions are called.
    """

    def __init__(self, tracker: EdgeTracker, cache: LoopCache, alone: Callable[[], bool]) -> None:
        self._tracker, self._cache, self._alone = tracker, cache, alone

    def remove(self, edge_index: Any, edge_attr: Any = None) -> Any:
        """PyG's `remove_self_loops`."""
        if edge_attr is not None or not self._is_known(edge_index):
            return remove_self_loops(edge_index, edge_attr)
        with torch._C.DisableTorchFunction():
            split = self.split(edge_index)
        return remove_self_loops(edge_index) if split is None else (split.rest, None)

    def add(
        self, edge_index: Any, edge_attr: Any = None, fill_value: Any = None, num_nodes: Any = None
    ) -> Any:
        """PyG's `add_self_loops`."""
        known = edge_attr is None and type(num_nodes) is int and self._is_known(edge_index)
        with torch._C.DisableTorchFunction():
            whole = self.extend(edge_index, num_nodes) if known else None
        if whole is None:
            return add_self_loops(edge_index, edge_attr, fill_value, num_nodes)
        return whole, None

    def extend(self, edge_index: Tensor, num_nodes: int) -> Tensor | None:
        """The edges and a loop of weight 1 for each node; None if somebody has changed them."""
        whole, tracker = self._cache.extend(edge_index, num_nodes), self._tracker
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

    def split(self, edge_index: Tensor) -> Split | None:
        """The edges without loops, followed; None if somebody has changed them."""
        split, tracker = self._cache.split(edge_index), self._tracker
        if split.rest._version:
            return None
        if tracker.ids(split.rest) is None:
            ids = tracker.ids(edge_index)
            assert ids is not None
            kept = ids if split.edges is None else ids[0][split.edges].expand(2, -1)
            tracker.follow(split.rest, kept)
        return split

    def _is_known(self, edge_index: Any) -> bool:
        return self._alone() and self._tracker.ids(edge_index) is not None
