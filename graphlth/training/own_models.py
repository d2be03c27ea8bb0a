"""The forward pass of a model of a user's own on what it names of a PyG `Data`.

Its operators multiply by the edge masks themselves, inside `masked_edges`: the model knows nothing
of them. A model that takes `edge_weight` is given the masks there instead, as `forward` says.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphlth.edge_masks import AnyEdgeMask, relation_key
from graphlth.masks import Masks
from graphlth.model import takes, takes_graph
from graphlth.sparse.composition import gather
from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo
from graphlth.task import Batch

WEIGHTS = ("edge_weight", "edge_weights")
# Models that take `edge_weight` but do not follow it: their operators are masked all the same.
MASKED_INSIDE: WeakSet[nn.Module] = WeakSet()
_PADDED: Memo[Tensor | None] = Memo()


def reads_data(model: nn.Module, batch: Batch) -> bool:
    """Whether `model` is given what it names of `batch.data`, not `(x, edge_index, edge_weight)`.

    A model is given the latter, with the masks in its edge weights, if it takes weights.
    """
    if batch.data is None or takes_graph(model):
        return False
    plain = len(batch.inputs) == 2 and isinstance(batch.inputs[1], Graph)
    return batch.forward is not None or not plain or not takes_weights(model, batch)


def takes_weights(model: nn.Module, batch: Batch) -> bool:
    """Whether the third argument of `model.forward` is a weight for each edge."""
    if model in MASKED_INSIDE:
        return False
    if takes(model, WEIGHTS[0]) or takes(model, WEIGHTS[1]):
        return bool(getattr(model, "supports_edge_weight", True))
    named = positional(model)
    return named is None or (len(named) > 2 and named[2] not in batch.data)


def positional(model: nn.Module) -> tuple[str, ...] | None:
    """The names of the arguments of `model.forward` by place; None: any number without names."""
    kinds = _signature(getattr(model.forward, "__func__", model.forward))
    if any(p.kind is p.VAR_POSITIONAL for p in kinds):
        return None
    bound = inspect.ismethod(model.forward)
    return tuple(p.name for p in kinds if p.kind is not p.VAR_KEYWORD)[bound:]


@lru_cache(maxsize=64)
def _signature(function: Callable[..., object]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def call_own_model(
    model: nn.Module, batch: Batch, weights: Masks, edges: AnyEdgeMask | None
) -> Any:
    """What `model` returns of `batch.data` with `weights`, its operators under the mask `edges`."""
    if edge_weights(model, batch, edges):
        raise ValueError("`model` must take `edge_weight` where edges are masked")
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


def own_arguments(model: nn.Module, data: Any) -> dict[str, Any]:
    """What `model.forward` is given, by name: the attributes of `data` that are called so.

    One that asks for one argument, which is no attribute, is given `data`. What `data` lack is left
    out where it has a default; else the first two arguments are the features and the edges.

    Raises:
        ValueError: it asks for something that `data` lack.
    """
    taken = inspect.signature(model.forward).parameters.values()
    named = [p for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    asked = [p.name for p in named if p.default is p.empty]
    if len(asked) == 1 and (asked[0] in ("data", "batch") or _attribute(data, asked[0]) is None):
        return {asked[0]: data}
    given: dict[str, Any] = {}
    for place, p in enumerate(named):
        value = _attribute(data, p.name)
        if value is None and place < 2 and p.default is p.empty:
            value = _attribute(data, ("x", "edge_index")[place])
        if value is not None and getattr(model, f"supports_{p.name}", True):
            given[p.name] = value
        elif p.default is p.empty and p.name == "batch":
            given[p.name] = None  # of one graph: all nodes are its own
        elif p.default is p.empty:
            raise ValueError(f"`model.forward` asks for {p.name!r}, which the data lack: they have "
                             f"{', '.join(map(str, data.keys()))}; add it to them, or give the "
                             "task forward=lambda model, data: model(...)")  # fmt: skip
    return given


def _attribute(data: Any, name: str) -> Any:
    """What `data` have under `name`; of a heterogeneous graph a dict of it by type, or None."""
    if not hasattr(data, "edge_types"):
        return data.get(name, None)
    plain = name.removesuffix("_dict")
    return data.collect(plain, allow_empty=True) or None


def edge_weights(
    model: nn.Module, batch: Batch, edges: AnyEdgeMask | None
) -> list[tuple[Tensor, Tensor]]:
    """Each edge_index of the data whose edges are weighted, with the weights A ⊙ m [E].

    A is left to a model that reads it.
    """
    found = []
    for key, edge_index, a in _relations(batch):
        m = edges.get(key) if isinstance(edges, Mapping) else edges
        assert m is None or isinstance(m, Tensor)
        own = None if a is None or reads_weights(model, batch) else a.reshape(-1)
        weight = None if m is None else _gather_columns(m, batch.columns[key])
        if own is not None:
            weight = own if weight is None else own * weight
        if weight is not None:
            found.append((edge_index, weight))
    return found


def reads_weights(model: nn.Module, batch: Batch) -> bool:
    """Whether it is the model's own affair to read the edge weights that the data have."""
    named = positional(model) or ()
    return batch.forward is not None or len(named) == 1 or WEIGHTS[0] in named


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
