"""The layers that a compacted network consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.compaction.adjacency import NORMS, Adjacency
from graphlth.edge_masks import EdgeMask
from graphlth.settings.types import Layout
from graphlth.sparse.graph import Graph

LAYOUTS: tuple[str, ...] = get_args(Layout)
SLOPE = 0.2  # of LeakyReLU in the attention of GAT
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "elu": F.elu}


@dataclass(frozen=True)
class Layer:
    """One layer `A (h W) + h V + b`; the last of them gives the logits."""

    weight: Tensor  # [in, out] W
    edges: Tensor | None = None  # [E] the entries of A, or weights of attention; None: all are 1,
    # or they follow from the graph
    own: Tensor | None = None  # [in, out] V
    sent: Tensor | None = None  # [heads, d] a_s, heads · d = out
    received: Tensor | None = None  # [heads, d] a_t
    bias: Tensor | None = None  # [out] b


NAMES = [each.name for each in fields(Layer)]
MAPS = ("weight", "own")


@dataclass(frozen=True)
class Parts:
    """The graph and the layers of a model whose masks are applied and whose dead units are gone."""

    graph: Graph  # the edges that are kept; without `adjacency` those of A
    layers: list[Layer]  # without `edges`, unless there is no `adjacency`
    features: Tensor  # [F'] the columns of the input that any weight reads, ascending
    num_features: int  # F
    activation: str  # between the layers: "relu" or "elu"
    adjacency: Adjacency | None = None  # how A follows from any graph; None: A is that of `layers`
    weight: EdgeMask | None = None  # [E] of the edges, of all layers or of each; None: all are 1
    slope: float = SLOPE  # of LeakyReLU in the scores of attention, below 0


def lay_edges(
    layers: Sequence[Layer],
    adjacency: Adjacency,
    edge_index: Tensor,
    weight: EdgeMask | None,
    num_nodes: int,
) -> tuple[Tensor, list[Layer]]:
    """The edges [2, E'] of A over a graph, and `layers` with their entries of A.

    Attention over edges that all weigh 1 is given no weights: a loop has the weight 1 there.

    Raises:
        ValueError: `weight` is that of another number of layers.
    """
    if isinstance(weight, tuple) and len(weight) != len(layers):
        raise ValueError(f"`weight` must be one for all layers or one for each of {len(layers)}, "
                         f"got {len(weight)}")  # fmt: skip
    edge_index = adjacency.add_loops(edge_index, num_nodes)
    if weight is None and all(layer.sent is not None for layer in layers):
        return edge_index, [*layers]
    dtype = layers[0].weight.dtype
    entries = adjacency.weigh(edge_index, weight, num_nodes, len(layers), dtype)
    return edge_index, [replace(a, edges=e) for a, e in zip(layers, entries, strict=True)]


@dataclass(frozen=True)
class HiddenLayer:
    """A layer of hidden units that can go as a whole, by the parameters that have entries of them.

    The unit that each entry belongs to is an integer tensor that broadcasts to the parameter; −1:
    none of this layer.
    """

    name: str
    size: int  # units
    makers: dict[str, Tensor] = field(default_factory=dict)  # of the weights that make units
    others: list[tuple[str, Tensor]] = field(default_factory=list)  # that read them, biases, norms
    scales: list[str] = field(default_factory=list)  # the scales of norms, among `others`


def chain_units(names: Sequence[Sequence[str]], sizes: Sequence[int]) -> list[HiddenLayer]:
    """The hidden layers of matrices [in, out] that follow one another.

    Args:
        names: of the matrices of each layer, which make the same units of the same ones.
        sizes: how many units each layer makes.
    """
    layers = []
    for made, read, size in zip(names, names[1:], sizes, strict=False):
        units = torch.arange(size)
        makers = {n: units.view(1, -1) for n in made}
        layers.append(HiddenLayer(made[0], size, makers, [(n, units.view(-1, 1)) for n in read]))
    return layers


def check_parts(parts: Parts, layout: str) -> None:
    """Refuse layers that do not fit together, and a layout that is unknown.

    Raises:
        ValueError: names what is wrong, what it must be and what it is.
    """
    check_layout(layout, LAYOUTS[1:])
    if parts.activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"`activation` must be one of {known}, got {parts.activation!r}")
    if not parts.layers:
        raise ValueError("`layers` must hold at least one layer, got none")
    columns, limit = parts.features, parts.num_features
    if columns.numel() and not (0 <= int(columns.min()) and int(columns.max()) < limit):
        raise ValueError(f"`features` must be in [0, {limit}), got {columns.tolist()}")
    if parts.adjacency is not None:
        _check_adjacency(parts, parts.adjacency)
    width = columns.numel()
    for i, layer in enumerate(parts.layers):
        if layer.weight.dim() != 2:
            raise ValueError(f"layer {i}: `weight` must be a matrix, got {layer.weight.dim()}-d")
        for name, shape in _shapes(i, layer, width, parts).items():
            value = getattr(layer, name)
            if value is not None and tuple(value.shape) != shape:
                got = list(value.shape)
                raise ValueError(f"layer {i}: `{name}` must be {list(shape)}, got {got}")
        width = layer.weight.size(1)


def _check_adjacency(parts: Parts, adjacency: Adjacency) -> None:
    """Refuse edges that do not follow from the graph as `adjacency` says.

    Raises:
        ValueError: names what is wrong, what it must be and what it is.
    """
    depth, edges = len(parts.layers), parts.graph.num_edges
    if adjacency.norm not in NORMS:
        raise ValueError(f"`norm` must be one of {', '.join(NORMS)}, got {adjacency.norm!r}")
    if adjacency.loops is not None and adjacency.loops.shape not in ((1,), (depth,)):
        raise ValueError(f"`loops` must be [1] or [{depth}], got {list(adjacency.loops.shape)}")
    if any(layer.edges is not None for layer in parts.layers):
        raise ValueError("`edges` must be None in layers whose A follows from the graph, got some")
    layers = parts.weight if isinstance(parts.weight, tuple) else (parts.weight,)
    shapes = [list(m.shape) for m in layers if m is not None]
    if any(shape != [edges] for shape in shapes) or len(shapes) not in (0, 1, depth):
        raise ValueError(f"`weight` must be [{edges}], one or {depth}, got {shapes}")


def _shapes(i: int, layer: Layer, width: int, parts: Parts) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor of layer `i` must have, whose inputs are of `width`."""
    out = layer.weight.size(1)
    shapes: dict[str, tuple[int, ...]] = {
        "weight": (width, out), "own": (width, out), "bias": (out,),
        "edges": (parts.graph.num_edges,),
    }  # fmt: skip
    if layer.sent is not None or (layer.edges is None and parts.adjacency is None):
        heads = 0 if layer.sent is None or layer.sent.dim() != 2 else layer.sent.size(0)
        if heads == 0 or out % heads or layer.received is None:
            raise ValueError(f"layer {i}: `sent` and `received` must be [heads, {out} / heads]")
        shapes |= dict.fromkeys(("sent", "received"), (heads, out // heads))
    return shapes


def check_layout(layout: str, known: Sequence[str] = LAYOUTS) -> None:
    """Refuse a layout that is not `known`.

    Raises:
        ValueError: it is none of them.
    """
    if layout not in known:
        raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
