"""GIN (Xu et al., ICLR 2019, arXiv:1810.00826), of any depth."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.layers import HiddenLayer, Layer, Parts, chain_units
from graphlth.compaction.liveness import live_units, sort_units, submatrices
from graphlth.edge_masks import EdgeMask, per_layer
from graphlth.models.graph._weights import draw_weight
from graphlth.settings.annotations import check_value
from graphlth.settings.types import (
    Aggregation,
    BackendName,
    Depth,
    Fraction,
    Readout,
    WeightInitializer,
    Width,
)
from graphlth.sparse.blocks import Block, blocks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.dropout import edge_dropout, relu_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_mean, weighted_sum
from graphlth.sparse.products import product
from graphlth.task import Task


class GIN(nn.Module):
    """Isomorphism layers `((1 + ε) X + (A ⊙ m) X) W` with ReLU and dropout between them.

    ε is learned per layer; one bias-free linear map a layer, as in UGS. The released code of UGS
    takes the mean of the neighbours, here `Σ m x / Σ m`, and reads all layers out.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` weight matrices.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        aggregation: the "sum" of the neighbours or their "mean".
        readout: the "last" layer gives the logits; or they are the mean over all "layers": of
            ReLU of the last one, and of a linear map of every other, from its hidden units.
        weight_initializer: "glorot" draws Glorot-uniform weights; "kaiming_uniform" those of
            torch's `Linear`, uniform in ± 1 / √in.
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
        aggregation: str = "sum",
        readout: str = "last",
        weight_initializer: str = "glorot",
        backend: str = "auto",
    ):
        super().__init__()
        hidden = [hidden_channels] * (num_layers - 1)
        self.weights = nn.ParameterList(
            torch.empty(i, o) for i, o in pairwise([in_channels, *hidden, out_channels])
        )
        check_value("readout", readout, Readout)
        read = hidden if readout == "layers" else []
        self.readouts = nn.ParameterList(torch.empty(i, out_channels) for i in read)
        self.eps = nn.Parameter(torch.zeros(num_layers))
        check_value("aggregation", aggregation, Aggregation)
        self.dropout, self.edge_dropout, self.backend = dropout, edge_dropout, backend
        self.aggregation, self.readout = aggregation, readout
        self.weight_initializer = weight_initializer
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew; set ε to 0."""
        for w in (*self.weights, *self.readouts):
            draw_weight(w, self.weight_initializer)
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
        h, read = self.convolve(0, x, first, layers[0], cache), None
        for layer, block in enumerate(others, 1):
            h = relu_dropout(h, self.dropout, self.training)
            if self.readout == "layers":
                own = product(h, self.readouts[layer - 1], backend=self.backend)
                read = block.select_nodes(own if read is None else read + own)
            h = self.convolve(layer, h, block, layers[layer], cache)
        if self.readout == "last":
            return h
        return (h.relu() if read is None else h.relu() + read) / len(self.weights)

    def convolve(
        self, layer: int, x: Tensor | Features, block: Block, weight: Tensor | None,
        cache: StepCache,
    ) -> Tensor:  # fmt: skip
        """`((1 + ε) X + (A ⊙ m) X) W` [N, d], where A is divided by its row sums for a mean."""
        known = cache.weight(f"weights.{layer}")
        h = product(x, self.weights[layer], cache=known, backend=self.backend)
        weight = None if weight is None else block.select_edges(weight)
        aggregate = weighted_sum if self.aggregation == "sum" else weighted_mean
        near = aggregate(block.graph, h, weight, backend=self.backend)
        return (1 + self.eps[layer]) * block.select_nodes(h) + near

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: EdgeMask | None = None
    ) -> Parts:
        """Its layers without dead units, of `weights` by name, on the edges of `graph`.

        `weight` [E] is that of every edge, or a tuple of one for each layer; None: all are 1.
        A loop of weight 1 + ε at every node takes the place of the first term of a sum.
        """
        maps = [weights[f"weights.{i}"] for i in range(len(self.weights))]
        if (self.aggregation, self.readout) != ("sum", "last"):
            return self.parts_with_own_maps(maps, weights, graph, weight)
        kept = sort_units(maps, live_units(maps))
        layers = [Layer(w) for w in submatrices(maps, kept)]
        adjacency = Adjacency("sum", 1 + weights["eps"])
        return Parts(graph, layers, kept[0], maps[0].size(0), "relu", adjacency, weight)

    def parts_with_own_maps(
        self, maps: list[Tensor], weights: Mapping[str, Tensor], graph: Graph,
        weight: EdgeMask | None,
    ) -> Parts:  # fmt: skip
        """`parts` of layers whose first term has a matrix of its own, (1 + ε) W."""
        near, own = maps, [(1 + e) * w for e, w in zip(weights["eps"], maps, strict=True)]
        if self.readout == "layers":
            near, own = read_layers(near, own, [weights[n] for n in self.readout_names])
            weight = (*weight, weight[-1]) if isinstance(weight, tuple) else weight
        either = [(a != 0) | (b != 0) for a, b in zip(near, own, strict=True)]
        kept = sort_units(either, live_units(either))
        each = zip(submatrices(near, kept), submatrices(own, kept), strict=True)
        layers, adjacency = [Layer(w, own=v) for w, v in each], Adjacency(self.aggregation)
        return Parts(graph, layers, kept[0], maps[0].size(0), "relu", adjacency, weight)

    @property
    def readout_names(self) -> list[str]:
        """The names of the maps that read hidden layers out."""
        return [f"readouts.{i}" for i in range(len(self.readouts))]

    def hidden_layers(self) -> list[HiddenLayer]:
        """Which entries of its parameters belong to which hidden unit."""
        names = [[f"weights.{i}"] for i in range(len(self.weights))]
        layers = chain_units(names, [w.size(1) for w in self.weights])
        for layer, name in zip(layers, self.readout_names, strict=bool(self.readouts)):
            layer.others.append((name, torch.arange(layer.size).view(-1, 1)))
        return layers

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · nnz(W) + (E + N) · d_out`; `N · nnz` of others."""
        edges = per_layer(num_edges, len(self.weights))
        layers = {
            f"weights.{i}": num_nodes * nnz[f"weights.{i}"] + (edges[i] + num_nodes) * w.size(1)
            for i, w in enumerate(self.weights)
        }
        return layers | {name: num_nodes * nnz[name] for name in self.readout_names}


def read_layers(
    near: Sequence[Tensor], own: Sequence[Tensor], readouts: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The matrices of layers `A (h W) + h V` with ReLU between them that read all of them out.

    They are those of `near` and `own`, W and V, with the sum z of what `readouts` read beside the
    units, as ReLU(z) and ReLU(−z), whose difference it is; and a layer that takes the mean.
    """
    classes, depth = near[-1].size(1), len(near)
    one = torch.eye(classes, dtype=near[-1].dtype, device=near[-1].device)
    pair = torch.cat([one, -one])  # [2 classes, classes], z of ReLU(z) and ReLU(−z)
    wide, wide_own = [near[0]], [own[0]]
    for i, (w, v, p) in enumerate(zip(near[1:], own[1:], readouts, strict=True)):
        z = torch.cat([p, pair]) if i else p  # what is added to z, and z
        z = z @ pair.T
        below = w.new_zeros(z.size(0) - w.size(0), w.size(1))
        wide.append(torch.cat([torch.cat([w, below]), torch.zeros_like(z)], 1))
        wide_own.append(torch.cat([torch.cat([v, below]), z], 1))
    mean = torch.cat([one, pair]) / depth if depth > 1 else one
    return [*wide, torch.zeros_like(mean)], [*wide_own, mean]


def gin(
    task: Task,
    *,
    hidden: Width = 16,
    layers: Depth = 2,
    dropout: Fraction = 0.5,
    edge_dropout: Fraction = 0.0,
    aggregation: Aggregation = "sum",
    readout: Readout = "last",
    weight_initializer: WeightInitializer = "glorot",
    backend: BackendName = "auto",
) -> GIN:
    """A graph isomorphism network.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every hidden layer.
        layers: number of isomorphism layers.
        dropout: probability, in [0, 1), after every layer but the last.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        aggregation: the "sum" of the neighbours or their "mean".
        readout: the "last" layer gives the logits; or they are the mean over all "layers": of ReLU
            of the last one, and of a linear map of every other.
        weight_initializer: "glorot" (uniform), or "kaiming_uniform", that of torch's `Linear`.
        backend: what computes the message passing; `auto` takes the fastest one here.
    """
    return GIN(
        task.num_features, hidden, task.num_classes, layers,
        dropout=dropout, edge_dropout=edge_dropout, aggregation=aggregation, readout=readout,
        weight_initializer=weight_initializer, backend=backend,
    )  # fmt: skip
