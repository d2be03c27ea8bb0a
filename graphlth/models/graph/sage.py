"""GraphSAGE with mean aggregation (Hamilton et al., NeurIPS 2017, arXiv:1706.02216)."""

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
from graphlth.sparse.message import weighted_mean
from graphlth.sparse.products import product
from graphlth.task import Task


class GraphSAGE(nn.Module):
    """Layers `X W_self + mean_m(X) W_neighbour` with ReLU and dropout between them.

    The mean is weighted by the masks, `Σ m x / Σ m`, so a pruned neighbour is not counted.
    No bias and no L2 normalisation of the rows.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` layers.
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
        shapes = list(pairwise(widths))
        self.self_weights = nn.ParameterList(torch.empty(s) for s in shapes)
        self.neighbour_weights = nn.ParameterList(torch.empty(s) for s in shapes)
        self.dropout, self.edge_dropout, self.backend = dropout, edge_dropout, backend
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Glorot-uniform weights."""
        for w in self.parameters():
            nn.init.xavier_uniform_(w)

    @property
    def num_layers(self) -> int:
        """How many layers read the edges."""
        return len(self.self_weights)

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
        weight = edge_dropout(
            graph, weight, self.edge_dropout, self.training, like=self.self_weights[0]
        )
        first, *others = blocks(graph, len(self.self_weights), rows)
        first, x = first.restrict(x)
        layers = per_layer(weight, len(self.self_weights))
        h = self.convolve(0, x, first, layers[0], cache)
        for layer, block in enumerate(others, 1):
            h = relu_dropout(h, self.dropout, self.training)
            h = self.convolve(layer, h, block, layers[layer], cache)
        return h

    def convolve(
        self, layer: int, x: Tensor | Features, block: Block, weight: Tensor | None,
        cache: StepCache,
    ) -> Tensor:  # fmt: skip
        """`X W_self + mean_m(X) W_neighbour` [N, d]."""
        known = cache.weight(f"neighbour_weights.{layer}")
        near = product(x, self.neighbour_weights[layer], cache=known, backend=self.backend)
        weight = None if weight is None else block.select_edges(weight)
        near = weighted_mean(block.graph, near, weight, backend=self.backend)
        known = cache.weight(f"self_weights.{layer}")
        own = product(x, self.self_weights[layer], cache=known, backend=self.backend)
        return block.select_nodes(own) + near

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: EdgeMask | None = None
    ) -> Parts:
        """Its layers without dead units, of `weights` by name, on the edges of `graph`.

        `weight` [E] is that of every edge, or a tuple of one for each layer; None: all are 1.
        A unit lives by either of its two matrices.
        """
        depth = range(len(self.self_weights))
        near = [weights[f"neighbour_weights.{i}"] for i in depth]
        own = [weights[f"self_weights.{i}"] for i in depth]
        either = [(a != 0) | (b != 0) for a, b in zip(near, own, strict=True)]
        kept = sort_units(either, live_units(either))
        each = zip(submatrices(near, kept), submatrices(own, kept), strict=True)
        layers = [Layer(w, own=v) for w, v in each]
        features, mean = near[0].size(0), Adjacency("mean")
        return Parts(graph, layers, kept[0], features, "relu", mean, weight)

    def hidden_layers(self) -> list[HiddenLayer]:
        """Which entries of its parameters belong to which hidden unit."""
        kinds = ("self_weights", "neighbour_weights")
        names = [[f"{kind}.{i}" for kind in kinds] for i in range(len(self.self_weights))]
        return chain_units(names, [w.size(1) for w in self.self_weights])

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · (nnz(W_self) + nnz(W_neighbour)) + E · d_out`."""
        edges = per_layer(num_edges, len(self.self_weights))
        return {
            f"layer.{i}": num_nodes * (nnz[f"self_weights.{i}"] + nnz[f"neighbour_weights.{i}"])
            + edges[i] * w.size(1)
            for i, w in enumerate(self.self_weights)
        }


def sage(
    task: Task,
    *,
    hidden: Width = 16,
    layers: Depth = 2,
    dropout: Fraction = 0.5,
    edge_dropout: Fraction = 0.0,
    backend: BackendName = "auto",
) -> GraphSAGE:
    """GraphSAGE with mean aggregation.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every hidden layer.
        layers: number of layers.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        backend: message-passing backend: auto, sparse, scatter or reference.
    """
    return GraphSAGE(
        task.num_features, hidden, task.num_classes, layers,
        dropout=dropout, edge_dropout=edge_dropout, backend=backend,
    )  # fmt: skip
