"""GAT (Veličković et al., ICLR 2018, arXiv:1710.10903), of any depth."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.layers import HiddenLayer, Layer, Parts, chain_units
from graphlth.compaction.liveness import live_units
from graphlth.edge_masks import EdgeMask, map_edges, per_layer
from graphlth.models.graph._weights import draw_weight
from graphlth.settings.types import (
    AddSelfLoops,
    BackendName,
    Depth,
    Fraction,
    Heads,
    NegativeSlope,
    WeightInitializer,
    Width,
)
from graphlth.sparse.blocks import Block, blocks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.dropout import dropout, edge_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import attention
from graphlth.sparse.products import product
from graphlth.task import Task


class GAT(nn.Module):
    """Attention layers `α (X W)` with `α ∝ m · exp(LeakyReLU(a_s·W x_j + a_t·W x_i))`.

    Every node attends to itself through a loop that is the model's own and never pruned, or by
    those of the data alone. Hidden layers concatenate `heads` heads of `hidden_channels` each and
    end with ELU; the last has one head. The inputs of every layer and the attention are dropped
    out.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` layers.
        heads: attention heads of every hidden layer.
        dropout: probability, in [0, 1), on attention and hidden outputs.
        input_dropout: probability, in [0, 1), on the features; 0 in UGS.
        bias: whether layers add a bias; not in UGS.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        add_self_loops: whether the model adds its own; else a node without an edge gets zeros.
        negative_slope: of LeakyReLU, in [0, 1]; torch's own default, 0.01, in the code of UGS.
        weight_initializer: "glorot" draws Glorot-uniform weights; "kaiming_uniform" those of
            torch's `Linear`, a head's attention being one of 2 `hidden_channels` inputs.
        backend: the kernel's backend.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        *,
        heads: int = 8,
        dropout: float = 0.6,
        input_dropout: float = 0.6,
        bias: bool = True,
        edge_dropout: float = 0.0,
        add_self_loops: bool = True,
        negative_slope: float = 0.2,
        weight_initializer: str = "glorot",
        backend: str = "auto",
    ):
        super().__init__()
        hidden = num_layers - 1
        widths = [in_channels, *[heads * hidden_channels] * hidden]
        shapes = [*[(heads, hidden_channels)] * hidden, (1, out_channels)]  # (heads, d) per layer
        self.weights = nn.ParameterList(
            torch.empty(i, h * d) for i, (h, d) in zip(widths, shapes, strict=True)
        )
        self.source_attention = nn.ParameterList(torch.empty(s) for s in shapes)
        self.target_attention = nn.ParameterList(torch.empty(s) for s in shapes)
        widths = [h * d for h, d in shapes] if bias else []
        self.biases = nn.ParameterList(torch.empty(d) for d in widths)
        self.dropout, self.input_dropout = dropout, input_dropout
        self.edge_dropout, self.backend = edge_dropout, backend
        self.add_self_loops, self.negative_slope = add_self_loops, negative_slope
        self.weight_initializer = weight_initializer
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew; set biases to 0."""
        for w in self.weights:
            draw_weight(w, self.weight_initializer)
        for a in (*self.source_attention, *self.target_attention):
            draw_weight(a, self.weight_initializer, inputs=2 * a.size(1))
        for b in self.biases:
            nn.init.zeros_(b)

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
        weight = edge_dropout(graph, weight, self.edge_dropout, self.training, like=self.weights[0])
        if self.add_self_loops:
            graph = graph.with_loops
            weight = map_edges(lambda w: add_loops(w, graph.num_nodes), weight)
        layers = per_layer(weight, len(self.weights))
        first, *others = blocks(graph, len(self.weights), rows)
        first, x = first.restrict(x)
        x = drop_features(x, self.input_dropout, self.training)
        h = self.attend(0, x, first, layers[0], cache)
        for layer, block in enumerate(others, 1):
            h = dropout(F.elu(h), self.dropout, self.training)
            h = self.attend(layer, h, block, layers[layer], cache)
        return h

    def attend(
        self, layer: int, x: Tensor | Features, block: Block, weight: Tensor | None,
        cache: StepCache,
    ) -> Tensor:  # fmt: skip
        """`α (X W) + b` [N, heads · d] over the graph of `block`, loops included."""
        a_source, a_target = self.source_attention[layer], self.target_attention[layer]
        w, heads = self.weights[layer], len(a_source)
        h = product(x, w, cache=cache.weight(f"weights.{layer}"), backend=self.backend)
        h = h.view(-1, *a_source.shape)
        to_both = torch.cat([(w.view(-1, *a.shape) * a).sum(-1) for a in (a_source, a_target)], 1)
        scores = product(x, to_both, backend=self.backend)  # [N, 2 heads] a·(W x) = (a·W) x
        sent, received = scores[:, :heads], block.select_nodes(scores[:, heads:])
        weight = None if weight is None else block.select_edges(weight)
        keep = None
        if self.training and self.dropout:
            keep = dropout(h.new_ones(block.graph.num_edges, h.size(1)), self.dropout)
        how = {"slope": self.negative_slope, "backend": self.backend}
        out = attention(block.graph, h, sent, received, weight, keep, **how).flatten(1)  # type: ignore[arg-type]
        return out + self.biases[layer] if len(self.biases) else out

    def parts(
        self, weights: Mapping[str, Tensor], graph: Graph, weight: EdgeMask | None = None
    ) -> Parts:
        """Its layers without dead units, of `weights` by name, on the edges of `graph`.

        `weight` [E] is that of every edge, or a tuple of one for each layer; None: all are 1.
        A head goes when none of its units is read, a unit of another one when neither the next
        layer nor the attention reads it or it is always 0. The heads that are left are padded to
        the same number of units.
        """
        depth = range(len(self.weights))
        maps = [weights[f"weights.{i}"] for i in depth]
        sent = [weights[f"source_attention.{i}"] for i in depth]
        received = [weights[f"target_attention.{i}"] for i in depth]
        biases = [weights[f"biases.{i}"] for i in depth] if len(self.biases) else []
        heeded = [(s != 0) | (r != 0) for s, r in zip(sent, received, strict=True)]
        features, *units = live_units(maps, biases, heeded)
        rows, layers = features.nonzero().squeeze(1), []
        for i in depth:
            columns = pad_heads(units[i].view(sent[i].shape))  # [heads, d]
            pick = columns.flatten()
            layers.append(
                Layer(
                    _pick(_pick(maps[i], rows, 0), pick, 1),
                    sent=_pick(sent[i].flatten(), pick, 0).view(columns.shape),
                    received=_pick(received[i].flatten(), pick, 0).view(columns.shape),
                    bias=_pick(biases[i], pick, 0) if biases else None,
                )
            )
            rows = pick
        loops = maps[0].new_ones(1) if self.add_self_loops else None
        return Parts(
            graph, layers, features.nonzero().squeeze(1), maps[0].size(0), "elu",
            Adjacency("sum", loops), weight, self.negative_slope,
        )  # fmt: skip

    def hidden_layers(self) -> list[HiddenLayer]:
        """Which entries of its parameters belong to which hidden unit."""
        names = [[f"weights.{i}"] for i in range(len(self.weights))]
        layers = chain_units(names, [w.size(1) for w in self.weights])
        for i, layer in enumerate(layers):
            units = torch.arange(layer.size)
            heads = units.view(self.source_attention[i].shape)
            layer.others.extend((f"{n}_attention.{i}", heads) for n in ("source", "target"))
            layer.others.extend([(f"biases.{i}", units)] if len(self.biases) else [])
        return layers

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · (nnz(W) + nnz(a)) + (E + N) · heads · d_out`.

        N loops of the model's own, if there are any, are among the E + N edges.
        """
        edges = per_layer(num_edges, len(self.weights))
        loops = num_nodes if self.add_self_loops else 0
        return {
            f"layer.{i}": num_nodes
            * sum(nnz[f"{n}.{i}"] for n in ("weights", "source_attention", "target_attention"))
            + (edges[i] + loops) * w.size(1)
            for i, w in enumerate(self.weights)
        }


def add_loops(weight: Tensor, num_nodes: int) -> Tensor:
    """The weights [E + N] of edges and loops; a loop is never pruned and weighs 1."""
    return torch.cat([weight, weight.new_ones(num_nodes)])


def pad_heads(kept: Tensor) -> Tensor:
    """The numbers [heads', d'] of the units `kept` [heads, d] of the heads that have any, then -1.

    Where none is left, one head of one unit that is not there stands in.
    """
    count = kept.sum(1)
    numbers = torch.full((max(1, int((count > 0).sum())), max(1, int(count.max()))), -1)
    numbers = numbers.to(kept.device)
    for row, head in enumerate(count.nonzero().flatten().tolist()):
        own = kept[head].nonzero().squeeze(1)
        numbers[row, : own.numel()] = head * kept.size(1) + own
    return numbers


def _pick(values: Tensor, numbers: Tensor, dim: int) -> Tensor:
    """The slices `numbers` of `values` along `dim`, zeros for -1."""
    shape = [-1 if d == dim else 1 for d in range(values.dim())]
    return values.index_select(dim, numbers.clamp(min=0)) * (numbers >= 0).view(shape)


def drop_features(x: Tensor | Features, p: float, training: bool) -> Tensor | Features:
    """`x` after dropout; of sparse features the entries that there are."""
    if isinstance(x, Features):
        return Features(x.graph, dropout(x.values, p, training))
    return dropout(x, p, training)


def gat(
    task: Task,
    *,
    hidden: Width = 8,
    layers: Depth = 2,
    heads: Heads = 8,
    dropout: Fraction = 0.6,
    input_dropout: Fraction = 0.6,
    bias: bool = True,
    edge_dropout: Fraction = 0.0,
    add_self_loops: AddSelfLoops = True,
    negative_slope: NegativeSlope = 0.2,
    weight_initializer: WeightInitializer = "glorot",
    backend: BackendName = "auto",
) -> GAT:
    """A graph attention network.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every head of a hidden layer.
        layers: number of attention layers.
        heads: attention heads of every hidden layer.
        dropout: probability, in [0, 1), on attention and hidden outputs.
        input_dropout: probability, in [0, 1), on the features; 0 in UGS.
        bias: whether layers add a bias; not in UGS.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        add_self_loops: whether the model adds a loop to every node, which is never pruned.
        negative_slope: of the LeakyReLU of the attention, in [0, 1].
        weight_initializer: "glorot" (uniform), or "kaiming_uniform", that of torch's `Linear`.
        backend: message-passing backend: auto, sparse, scatter or reference.
    """
    return GAT(
        task.num_features, hidden, task.num_classes, layers,
        heads=heads, dropout=dropout, input_dropout=input_dropout, bias=bias,
        edge_dropout=edge_dropout, add_self_loops=add_self_loops, negative_slope=negative_slope,
        weight_initializer=weight_initializer, backend=backend,
    )  # fmt: skip
