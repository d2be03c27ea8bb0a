"""Which masked edge every column of a tensor is, however it was derived from an edge_index.

A tensor that holds ends of edges is followed by a second one of the same shape, its ids: which
edge each of its numbers belongs to; 0 is no masked edge, such as a loop that a layer adds. What a
model does with the first, such as taking columns, sorting or joining, is done with the second.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import local
from typing import Any, Self
from weakref import ref

import torch
from torch import Tensor

from graphlth.message_passing.cache import GraphCache


def is_edge_index(edge_index: object) -> bool:
    """Whether it is a plain, dense tensor, and neither an adjacency matrix nor a subclass."""
    return type(edge_index) is Tensor and edge_index.layout == torch.strided


def describe_edges(edges: object) -> str:
    """What edges are given as, for an error."""
    is_sparse = type(edges) is Tensor and edges.layout != torch.strided
    return "a sparse tensor" if is_sparse else type(edges).__name__


EdgeWeights = Sequence[tuple[Tensor, Tensor]]  # edge_index [2, E] and the weight [E] of each column


class WeakIds:
    """A value for each of some tensors, by identity, while they live."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[ref[Tensor], Any]] = {}

    def get(self, tensor: object) -> Any:
        """The value of `tensor`; None without."""
        entry = self._entries.get(id(tensor))
        return None if entry is None or entry[0]() is not tensor else entry[1]

    def set(self, tensor: Tensor, value: Any) -> None:
        """Give `tensor` a value."""
        number, entries = id(tensor), self._entries
        entries[number] = ref(tensor, lambda _: entries.pop(number, None)), value

    def __len__(self) -> int:
        return len(self._entries)


class EdgeTracker:
    """The ids of tensors, and the weights of edges by id.

    Args:
        weights: pairs of an edge_index [2, E] and the weight [E] of each of its columns.
        cache: the graphs of earlier passes; None: there are none.
    """

    def __init__(self, weights: EdgeWeights, cache: GraphCache | None = None) -> None:
        self.graphs = GraphCache() if cache is None else cache
        self.has_cache = cache is not None
        self._ids, self.sums = WeakIds(), WeakIds()
        self._bases: list[tuple[Tensor, Tensor, Tensor]] = []  # edge_index, weight, ids
        self._gathers: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        self._table: Tensor | None = None
        self.norms: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # of this pass, as GCN's
        self.called_with: Tensor | None = None  # edge_index of the operator that is running
        self.norm_weight: Tensor | None = None  # [E'] of the rows that a batch norm is given
        count = 1
        for edge_index, weight in weights:
            size = edge_index.size(1)
            ids = torch.arange(count, count + size, device=edge_index.device).expand(2, size)
            self._bases.append((edge_index, weight, ids))
            self._ids.set(edge_index, ids)
            count += size

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: a model that is copied inside its own forward is masked by the same weights."""
        return self

    def ids(self, tensor: object) -> Tensor | None:
        """The ids of `tensor`, in its shape; None if it holds no ends of masked edges."""
        found: Tensor | None = self._ids.get(tensor)
        return found

    def follow(self, tensor: Tensor, ids: Tensor, weight: Tensor | None = None) -> None:
        """Let `tensor` have `ids`, of its shape.

        With the `weight` of each column if it is known: then `tensor` has two equal rows of ids.
        """
        self._ids.set(tensor, ids)
        if weight is not None:
            row = ids[0]
            self._gathers[row.data_ptr(), row.shape, row.stride()] = row, weight

    def weight(self, tensor: object) -> Tensor | None:
        """The weight of the edge of each number in `tensor`; None without ids.

        A dimension along which ids are only repeated has size 1.
        """
        ids = self.ids(tensor)
        return None if ids is None else self._weight_of(ids)

    def column_weight(self, edge_index: Tensor) -> Tensor | None:
        """The weight [E'] of each column of an edge_index [2, E']; None without ids."""
        ids = self.ids(edge_index)
        return None if ids is None else self._weight_of(ids[0])

    def _weight_of(self, ids: Tensor) -> Tensor:
        for dim, stride in enumerate(ids.stride()):
            if stride == 0 and ids.size(dim) > 1:
                ids = ids.narrow(dim, 0, 1)
        key = ids.data_ptr(), ids.shape, ids.stride()
        if key not in self._gathers:  # ids are kept with it, so their memory stays theirs
            with torch.enable_grad():  # for later passes, too
                self._gathers[key] = ids, self._gather(ids)
        return self._gathers[key][1]

    def _gather(self, ids: Tensor) -> Tensor:
        for _, weight, whole in self._bases:
            if ids.numel() == len(weight) and ids.data_ptr() == whole.data_ptr():
                return weight.view(ids.shape)
        if self._table is None:
            weights = [weight for _, weight, _ in self._bases]
            self._table = torch.cat([weights[0].new_ones(1), *weights])
        return self._table.index_select(0, ids.reshape(-1)).view(ids.shape)

    def resolve(self, edge_index: Tensor) -> None:
        """Find the ids of an edge_index [2, E'] that has come by unknown ways.

        It may be a view of the same memory as one that is known. Else its edges are known by
        their ends, if no edge occurs twice in what is masked. What has none of them stays so, also
        with the loops that the layer adds.
        """
        if self.ids(edge_index) is not None:
            return
        for number, (known, _, ids) in enumerate(self._bases):
            if _is_same_memory(known, edge_index):
                return self.follow(edge_index, ids)
            if (found := self._find(number, edge_index)) is not None:
                return self.follow(edge_index, found.expand(2, -1))
        self.follow(edge_index, torch.zeros_like(edge_index[0], dtype=torch.long).expand(2, -1))

    def _find(self, number: int, edge_index: Tensor) -> Tensor | None:
        """The ids of the edges of `edge_index` with the same ends; None if none has."""
        known, _, ids = self._bases[number]
        if not known.numel() or not edge_index.numel() or known.device != edge_index.device:
            return None
        most = int(torch.maximum(known.max(), edge_index.max())) + 1
        keys, order = (known[0].long() * most + known[1]).sort()
        if bool((keys[1:] == keys[:-1]).any()):
            return None
        wanted = edge_index[0].long() * most + edge_index[1]
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        found = torch.where(keys[place] == wanted, ids[0][order[place]], 0)
        return found if bool(found.any()) else None


def _is_same_memory(known: Tensor, other: Tensor) -> bool:
    return (
        known.numel() > 0
        and known.shape == other.shape
        and known.stride() == other.stride()
        and known.dtype == other.dtype
        and known.data_ptr() == other.data_ptr()
    )


class _Active(local):
    trackers: tuple[EdgeTracker, ...] = ()  # of the contexts that this thread is in
    surrogates: tuple[set[str], ...] = ()  # what is to hear of reductions without weights


_ACTIVE = _Active()


@contextmanager
def activate(tracker: EdgeTracker) -> Iterator[None]:
    """Within it, `edge_weight` knows the edges of `tracker`, too."""
    outer = _ACTIVE.trackers
    _ACTIVE.trackers = (*outer, tracker)
    try:
        yield
    finally:
        _ACTIVE.trackers = outer


@contextmanager
def collect_surrogates() -> Iterator[set[str]]:
    """The names of the reductions over masked edges, within it, that weights mean little to."""
    outer, found = _ACTIVE.surrogates, set[str]()
    _ACTIVE.surrogates = (*outer, found)
    try:
        yield found
    finally:
        _ACTIVE.surrogates = outer


def name_surrogate(reduction: str) -> None:
    """Tell `collect_surrogates` of a reduction that weights between 0 and 1 mean little to."""
    for found in _ACTIVE.surrogates:
        found.add(reduction)


def is_masking() -> bool:
    """Whether this thread is in a context."""
    return bool(_ACTIVE.trackers)


def only_tracker() -> EdgeTracker | None:
    """What knows the edges of the context that this thread is in; None: of none or several."""
    return _ACTIVE.trackers[0] if len(_ACTIVE.trackers) == 1 else None


def edge_weight(index: object) -> Tensor | None:
    """The product of the weights that all contexts give the edges of `index`; None: of none."""
    found = None
    for tracker in _ACTIVE.trackers:
        weight = tracker.weight(index)
        if weight is not None:
            found = weight if found is None else found * weight
    return found


Rule = Callable[[EdgeTracker, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
