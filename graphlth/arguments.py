"""What a model of a user's own is called with: what its `forward` names of a PyG `Data`."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn

from graphlth.model import takes, takes_graph, written_forward
from graphlth.sparse.graph import Graph
from graphlth.task import Batch

WEIGHTS = ("edge_weight", "edge_weights")


def reads_data(model: nn.Module, batch: Batch, masked_inside: bool = False) -> bool:
    """Whether `model` is given what it names of `batch.data`, not `(x, edge_index, edge_weight)`.

    A model is given the latter, with the masks in its edge weights, if it takes weights; but where
    it does not follow them, its operators are `masked_inside` all the same.
    """
    if batch.entries is None or takes_graph(model):
        return False
    plain = len(batch.inputs) == 2 and isinstance(batch.inputs[1], Graph) and not batch.of_graphs
    if plain and batch.forward is None and not masked_inside and takes_weights(model, batch):
        return False
    return batch.data is not None


def takes_weights(model: nn.Module, batch: Batch) -> bool:
    """Whether the third argument of `model.forward` is a weight for each edge."""
    if takes(model, WEIGHTS[0]) or takes(model, WEIGHTS[1]):
        return bool(getattr(model, "supports_edge_weight", True))
    named = positional(model)
    return named is None or (len(named) > 2 and named[2] not in (batch.data or ()))


def positional(model: nn.Module) -> tuple[str, ...] | None:
    """The names of the arguments of `model.forward` by place; None: any number without names."""
    forward = written_forward(model)
    kinds = _signature(getattr(forward, "__func__", forward))
    if any(p.kind is p.VAR_POSITIONAL for p in kinds):
        return None
    bound = inspect.ismethod(forward)
    return tuple(p.name for p in kinds if p.kind is not p.VAR_KEYWORD)[bound:]


@lru_cache(maxsize=64)
def _signature(function: Callable[..., object]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def own_arguments(model: nn.Module, data: Any) -> dict[str, Any]:
    """What `model.forward` is given, by name: the attributes of `data` that are called so.

    One that asks for one argument, which is no attribute, is given `data`. What `data` lack is left
    out where it has a default; else the first two arguments are the features and the edges.

    Raises:
        ValueError: it asks for something that `data` lack; or it names nothing.
    """
    taken = inspect.signature(written_forward(model)).parameters.values()
    named = [p for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        return _unnamed_arguments(any(p.kind is p.VAR_KEYWORD for p in taken), data)
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


def _unnamed_arguments(takes_keywords: bool, data: Any) -> dict[str, Any]:
    """What a `forward(*args, **kwargs)` is given, which hands it on to some other."""
    if not takes_keywords:
        raise ValueError("`model.forward` must name its arguments, got (*args): name them as the "
                         "data do, or give the task forward=lambda model, data: model(...)"
                         )  # fmt: skip
    end = "_dict" if hasattr(data, "edge_types") else ""
    found = {name + end: _attribute(data, name + end) for name in ("x", "edge_index")}
    return {name: value for name, value in found.items() if value is not None}


def _attribute(data: Any, name: str) -> Any:
    """What `data` have under `name`; of a heterogeneous graph a dict of it by type, or None."""
    if not hasattr(data, "edge_types"):
        return data.get(name, None)
    plain = name.removesuffix("_dict")
    return data.collect(plain, allow_empty=True) or None


def reads_weights(model: nn.Module, batch: Batch) -> bool:
    """Whether it is the model's own affair to read the edge weights that the data have."""
    named = positional(model) or ()
    taken = WEIGHTS[0] in named and getattr(model, "supports_edge_weight", True)
    return batch.forward is not None or len(named) == 1 or taken
