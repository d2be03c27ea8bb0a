"""GIN with a read-out, for whole graphs (Xu et al., ICLR 2019, arXiv:1810.00826)."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import GINConv, GINEConv, global_add_pool, global_mean_pool

from graphlth.data.graphs import GraphTask
from graphlth.settings.types import Depth, Fraction, Width
from graphlth.task import Task

Pooling = Literal["sum", "mean"]
POOL = {"sum": global_add_pool, "mean": global_mean_pool}


class CategoryEncoder(nn.Module):
    """The sum of one embedding for each column of categories, as OGB's encoders of molecules.

    Args:
        sizes: how many categories each column has.
        width: of the embeddings.
    """

    def __init__(self, sizes: Sequence[int], width: int):
        super().__init__()
        embeddings = [nn.Embedding(size, width) for size in sizes]
        for embedding in embeddings:
            nn.init.xavier_uniform_(embedding.weight)
        self.embeddings = nn.ModuleList(embeddings)

    def forward(self, categories: Tensor) -> Tensor:
        """[N, width] of categories [N, columns]."""
        columns = categories.unbind(1)
        every = [embed(c) for embed, c in zip(self.embeddings, columns, strict=True)]
        return torch.stack(every).sum(0)


class GraphGIN(nn.Module):
    """PyG's `GINConv` layers with batch norm, a pooling of the nodes of each graph, and an MLP.

    A layer is `MLP((1 + ε) x_i + Σ_j x_j)`, its MLP two linear maps with batch norm and ReLU after
    each. With features of edges it is `GINEConv`, `Σ_j relu(x_j + W e_ij)`.

    Args:
        features: the columns of x, or how many categories each has: these are embedded first.
        hidden: the width of every layer.
        outputs: the columns of the output.
        layers: convolutions.
        dropout: probability, in [0, 1), before the last linear map.
        pooling: the "sum" or the "mean" over the nodes of a graph.
        edge_features: as `features`, of edges; None: they are not read.
    """

    def __init__(
        self,
        features: int | Sequence[int],
        hidden: int,
        outputs: int,
        layers: int = 3,
        *,
        dropout: float = 0.5,
        pooling: Pooling = "sum",
        edge_features: int | Sequence[int] | None = None,
    ):
        super().__init__()
        self.encoder = nn.Identity() if isinstance(features, int) else _encoder(features, hidden)
        self.widths = widths = [
            features if isinstance(features, int) else hidden,
            *[hidden] * (layers - 1),
        ]
        conv = GINConv if edge_features is None else GINEConv
        self.convs = nn.ModuleList(conv(_mlp(width, hidden), train_eps=True) for width in widths)
        self.edge_encoders = nn.ModuleList(
            _encoder(edge_features, width) for width in widths if edge_features is not None
        )
        self.pooling = pooling
        self.head = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
        )

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Logits [graphs, outputs].

        Args:
            x: features [N, F], or categories.
            edge_index: source and target of every edge [2, E].
            batch: the graph of every node [N].
            edge_attr: features of edges [E, D], or categories.
        """
        x = self.encoder(x)
        for i, conv in enumerate(self.convs):
            edges = (self.edge_encoders[i](edge_attr),) if self.edge_encoders else ()
            x = conv(x, edge_index, *edges)
        logits: Tensor = self.head(POOL[self.pooling](x, batch))
        return logits

    def graph_macs(
        self, num_graphs: int, num_nodes: int, num_edges: int, nnz: Mapping[str, int]
    ) -> dict[str, int]:
        """Multiply–accumulates per weight, and `(E + N) · d` of the messages of each layer.

        An embedding is looked up, which costs none.
        """
        rows = {"convs": num_nodes, "edge_encoders": num_edges, "head": num_graphs}
        counts = {name: rows[name.partition(".")[0]] * kept
                  for name, kept in nnz.items() if "embeddings" not in name}  # fmt: skip
        messages = num_edges + num_nodes
        return counts | {f"convs.{i}": messages * w for i, w in enumerate(self.widths)}


def graph_gin(
    task: Task,
    *,
    hidden: Width = 64,
    layers: Depth = 3,
    dropout: Fraction = 0.5,
    pooling: Pooling = "sum",
    edge_features: bool = False,
) -> GraphGIN:
    """A graph isomorphism network with a read-out, of PyG's own operators.

    Features that are integers are categories, and embedded.

    Args:
        task: gives graphs with their features and the number of outputs.
        hidden: channels of every layer.
        layers: number of isomorphism layers.
        dropout: probability, in [0, 1), before the last linear map.
        pooling: what is made of the nodes of a graph, their sum or their mean.
        edge_features: read those of edges, too: GINE.

    Raises:
        ValueError: `task` is of nodes or links, images or text; or its edges have no features.
    """
    if not isinstance(task, GraphTask):
        raise ValueError(f"`task` must have many graphs, got {task.name!r}: use gin for the nodes "
                         "of one")  # fmt: skip
    attributes = task.graphs.of_edges.get("edge_attr")
    if edge_features and attributes is None:
        raise ValueError("`edge_features` must be false where edges have none, got "
                         f"{task.name!r} without `edge_attr`")  # fmt: skip
    edges = _inputs(attributes) if edge_features and attributes is not None else None
    return GraphGIN(
        _inputs(task.x), hidden, task.num_classes, layers,
        dropout=dropout, pooling=pooling, edge_features=edges,
    )  # fmt: skip


def _inputs(values: Tensor) -> int | tuple[int, ...]:
    """How many columns of numbers there are, or how many categories in each column."""
    values = values[:, None] if values.dim() == 1 else values
    if values.is_floating_point() or not len(values):
        return values.size(1)
    return tuple((values.max(0).values + 1).tolist())


def _encoder(inputs: int | Sequence[int], width: int) -> nn.Module:
    if isinstance(inputs, int):
        return nn.Linear(inputs, width)
    return CategoryEncoder(inputs, width)


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(),
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
    )  # fmt: skip
