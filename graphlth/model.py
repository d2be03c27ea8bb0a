"""What a model may offer, and what it means.

A model is a `torch.nn.Module`. On a graph its `forward` takes either `(x, graph, weight, ...)`, as
`GraphModel` says and as graphlth's own do, or `(x, edge_index, edge_weight)`, as PyG's do. What
else it offers is used where it is there: `rows`, one weight of every edge for each layer, `parts`
and `macs`. Elsewhere, as on images, `forward` takes the inputs of the task.

In all of them an edge of weight 0 is an absent edge, and the output is a row of numbers for each
row of the inputs: logits, for a classification.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from graphlth.compaction.layers import HiddenLayer, Parts
from graphlth.edge_masks import EdgeMask, is_edge_key
from graphlth.masks import EDGES, Masks, only
from graphlth.sparse.cache import StepCache
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph

PYG = "torch_geometric"
# Of models whose own code reduces edges in a way that weights mean little to: how it does.
SURROGATES: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


class GraphModel(Protocol):
    """A model that reads a sparse `Graph`: its `forward` names a parameter `graph`."""

    def forward(
        self,
        x: Tensor | Features,
        graph: Graph,
        weight: EdgeMask | None = None,
        rows: Tensor | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """The output of every node [N, out], or of some.

        Args:
            x: the features [N, F], sparse where few of them are not 0.
            graph: the edges.
            weight: of every edge [E], at least 0; None: all are 1. A model with `num_layers` is
                given a tuple of them, one for each layer, where layers have their own.
            rows: the nodes [R] whose output is asked for, [R, out] in their order; None: all. A
                model whose `forward` does not name it is asked for all.
            cache: what the passes of one training leave for one another; a model whose `forward`
                does not name it is not given it.
        """
        ...


class PyGModel(Protocol):
    """A model as PyG's are, with dense features."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """The output of every node [N, out].

        Args:
            x: the features [N, F].
            edge_index: source and target of every edge [2, E].
            edge_weight: of every edge [E], at least 0; not given where all are 1. If the model
                calls it `edge_weights`, it is given a tuple where layers have their own.
        """
        ...


@runtime_checkable
class LayeredModel(Protocol):
    """A model that says how many layers read the edges: each may be given weights of its own."""

    @property
    def num_layers(self) -> int:
        """How many layers read the edges."""
        ...


@runtime_checkable
class CompactableModel(Protocol):
    """A model that is a list of layers `A (h W) + h V + b`, so that its dead units can go."""

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: EdgeMask | None = None
    ) -> Parts:
        """The layers without their dead units; they compute what the model does in evaluation.

        Args:
            weights: every parameter by name, masks multiplied in.
            graph: the edges that are kept.
            weight: as `forward` takes it, of these edges.
        """
        ...


@runtime_checkable
class UnitModel(Protocol):
    """A model that tells which entries of its parameters belong to which hidden unit."""

    def hidden_layers(self) -> list[HiddenLayer]:
        """The layers of hidden units, the first one first."""
        ...


@runtime_checkable
class CountableModel(Protocol):
    """A model that tells what it computes on a graph."""

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates of one forward pass, by layer.

        Args:
            num_nodes: N.
            num_edges: the directed edges that are kept, without loops that the model adds; a
                number for each layer where layers have their own.
            nnz: how many entries of each parameter of two or more dimensions are kept, by name.
        """
        ...


@runtime_checkable
class CountableGraphModel(Protocol):
    """A model of many graphs that tells what it computes on them."""

    def graph_macs(
        self, num_graphs: int, num_nodes: int, num_edges: int, nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates of one forward pass over so many graphs, by layer.

        Args:
            num_graphs: how many outputs there are.
            num_nodes: of all graphs together.
            num_edges: likewise, the directed edges that are kept.
            nnz: how many entries of each parameter of two or more dimensions are kept, by name.
        """
        ...


def takes(model: nn.Module, name: str) -> bool:
    """Whether `model.forward` names a parameter `name`: "rows", "cache" and so on."""
    forward = written_forward(model)
    return name in _parameters(getattr(forward, "__func__", forward))


def written_forward(model: nn.Module) -> Callable[..., object]:
    """`model.forward`, and of what `torch.compile` returns that of the model as it was written."""
    written = getattr(model, "_orig_mod", model)
    forward: Callable[..., object] = written.forward
    return forward


def takes_graph(model: nn.Module) -> bool:
    """Whether `model` is a `GraphModel`; on a graph, any other is taken for a `PyGModel`."""
    return takes(model, "graph")


@lru_cache(maxsize=64)
def _parameters(function: Callable[..., object]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)  # once, not in every step


def check_layers(model: nn.Module, masks: Masks) -> None:
    """Refuse edge masks for each layer of a model that takes no weights for each.

    Raises:
        ValueError: it takes none, or has another number of layers; or a parameter of the model has
            the name of an edge mask.
    """
    if clash := [n for n, _ in model.named_parameters() if is_edge_key(n)]:
        raise ValueError(f"`model` must not call a parameter {clash[0]!r}, which is the name of a "
                         "mask of edges: rename it")  # fmt: skip
    names = [n for n in only(masks, "edges") if n != EDGES and "__" not in n]
    if not names:
        return
    kind = type(model).__name__
    if takes_graph(model) and isinstance(model, LayeredModel):
        if len(names) != model.num_layers:
            raise ValueError(f"`masks` must have a mask of edges for each of the "
                             f"{model.num_layers} layers of {kind}, got {len(names)}"
                             )  # fmt: skip
    elif not takes(model, "edge_weights"):
        raise ValueError(
            f"`model` must take one edge weight for each layer, got {kind}, which takes one for "
            "all: use one mask for all layers (dense(model, num_edges)), or name the third "
            "parameter of its forward `edge_weights` and read a tuple of them there"
        )


def check_operators(model: nn.Module, masks: Masks) -> None:
    """Refuse an operator of PyG whose edges cannot be masked, where `masks` have edges.

    Raises:
        ValueError: there is one; or removed edges would not change what it does.
    """
    if only(masks, "edges") and PYG in sys.modules and not takes_graph(model):
        from graphlth import message_passing  # loads PyG, which is slow

        message_passing.check_operators(model)


def find_surrogates(model: nn.Module) -> str:
    """A line about what a weight between 0 and 1 means little to, or "".

    That is operators of PyG, and code of the model's own that `check_edges` has seen at work.
    """
    if PYG not in sys.modules or takes_graph(model):
        return ""
    from graphlth.message_passing import operator_support

    found = [f"{type(module).__name__} {name!r}" for name, module in model.named_modules()
             if operator_support(module).kind == "removal"]  # fmt: skip
    if not found and model in SURROGATES:
        found = [f"{type(model).__name__}, by {SURROGATES[model]}"]
    if not found:
        return ""
    return (
        f"{', '.join(found[:3])}{', …' if len(found) > 3 else ''}: what a search sees of an edge "
        "of weight m is a surrogate, m times its message; a removed edge is absent exactly"
    )
