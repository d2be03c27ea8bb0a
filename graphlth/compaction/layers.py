"""The layers that a compacted network consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.settings.types import Layout
from graphlth.sparse.graph import Graph

LAYOUTS: tuple[str, ...] = get_args(Layout)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "elu": F.elu}


@dataclass(frozen=True)
class Layer:
    """One layer `A (h W) + h V + b`; the last of them gives the logits."""

    weight: Tensor  # [in, out] W
    edges: Tensor | None = None  # [E] the weights of A, or of attention; None: attention, all 1
    own: Tensor | None = None  # [in, out] V
    sent: Tensor | None = None  # [heads, d] a_s, heads · d = out
    received: Tensor | None = None  # [heads, d] a_t
    bias: Tensor | None = None  # [out] b


NAMES = [each.name for each in fields(Layer)]
MAPS = ("weight", "own")


@dataclass(frozen=True)
class Parts:
    """The graph and the layers of a model whose masks are applied and whose dead units are gone."""

    graph: Graph  # the edges of A, loops that the model adds among them
    layers: list[Layer]
    features: Tensor  # [F'] the columns of the input that any weight reads, ascending
    num_features: int  # F
    activation: str  # between the layers: "relu" or "elu"


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
    width = columns.numel()
    for i, layer in enumerate(parts.layers):
        if layer.weight.dim() != 2:
            raise ValueError(f"layer {i}: `weight` must be a matrix, got {layer.weight.dim()}-d")
        for name, shape in _shapes(i, layer, width, parts.graph.num_edges).items():
            value = getattr(layer, name)
            if value is not None and tuple(value.shape) != shape:
                got = list(value.shape)
                raise ValueError(f"layer {i}: `{name}` must be {list(shape)}, got {got}")
        width = layer.weight.size(1)


def _shapes(i: int, layer: Layer, width: int, num_edges: int) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor of layer `i` must have, whose inputs are of `width`."""
    out = layer.weight.size(1)
    shapes: dict[str, tuple[int, ...]] = {
        "weight": (width, out), "own": (width, out), "bias": (out,), "edges": (num_edges,),
    }  # fmt: skip
    if layer.edges is None or layer.sent is not None:
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
