"""ResGCN: a deep GCN of residual blocks (Li et al., ICCV 2019, arXiv:1904.03751)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.edge_masks import EdgeMask, per_layer
from graphlth.models.graph._norm import gcn_norm
from graphlth.settings.types import BackendName, Depth, Fraction, Width
from graphlth.sparse.blocks import Block, blocks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.dropout import edge_dropout, relu_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum
from graphlth.sparse.products import product
from graphlth.task import Task

REACH = 3  # hops from the scored rows, beyond which nearly every node is read


class ResGCN(nn.Module):
    """Blocks `H + Â σ(H) W` between a map of the features and one to the classes.

    `σ(H) = dropout(ReLU(LayerNorm(H)))` comes before the convolution, the block `res+` of
    DeeperGCN (Li et al., 2020, arXiv:2006.07739), and before the last map. Layer norm, unlike batch
    norm, keeps no running statistics. Â is that of GCN with the masked graph's degrees, made once
    a pass; its self-loops are the model's own and never pruned.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` blocks.
        dropout: probability, in [0, 1), before every convolution and the last map.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        backend: the kernel's backend.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 28,
        *,
        dropout: float = 0.5,
        edge_dropout: float = 0.0,
        backend: str = "auto",
    ):
        super().__init__()
        d = hidden_channels
        if d < 2:
            raise ValueError(f"`hidden` must be at least 2 to be normalised by layer, got {d}")
        self.first = nn.Parameter(torch.empty(in_channels, d))
        self.weights = nn.ParameterList(torch.empty(d, d) for _ in range(num_layers))
        self.last = nn.Parameter(torch.empty(d, out_channels))
        self.scales = nn.ParameterList(torch.empty(d) for _ in range(num_layers + 1))
        self.shifts = nn.ParameterList(torch.empty(d) for _ in range(num_layers + 1))
        self.dropout, self.edge_dropout, self.backend = dropout, edge_dropout, backend
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Glorot-uniform weights; set the norms to scale by 1 and shift by 0."""
        for w in (self.first, *self.weights, self.last):
            nn.init.xavier_uniform_(w)
        for scale, shift in zip(self.scales, self.shifts, strict=True):
            nn.init.ones_(scale)
            nn.init.zeros_(shift)

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
        With `rows` [R] only those nodes' logits; the last few layers compute no more than what they
        depend on, the others all nodes. `cache` is what a training keeps from step to step.
        """
        cache = StepCache() if cache is None else cache
        graph = Graph.of(graph, x.shape[0])
        weight = edge_dropout(graph, weight, self.edge_dropout, self.training, like=self.first)
        graph = graph.with_loops  # A + I
        norm = gcn_norm(graph, weight, dtype=self.first.dtype, backend=self.backend)
        norms = per_layer(norm, len(self.weights))
        near = min(REACH, len(self.weights))
        parts = blocks(graph, len(self.weights) - near) + blocks(graph, near, rows)
        parts[0], x = parts[0].restrict(x)
        h = product(x, self.first, cache=cache.weight("first"), backend=self.backend)
        for layer, block in enumerate(parts):
            h = block.select_nodes(h) + self.convolve(layer, h, block, norms[layer])
        return product(self.activate(-1, h), self.last, backend=self.backend)

    def activate(self, layer: int, h: Tensor) -> Tensor:
        """`σ(H)` [N, d]."""
        h = F.layer_norm(h, h.shape[-1:], self.scales[layer], self.shifts[layer])
        return relu_dropout(h, self.dropout, self.training)

    def convolve(self, layer: int, h: Tensor, block: Block, norm: Tensor) -> Tensor:
        """`Â σ(H) W` [N, d] with the weights `norm` [E + N] of Â."""
        h = product(self.activate(layer, h), self.weights[layer], backend=self.backend)
        return weighted_sum(block.graph, h, block.select_edges(norm), backend=self.backend)

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · nnz(W)`, in a block `+ (E + N) · d`; norms none."""
        ends = {name: num_nodes * nnz[name] for name in ("first", "last")}
        edges, d = per_layer(num_edges, len(self.weights)), self.last.size(0)
        names = {f"weights.{i}": e for i, e in enumerate(edges)}
        return ends | {n: num_nodes * nnz[n] + (e + num_nodes) * d for n, e in names.items()}


def resgcn(
    task: Task,
    *,
    hidden: Width = 16,
    layers: Depth = 28,
    dropout: Fraction = 0.5,
    edge_dropout: Fraction = 0.0,
    backend: BackendName = "auto",
) -> ResGCN:
    """A deep residual graph convolutional network.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every layer, at least 2.
        layers: number of residual graph convolutions; the papers have 7, 14 and 28.
        dropout: probability, in [0, 1), before every convolution and the last map.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        backend: what computes the message passing; `auto` takes the fastest one here.
    """
    return ResGCN(
        task.num_features, hidden, task.num_classes, layers,
        dropout=dropout, edge_dropout=edge_dropout, backend=backend,
    )  # fmt: skip
