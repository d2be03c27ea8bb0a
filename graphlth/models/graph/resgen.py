"""ResGEN: DeeperGCN with its softmax aggregation (Li et al., 2020, arXiv:2006.07739)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.edge_masks import EdgeMask, per_layer
from graphlth.settings.types import BackendName, Depth, Fraction, Positive, Width
from graphlth.sparse.blocks import Block, blocks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.dropout import edge_dropout, relu_dropout
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum
from graphlth.sparse.products import product
from graphlth.task import Task

REACH = 3  # hops from the scored rows, beyond which nearly every node is read
EPS = 1e-7  # of GENConv's messages, which are above 0
MOST = 60.0  # of a logit t M; larger ones count as this, so that no sum of e^(t M) overflows


class ResGEN(nn.Module):
    """Blocks `H + GEN(σ(H))` (`res+`) between a map of the features and one to the classes.

    `GEN(H) = (H + A softmax(t M) M) W + b` of the messages `M = ReLU(H) + 1e-7`: each channel of a
    node takes the mean of those of its sources, weighted by `e^(t M)`. It is PyG's
    `GENConv(d, d, aggr="softmax", num_layers=1, bias=True)`. `σ(H) = dropout(ReLU(LayerNorm(H)))`;
    the first block is GEN alone. A pruned edge is in no sum of the softmax. The code of UGS and of
    DeeperGCN for ogbn-arxiv has batch norm in the place of layer norm, which keeps no running
    statistics.

    Args:
        in_channels, hidden_channels, out_channels: widths; `num_layers` blocks.
        dropout: probability, in [0, 1), before every block but the first, and the last map.
        t: the inverse temperature of the softmax; of every block where it is learned.
        learn_t: learn it.
        semi_grad: no gradient flows through the softmax (`softmax_sg` in the published code).
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
        t: float = 0.1,
        learn_t: bool = False,
        semi_grad: bool = False,
        edge_dropout: float = 0.0,
        backend: str = "auto",
    ):
        super().__init__()
        d = hidden_channels
        if d < 2:
            raise ValueError(f"`hidden` must be at least 2 to be normalised by layer, got {d}")
        if learn_t and semi_grad:
            raise ValueError("`semi_grad` must be False where `t` is learned, got both: no "
                             "gradient reaches it")  # fmt: skip
        self.first = nn.Linear(in_channels, d)
        self.convs = nn.ModuleList(nn.Linear(d, d) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(num_layers))
        self.last = nn.Linear(d, out_channels)
        learned = nn.Parameter(torch.full((num_layers,), float(t)))
        self.t = learned if learn_t else t
        self.dropout, self.semi_grad = dropout, semi_grad
        self.edge_dropout, self.backend = edge_dropout, backend
        self._start = t

    def reset_parameters(self) -> None:
        """Draw all weights anew, as torch's linear layers do; norms and t start as they did."""
        for layer in (self.first, *self.convs, *self.norms, self.last):
            layer.reset_parameters()
        if isinstance(self.t, nn.Parameter):
            nn.init.constant_(self.t, self._start)

    @property
    def num_layers(self) -> int:
        """How many layers read the edges."""
        return len(self.convs)

    def forward(
        self,
        x: Tensor | Features,
        graph: Graph | Tensor,
        weight: EdgeMask | None = None,
        rows: Tensor | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """Logits [N, out] of `x` [N, in] over `graph` (or `edge_index` [2, E]), `weight` [E].

        `weight` may be a tuple with one for each layer. With `rows` [R] only those nodes' logits;
        the last few layers compute no more than what they depend on, the others all nodes. `cache`
        is what a training keeps from step to step.
        """
        cache = StepCache() if cache is None else cache
        graph = Graph.of(graph, x.shape[0])
        w = self.first.weight
        weight = edge_dropout(graph, weight, self.edge_dropout, self.training, like=w)
        weights = per_layer(weight, self.num_layers)
        near = min(REACH, self.num_layers)
        parts = blocks(graph, self.num_layers - near) + blocks(graph, near, rows)
        parts[0], x = parts[0].restrict(x)
        h = product(x, w.T, cache=cache.weight("first"), backend=self.backend) + self.first.bias
        for layer, block in enumerate(parts):
            inside = h if layer == 0 else self.activate(layer - 1, h)
            out = self.convolve(layer, inside, block, weights[layer])
            h = out if layer == 0 else block.select_nodes(h) + out
        return self.last(self.activate(-1, h))

    def activate(self, layer: int, h: Tensor) -> Tensor:
        """`σ(H)` [N, d]."""
        return relu_dropout(self.norms[layer](h), self.dropout, self.training)

    def convolve(self, layer: int, h: Tensor, block: Block, weight: Tensor | None) -> Tensor:
        """`GEN(H)` [N, d] with the weights [E] of the whole graph's edges."""
        message = F.relu(h) + EPS  # [N, d]
        t = self.t[layer] if isinstance(self.t, Tensor) else self.t
        logits = t * (message.detach() if self.semi_grad else message)
        share = logits.clamp(-MOST, MOST).exp()  # [N, d], of each node alone
        w = None if weight is None else block.select_edges(weight)
        both = torch.cat([share * message, share], -1)  # one pass over the edges for both sums
        sums = weighted_sum(block.graph, both, w, backend=self.backend)  # [N, 2 d]
        above, below = sums.split(h.size(-1), -1)
        mean = above / below.where(below > 0, torch.ones_like(below))  # 0 of a node without edges
        made: Tensor = self.convs[layer](block.select_nodes(h) + mean)
        return made

    def macs(
        self, num_nodes: int, num_edges: int | Sequence[int], nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per layer: `N · nnz(W)`, in a block `+ 2 E · d`; norms none."""
        ends = {n: num_nodes * nnz[f"{n}.weight"] for n in ("first", "last")}
        edges, d = per_layer(num_edges, self.num_layers), self.last.in_features
        names = {f"convs.{i}": e for i, e in enumerate(edges)}
        return ends | {n: num_nodes * nnz[f"{n}.weight"] + 2 * e * d for n, e in names.items()}


def resgen(
    task: Task,
    *,
    hidden: Width = 128,
    layers: Depth = 28,
    dropout: Fraction = 0.5,
    t: Positive = 0.1,
    learn_t: bool = False,
    semi_grad: bool = False,
    edge_dropout: Fraction = 0.0,
    backend: BackendName = "auto",
) -> ResGEN:
    """A deep residual network of GENConv: DeeperGCN, the ResGCN-28 of UGS on OGB.

    Features of edges are not read; a model of PyG's `GENConv` and `DeepGCNLayer` reads them.

    Args:
        task: gives the numbers of features and classes.
        hidden: channels of every layer, at least 2.
        layers: number of residual blocks; UGS has 28.
        dropout: probability, in [0, 1), before every block but the first, and the last map.
        t: the inverse temperature of the softmax over the messages of a node, channel by channel.
        learn_t: learn it, for every block.
        semi_grad: no gradient flows through the softmax, as in the published code.
        edge_dropout: probability, in [0, 1), that an edge is left out of a training step.
        backend: what computes the message passing; `auto` takes the fastest one here.
    """
    return ResGEN(
        task.num_features, hidden, task.num_classes, layers, dropout=dropout, t=t, learn_t=learn_t,
        semi_grad=semi_grad, edge_dropout=edge_dropout, backend=backend,
    )  # fmt: skip
