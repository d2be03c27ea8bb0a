"""GCN (Kipf & Welling, ICLR 2017, arXiv:1609.02907), of any depth."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.layers import HiddenLayer, Layer, Parts, chain_units
from graphlth.compaction.liveness import live_units, sort_units, submatrices
from graphlth.edge_masks import EdgeMask, per_layer
from graphlth.models.graph._gcn_layers import (
    propagate,
    propagate_relu_product,
    relu_dropout_product,
    relu_product,
)
from graphlth.models.graph._norm import gcn_norm
from graphlth.settings.types import BackendName, Depth, Fraction, Width
from graphlth.sparse.blocks import Block, blocks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.dropout import edge_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum
from graphlth.sparse.products import product
from graphlth.task import Task


class GCN(nn.Module):
    """Graph convolutions `D^-½ (A ⊙ m + I) D^-½ X W` with ReLU and dropout between them.

    The self-loops of I are the model's own and never pruned; the degrees D are those of the
    masked graph, differentiated through. No bias, as in UGS.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` weight matrices.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        degree: D counts the edges into a node ("in", as PyG's `gcn_norm`) or out of it ("out",
            as the released code of UGS). They differ once a directed mask is not symmetric.
        backend: the kernel's backend.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        *,
        dropout: float = 0.5,
        edge_dropout: float = 0.0,
        degree: str = "in",
        backend: str = "auto",
    ):
        super().__init__()
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.weights = nn.ParameterList(torch.empty(i, o) for i, o in pairwise(widths))
        if degree not in ("in", "out"):
            raise ValueError(f"`degree` must be in or out, got {degree!r}")
        self.dropout, self.edge_dropout = dropout, edge_dropout
        self.degree, self.backend = degree, backend
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Glorot-uniform weights."""
        for w in self.weights:
            nn.init.xavier_uniform_(w)

    @property
    def num_layers(self) -> int:
        """How many layers read the edges."""
        return len(self.weights)

    def forward(
        self,
        x: Tensor | Features,
        graph: Graph | Tensor,
        weight: EdgeMask | None = None,
        rows: Tensor | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """Logits [N, out] of `x` [N, in] over `graph` (or `edge_index` [2, E]), `weight` [E].

        `weight` may be a tuple with one for each layer.
        With `rows` [R] only those nodes' logits, from no more than what they depend on; `cache` is
        what a training keeps from step to step.
        """
        cache = StepCache() if cache is None else cache
        graph, weights = Graph.of(graph, x.shape[0]), [*self.weights]
        weight = edge_dropout(graph, weight, self.edge_dropout, self.training, like=weights[0])
        graph = graph.with_loops  # A + I
        norm = per_layer(self.normalise(graph, weight, weights[0].dtype), len(weights))
        parts = blocks(graph, len(weights), rows)
        constant = weight is None
        norms = [self.norm_on(b, n, constant=constant) for b, n in zip(parts, norm, strict=True)]
        if self.training:
            cache.set_block(graph, parts[0])
            return self.learn(x, weights, parts, norms, cache, constant=constant)
        part = cache.block(graph)
        following = None if part is None else (part, self.norm_on(part, norm[0], constant=constant))
        return self.infer(x, weights, parts, norms, cache, following, constant=constant)

    def learn(
        self, x: Tensor | Features, weights: list[Tensor], parts: list[Block],
        norms: list[Tensor], cache: StepCache, *, constant: bool,
    ) -> Tensor:  # fmt: skip
        """The logits in training: `Â X W`, ReLU and dropout, and so on."""
        how: Any = {"backend": self.backend}
        (first, x), known = parts[0].restrict(x), cache.weight("weights.0")
        h = propagate(first.graph, x, weights[0], norms[0], cache=known, constant=constant, **how)
        for block, norm, w in zip(parts[1:], norms[1:], weights[1:], strict=True):
            h = relu_dropout_product(h, w, self.dropout, **how)
            h = weighted_sum(block.graph, h, norm, **how)
        return h

    def infer(
        self, x: Tensor | Features, weights: list[Tensor], parts: list[Block],
        norms: list[Tensor], cache: StepCache, following: tuple[Block, Tensor] | None, *,
        constant: bool,
    ) -> Tensor:  # fmt: skip
        """The logits without dropout: ReLU of the sums of a layer and the product with the next W
        are one pass, the first layer's product and sums, too.
        """
        how, known = {"backend": self.backend}, cache.weight("weights.0")
        first = parts[-1]
        if len(parts) == 1:
            first, x = first.restrict(x)
            h = product(x, weights[0], cache=known, **how)
        else:
            h = propagate_relu_product(
                parts[0], x, weights[0], norms[0], weights[1],
                cache=known, following=following, constant=constant, **how,
            )  # fmt: skip
        for block, norm, w in zip(parts[1:-1], norms[1:-1], weights[2:], strict=True):
            h = relu_product(block.graph, h, norm, w, **how)
        return weighted_sum(first.graph, h, norms[-1], **how)

    def norm_on(self, block: Block, norm: Tensor, *, constant: bool) -> Tensor:
        """The weights `norm` [E + N] on the edges of `block`; if `constant`, the same tensor."""
        if constant:
            key = norm.dtype, self.degree
            return block.graph.constant(key, lambda: block.select_edges(norm))
        return block.select_edges(norm)

    def normalise(self, graph: Graph, weight: EdgeMask | None, dtype: torch.dtype) -> EdgeMask:
        """The edge weights [E + N] of `D^-½ (A ⊙ m + I) D^-½`; `graph` ends with its N loops."""
        return gcn_norm(graph, weight, dtype=dtype, side=self.degree, backend=self.backend)

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: EdgeMask | None = None
    ) -> Parts:
        """Its layers without dead units, of `weights` by name, on the edges of `graph`.

        `weight` [E] is that of every edge, or a tuple of one for each layer; None: all are 1.
        """
        maps = [weights[f"weights.{i}"] for i in range(len(self.weights))]
        kept = sort_units(maps, live_units(maps))
        layers = [Layer(w) for w in submatrices(maps, kept)]
        adjacency = Adjacency(self.degree, maps[0].new_ones(1))
        return Parts(graph, layers, kept[0], maps[0].size(0), "relu", adjacency, weight)

    def hidden_layers(self) -> list[HiddenLayer]:
        """Which entries of its parameters belong to which hidden unit."""
        names = [[f"weights.{i}"] for i in range(len(self.weights))]
        return chain_units(names, [w.size(1) for w in self.weights])

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · nnz(W) + (E + N) · d_out`, loops included."""
        edges = per_layer(num_edges, len(self.weights))
        return {
            name: num_nodes * nnz[name] + (e + num_nodes) * w.size(1)
            for e, (name, w) in zip(edges, self.named_parameters(), strict=True)
        }


def gcn(
    task: Task,
    *,
    hidden: Width = 16,
    layers: Depth = 2,
    dropout: Fraction = 0.5,
    edge_dropout: Fraction = 0.0,
    degree: Literal["in", "out"] = "in",
    backend: BackendName = "auto",
) -> GCN:
    """A graph convolutional network.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every hidden layer.
        layers: number of graph convolutions.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        degree: normalise by the edges into a node ("in") or out of it ("out").
        backend: what computes the message passing; `auto` takes the fastest one here.
    """
    return GCN(
        task.num_features, hidden, task.num_classes, layers,
        dropout=dropout, edge_dropout=edge_dropout, degree=degree, backend=backend,
    )  # fmt: skip
