"""The forward pass of a model of a user's own on what it names of a PyG `Data`.

Its operators multiply by the edge masks themselves, inside `masked_edges`: the model knows nothing
of them. A model that takes `edge_weight` is given the masks there instead, as `forward` says.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphlth.arguments import own_arguments, reads_weights
from graphlth.edge_masks import AnyEdgeMask, relation_key
from graphlth.masks import Masks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.composition import gather
from graphlth.sparse.memo import Memo
from graphlth.sparse.torch_dropout import DropoutMode
from graphlth.task import Batch

LARGE = 1 << 13  # edges, from which messages take much time and memory
_PADDED: Memo[Tensor | None] = Memo()
_GRAPHS: Memo[Any] = Memo()  # of each training, those that operators are called with


def call_own_model(
    model: nn.Module, batch: Batch, weights: Masks, edges: AnyEdgeMask | None,
    cache: StepCache | None = None,
) -> Any:  # fmt: skip
    """What `model` returns of `batch.data` with `weights`, its operators under the mask `edges`."""
    if pairs := edge_weights(model, batch, edges):
        from graphlth.message_passing import GraphCache, masked_edges  # loads PyG

        graphs = None if cache is None else _GRAPHS(cache, GraphCache)
        with masked_edges(model, pairs, graphs):
            return _call(model, batch, weights)
    return _call(model, batch, weights)


def _call(model: nn.Module, batch: Batch, weights: Masks) -> Any:
    with DropoutMode() if model.training else nullcontext():
        if batch.forward is None:
            return functional_call(model, dict(weights), (), own_arguments(model, batch.data))
        whole = _Adapted(model, batch.forward)
        return functional_call(whole, {f"model.{n}": w for n, w in weights.items()}, (batch.data,))


class _Adapted(nn.Module):
    """A model that is called by a function of the task."""

    def __init__(self, model: nn.Module, call: Callable[[Any, Any], Any]):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, data: Any) -> Any:
        return self.call(self.model, data)


def edge_weights(
    model: nn.Module, batch: Batch, edges: AnyEdgeMask | None
) -> list[tuple[Tensor, Tensor]]:
    """Each edge_index of the data whose edges are weighted, with the weights A ⊙ m [E].

    A is left to a model that reads it. Edges that nothing weighs weigh 1 beside others, from which
    they are then told apart even if both have the same ends; and in a large graph, if the operators
    then compute the same in less time and memory.
    """
    found: list[tuple[Tensor, Tensor | None]] = []
    for key, edge_index, a in _relations(batch):
        m = edges.get(key) if isinstance(edges, Mapping) else edges
        assert m is None or isinstance(m, Tensor)
        own = None if a is None or reads_weights(model, batch) else a.reshape(-1)
        weight = None if m is None else _gather_columns(m, batch.columns[key])
        if own is not None:
            weight = own if weight is None else own * weight
        found.append((edge_index, weight))
    if all(w is None and not _saves_messages(model, edge_index) for edge_index, w in found):
        return []
    return [(edge_index, torch.ones(edge_index.size(1), device=edge_index.device)
             if weight is None else weight) for edge_index, weight in found]  # fmt: skip


def _saves_messages(model: nn.Module, edge_index: Tensor) -> bool:
    """Whether weights of 1 let a model do without the messages of a large graph, E × d numbers."""
    if edge_index.size(1) <= LARGE or "torch_geometric.nn" not in sys.modules:
        return False
    from graphlth.message_passing import has_kernels  # loads PyG

    return has_kernels(model)


def _relations(batch: Batch) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """The key of the mask, the edge_index [2, E] and the weights A [E] of each kind of edges."""
    if not hasattr(batch.data, "edge_types"):
        for key in batch.columns:
            yield key, batch.data.edge_index, batch.data.edge_weight
        return
    for kind in batch.data.edge_types:
        if (key := relation_key(kind)) in batch.columns:
            store = batch.data[kind]
            yield key, store.edge_index, store.get("edge_weight")


def _gather_columns(mask: Tensor, entries: Tensor) -> Tensor:
    """The entry of `mask` that each column reads [E], and 1 where that is −1."""
    index = _PADDED(entries, lambda: _pad(entries, len(mask)))
    if index is None:
        return gather(mask, entries)
    return gather(torch.cat([mask, mask.new_ones(1)]), index)


def _pad(entries: Tensor, place: int) -> Tensor | None:
    """`entries` with `place` for −1; None if there is none."""
    none = entries < 0
    return entries.masked_fill(none, place) if bool(none.any()) else None
