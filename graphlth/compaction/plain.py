"""A compacted network on any graph, in torch's own operators: any device, number type, compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.layers import ACTIVATIONS, NAMES, SLOPE, Layer, Parts, lay_edges
from graphlth.edge_masks import EdgeMask
from graphlth.sparse.features import Features, dense_features


class PlainNetwork(nn.Module):
    """The layers of a compacted network, for any graph, in `index_select` and `index_add`.

    Called as PyG's models are, with features [N, F], edge_index [2, E] and, if edges have weights,
    edge_weight [E], it returns logits [N, C]. N and E are any; loops, degrees and normalisation are
    those that the model makes of these edges. It is a constant, in evaluation mode.
    """

    features: Tensor
    loops: Tensor | None

    def __init__(self, parts: Parts):
        super().__init__()
        self.num_features, self.activation = parts.num_features, parts.activation
        self.depth, self.slope = len(parts.layers), parts.slope
        adjacency = parts.adjacency
        self.norm = None if adjacency is None else adjacency.norm
        self.register_buffer("features", parts.features)
        self.register_buffer("loops", None if adjacency is None else adjacency.loops)
        for i, layer in enumerate(parts.layers):
            for name in NAMES:
                value = getattr(layer, name)
                self.register_buffer(f"{name}_{i}", None if value is None else value.detach())
        self.eval()

    @property
    def layers(self) -> list[Layer]:
        """The layers, without entries of A if these follow from the graph."""
        held: Any = self._buffers
        return [Layer(**{n: held[f"{n}_{i}"] for n in NAMES}) for i in range(self.depth)]

    @property
    def adjacency(self) -> Adjacency | None:
        """How A follows from a graph; None: it is that of one graph."""
        return None if self.norm is None else Adjacency(self.norm, self.loops)

    def train(self, mode: bool = True) -> PlainNetwork:
        """This network, in evaluation mode: there is nothing to train."""
        return super().train(False)

    def forward(
        self, x: Tensor | Features, edge_index: Tensor, edge_weight: EdgeMask | None = None
    ) -> Tensor:
        """Logits [N, C] of the features `x` [N, F] over the edges [2, E].

        Args:
            x: a tensor, or the `x` of a task.
            edge_index: source and target of every edge.
            edge_weight: of every edge [E], at least 0, or a tuple of one for each layer; not given
                where all are 1. An edge of weight 0 is absent.

        Raises:
            ValueError: `x` has another width, or the network is one of its own graph alone.
        """
        x = dense_features(x)
        if x.dim() != 2 or x.size(1) != self.num_features:
            raise ValueError(f"`x` must be [N, {self.num_features}], got {list(x.shape)}")
        adjacency = check_takes_graphs(self.adjacency)
        edge_index, layers = lay_edges(self.layers, adjacency, edge_index, edge_weight, x.size(0))
        x = self.select_features(x)
        return apply_plain(layers, self.activation, x, edge_index, self.slope)

    def select_features(self, x: Tensor) -> Tensor:
        """`x` without the features that no weight reads."""
        whole = self.features.numel() == self.num_features
        return x if whole else x.index_select(1, self.features)


def check_takes_graphs(adjacency: Adjacency | None) -> Adjacency:
    """`adjacency`; refuse a network of which it is not known how A follows from a graph.

    Raises:
        ValueError: it is not known.
    """
    if adjacency is None:
        raise ValueError("`adjacency` must be told by `parts` of a network that takes any graph, "
                         "got None: export its ticket again, or let its model tell it")  # fmt: skip
    return adjacency


def apply_layers(
    layers: Sequence[Layer],
    activation: str,
    x: Any,
    multiply: Callable[[Any, Layer, str], Tensor],
    message: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Layer by layer `act(A (h W) + h V + b)`, without `act` after the last."""
    h = x
    for i, layer in enumerate(layers):
        h = ACTIVATIONS[activation](h) if i else h
        out = message(i, multiply(h, layer, "weight"))
        out = out if layer.own is None else out + multiply(h, layer, "own")
        h = out if layer.bias is None else out + layer.bias
    return h


def apply_plain(
    layers: Sequence[Layer], activation: str, x: Tensor, edge_index: Tensor, slope: float = SLOPE
) -> Tensor:  # fmt: skip
    """`apply_layers` of dense `x` [N, F'] over the edges [2, E'] of A, in torch's own operators.

    `slope` is that of LeakyReLU in attention.
    """
    return apply_layers(
        layers, activation, x,
        lambda h, layer, name: h @ getattr(layer, name),
        lambda i, h: _message(layers[i], h, edge_index[0], edge_index[1], slope),
    )  # fmt: skip


def _message(
    layer: Layer, h: Tensor, source: Tensor, target: Tensor, slope: float
) -> Tensor:  # fmt: skip
    """`A h`."""
    if layer.sent is not None:
        return _attention(layer, h, source, target, slope)
    assert layer.edges is not None
    sent = layer.edges.unsqueeze(1) * h.index_select(0, source)
    return h.new_zeros(h.shape).index_add(0, target, sent)


def _attention(
    layer: Layer, h: Tensor, source: Tensor, target: Tensor, slope: float
) -> Tensor:  # fmt: skip
    """`α h`, where an edge of weight 0 is absent from the softmax, too."""
    assert layer.sent is not None and layer.received is not None
    h = h.reshape(h.size(0), *layer.sent.shape)
    out = (h * layer.sent).sum(-1).index_select(0, source)
    into = (h * layer.received).sum(-1).index_select(0, target)
    logits = F.leaky_relu(out + into, slope)  # [E', heads]
    if layer.edges is not None:
        logits = logits.masked_fill((layer.edges == 0).unsqueeze(1), -torch.inf)
    place = target.unsqueeze(1).expand_as(logits)
    top = logits.new_full((h.size(0), logits.size(1)), -torch.inf)
    top = top.scatter_reduce(0, place, logits, "amax")
    top = top.masked_fill(top == -torch.inf, 0)  # of a node without an edge
    share = (logits - top.index_select(0, target)).exp()
    share = share if layer.edges is None else share * layer.edges.unsqueeze(1)
    total = share.new_zeros(top.shape).index_add(0, target, share)
    total = total.masked_fill(total == 0, 1)
    alpha = share / total.index_select(0, target)
    sent = alpha.unsqueeze(-1) * h.index_select(0, source)
    return h.new_zeros(h.shape).index_add(0, target, sent).flatten(1)
