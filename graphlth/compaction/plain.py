"""A compacted network in torch's own operators, for `torch.export`, any device and number type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.compaction.layers import ACTIVATIONS, NAMES, Layer


def layers_of(module: nn.Module, depth: int) -> list[Layer]:
    """The layers that the buffers of `module` make up."""
    held = dict(module.named_buffers())
    return [
        Layer(**{n: held[f"{n}_{i}"] for n in NAMES if f"{n}_{i}" in held}) for i in range(depth)
    ]


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


class PlainNetwork(nn.Module):
    """A network in `index_select` and `index_add`; for any device, number type and compiler."""

    features: Tensor
    source: Tensor
    target: Tensor

    def __init__(self, network: nn.Module, activation: str, depth: int):
        super().__init__()
        self.activation, self.depth = activation, depth
        for name, value in network.named_buffers():
            self.register_buffer(name, value)
        source, target = network.get_buffer("edge_index")
        self.register_buffer("source", source.contiguous())
        self.register_buffer("target", target.contiguous())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, C] of the features `x` [N, F] of all nodes."""
        layers = layers_of(self, self.depth)
        return apply_layers(
            layers, self.activation, x.index_select(1, self.features),
            lambda h, layer, name: h @ getattr(layer, name),
            lambda i, h: self.message(layers[i], h),
        )  # fmt: skip

    def message(self, layer: Layer, h: Tensor) -> Tensor:
        """`A h`."""
        if layer.sent is not None:
            return self.attention(layer, h)
        assert layer.edges is not None
        sent = layer.edges.unsqueeze(1) * h.index_select(0, self.source)
        return h.new_zeros(h.shape).index_add(0, self.target, sent)

    def attention(self, layer: Layer, h: Tensor) -> Tensor:
        """`α h`, where an edge of weight 0 is absent from the softmax, too."""
        assert layer.sent is not None and layer.received is not None
        h = h.reshape(h.size(0), *layer.sent.shape)
        out = (h * layer.sent).sum(-1).index_select(0, self.source)
        into = (h * layer.received).sum(-1).index_select(0, self.target)
        logits = F.leaky_relu(out + into, 0.2)  # [E, heads]
        if layer.edges is not None:
            logits = logits.masked_fill((layer.edges == 0).unsqueeze(1), -torch.inf)
        place = self.target.unsqueeze(1).expand_as(logits)
        top = logits.new_full((h.size(0), logits.size(1)), -torch.inf)
        top = top.scatter_reduce(0, place, logits, "amax")
        share = (logits - top.index_select(0, self.target)).exp()
        share = share if layer.edges is None else share * layer.edges.unsqueeze(1)
        total = share.new_zeros(top.shape).index_add(0, self.target, share)
        alpha = share / total.index_select(0, self.target)
        sent = alpha.unsqueeze(-1) * h.index_select(0, self.source)
        return h.new_zeros(h.shape).index_add(0, self.target, sent).flatten(1)
