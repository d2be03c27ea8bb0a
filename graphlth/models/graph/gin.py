"""GIN (Xu et al., ICLR 2019, arXiv:1810.00826), of any depth."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.layers import HiddenLayer, Layer, Parts, chain_units
from graphlth.compaction.liveness import live_units, sort_units, submatrices
from graphlth.edge_masks import EdgeMask, per_layer
from graphlth.settings.types import BackendName, Depth, Fraction, Width
from graphlth.sparse.blocks import Block, blocks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.dropout import edge_dropout, relu_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum
from graphlth.sparse.products import product
from graphlth.task import Task


class GIN(nn.Module):
    """Isomorphism layers `((1 + ε) X + (A ⊙ m) X) W` with ReLU and dropout between them.

    ε is learned per layer; one bias-free linear map a layer, as in UGS.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` weight matrices.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
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
        backend: str = "auto",
    ):
        super().__init__()
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.weights = nn.ParameterList(torch.empty(i, o) for i, o in pairwise(widths))
        self.eps = nn.Parameter(torch.zeros(num_layers))
        self.dropout, self.edge_dropout, self.backend = dropout, edge_dropout, backend
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Glorot-uniform weights; set ε to 0."""
        for w in self.weights:
            nn.init.xavier_uniform_(w)
        nn.init.zeros_(self.eps)

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
        graph = Graph.of(graph, x.shape[0])
        weight = edge_dropout(graph, weight, self.edge_dropout, self.training, like=self.eps)
        first, *others = blocks(graph, len(self.weights), rows)
        first, x = first.restrict(x)
        layers = per_layer(weight, len(self.weights))
        h = self.convolve(0, x, first, layers[0], cache)
        for layer, block in enumerate(others, 1):
            h = relu_dropout(h, self.dropout, self.training)
            h = self.convolve(layer, h, block, layers[layer], cache)
        return h

    def convolve(
        self, layer: int, x: Tensor | Features, block: Block, weight: Tensor | None,
        cache: StepCache,
    ) -> Tensor:  # fmt: skip
        """`((1 + ε) X + (A ⊙ m) X) W` [N, d]."""
        known = cache.weight(f"weights.{layer}")
        h = product(x, self.weights[layer], cache=known, backend=self.backend)
        weight = None if weight is None else block.select_edges(weight)
        near = weighted_sum(block.graph, h, weight, backend=self.backend)
        return (1 + self.eps[layer]) * block.select_nodes(h) + near

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: EdgeMask | None = None
    ) -> Parts:
        """Its layers without dead units, of `weights` by name, on the edges of `graph`.

        `weight` [E] is that of every edge, or a tuple of one for each layer; None: all are 1.
        A loop of weight 1 + ε at every node takes the place of the first term.
        """
        maps = [weights[f"weights.{i}"] for i in range(len(self.weights))]
        kept = sort_units(maps, live_units(maps))
        layers = [Layer(w) for w in submatrices(maps, kept)]
        adjacency = Adjacency("sum", 1 + weights["eps"])
        return Parts(graph, layers, kept[0], maps[0].size(0), "relu", adjacency, weight)

    def hidden_layers(self) -> list[HiddenLayer]:
        """Which entries of its parameters belong to which hidden unit."""
        names = [[f"weights.{i}"] for i in range(len(self.weights))]
        return chain_units(names, [w.size(1) for w in self.weights])

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · nnz(W) + (E + N) · d_out`."""
        edges = per_layer(num_edges, len(self.weights))
        return {
            f"weights.{i}": num_nodes * nnz[f"weights.{i}"] + (edges[i] + num_nodes) * w.size(1)
            for i, w in enumerate(self.weights)
        }


def gin(
    task: Task,
    *,
    hidden: Width = 16,
    layers: Depth = 2,
    dropout: Fraction = 0.5,
    edge_dropout: Fraction = 0.0,
    backend: BackendName = "auto",
) -> GIN:
    """A graph isomorphism network.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every hidden layer.
        layers: number of isomorphism layers.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        backend: what computes the message passing; `auto` takes the fastest one here.
    """
    return GIN(
        task.num_features, hidden, task.num_classes, layers,
        dropout=dropout, edge_dropout=edge_dropout, backend=backend,
    )  # fmt: skip
