"""GCN (Kipf & Welling, ICLR 2017, arXiv:1609.02907), of any depth."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.compaction.layers import Layer, Parts
from graphlth.compaction.liveness import live_units, sort_units, submatrices
from graphlth.models.graph._norm import normalised
from graphlth.sparse.dropout import edge_dropout
from graphlth.sparse.graph import Block, Features, Graph
from graphlth.sparse.message import (
    convolve,
    product,
    propagate,
    relu_dropout_product,
    relu_product,
    weighted_sum,
)
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

    def forward(
        self,
        x: Tensor | Features,
        graph: Graph | Tensor,
        weight: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Logits [N, out] of `x` [N, in] over `graph` (or `edge_index` [2, E]), `weight` [E].

        With `rows` [R] only those nodes' logits, from no more than what they depend on.
        """
        graph, weights = Graph.of(graph, x.shape[0]), [*self.weights]
        weight = edge_dropout(graph, weight, self.edge_dropout, self.training, like=weights[0])
        graph = graph.with_loops  # A + I
        norm = self.normalise(graph, weight, weights[0].dtype)
        blocks = graph.blocks(len(weights), rows)
        fixed = weight is None
        norms = [self.on(block, norm, fixed=fixed) for block in blocks]
        if self.training:
            graph.learning[len(blocks)] = blocks[0]
            return self.learn(x, weights, blocks, norms, fixed=fixed)
        part = graph.learning.get(len(blocks))
        following = None if part is None else (part, self.on(part, norm, fixed=fixed))
        return self.infer(x, weights, blocks, norms, following, fixed=fixed)

    def learn(
        self, x: Tensor | Features, weights: list[Tensor], blocks: list[Block],
        norms: list[Tensor], *, fixed: bool,
    ) -> Tensor:  # fmt: skip
        """`Â X W`, ReLU and dropout, and so on: [N, out]."""
        how: Any = {"backend": self.backend}
        first, x = blocks[0].reading(x)
        h = propagate(first.graph, x, weights[0], norms[0], fixed=fixed, **how)
        for block, norm, w in zip(blocks[1:], norms[1:], weights[1:], strict=True):
            h = relu_dropout_product(h, w, self.dropout, **how)
            h = weighted_sum(block.graph, h, norm, **how)
        return h

    def infer(
        self, x: Tensor | Features, weights: list[Tensor], blocks: list[Block],
        norms: list[Tensor], following: tuple[Block, Tensor] | None, *, fixed: bool,
    ) -> Tensor:  # fmt: skip
        """The same without dropout: `convolve`, and with every next W what `relu_product` does."""
        how: Any = {"backend": self.backend}
        if len(blocks) == 1:
            first, x = blocks[0].reading(x)
            h = product(x, weights[0], **how)
        else:
            two = weights[0], norms[0], weights[1]
            h = convolve(blocks[0], x, *two, following=following, fixed=fixed, **how)
            first = blocks[-1]
        for block, norm, w in zip(blocks[1:-1], norms[1:-1], weights[2:], strict=True):
            h = relu_product(block.graph, h, norm, w, **how)
        return weighted_sum(first.graph, h, norms[-1], backend=self.backend)

    def on(self, block: Block, norm: Tensor, *, fixed: bool) -> Tensor:
        """The weights `norm` [E + N] on the edges of `block`; `fixed` ones are the same tensor."""
        if fixed:
            return block.graph.constant((norm.dtype, self.degree), lambda: block.of_edges(norm))
        return block.of_edges(norm)

    def normalise(self, graph: Graph, weight: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The edge weights [E + N] of `D^-½ (A ⊙ m + I) D^-½`; `graph` ends with its N loops."""
        return normalised(graph, weight, dtype=dtype, side=self.degree, backend=self.backend)

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: Tensor | None = None
    ) -> Parts:
        """What is left of it with `weights` by name, masks multiplied in, on the edges of `graph`.

        `weight` [E] is A of every edge; None: all are 1.
        The weights of Â are constants from here on.
        """
        with_loops = graph.with_loops
        maps = [weights[f"weights.{i}"] for i in range(len(self.weights))]
        norm = self.normalise(with_loops, weight, maps[0].dtype)
        kept = sort_units(maps, live_units(maps))
        layers = [Layer(w, norm) for w in submatrices(maps, kept)]
        return Parts(with_loops, layers, kept[0], maps[0].size(0), "relu")

    def macs(self, num_nodes: int, num_edges: int, nnz: Mapping[str, int]) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · nnz(W) + (E + N) · d_out`, loops included."""
        return {
            name: num_nodes * nnz[name] + (num_edges + num_nodes) * w.size(1)
            for name, w in self.named_parameters()
        }


def gcn(
    task: Task,
    *,
    hidden: int = 16,
    layers: int = 2,
    dropout: float = 0.5,
    edge_dropout: float = 0.0,
    degree: str = "in",
    backend: str = "auto",
) -> GCN:
    """A graph convolutional network.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every hidden layer.
        layers: number of graph convolutions.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        degree: normalise by the edges into a node ("in") or out of it ("out").
        backend: message-passing backend: auto, sparse, scatter or reference.
    """
    return GCN(
        task.num_features, hidden, task.num_classes, layers,
        dropout=dropout, edge_dropout=edge_dropout, degree=degree, backend=backend,
    )  # fmt: skip
