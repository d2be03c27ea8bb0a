"""Graph InfoClust (Mavromatis & Karypis, PAKDD 2021, arXiv:2009.06946): an encoder without labels.

The outputs of nodes are told from those on a corrupted graph by how near they lie to the mean of
all (Deep Graph Infomax, arXiv:1809.10341) and to the centre of their cluster. UGS finds its tickets
for links with it.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.edge_masks import map_edges
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.streams import stream
from graphlth.task import Batch

EPS = 1e-4
STEPS = 10  # of k-means before the one that has a gradient


@dataclass(frozen=True)
class InfoClust:
    """A loss of the outputs of all nodes, and after them of all nodes of the corrupted graph.

    Nothing of it is trained: where the authors compare with the mean by a bilinear form, it is the
    dot product here, as for the clusters. Its weights would be neither masked nor in a ticket.

    Args:
        clusters: how many there are.
        temperature: how hard nodes are assigned to clusters.
    """

    clusters: int = 128
    temperature: float = 100.0

    def __call__(self, output: Tensor, batch: Batch) -> Tensor:
        """Half the cross-entropy of telling outputs [2N, d] by their mean, half by clusters."""
        real, labels = output.chunk(2)[0], batch.target[:, 0]
        mean = real.mean(0).sigmoid()  # s
        centres = self.centres_of(real).sigmoid().repeat(2, 1)  # [2N, d]
        by_mean, by_cluster = output @ mean, (output * centres).sum(1)
        both = [F.binary_cross_entropy_with_logits(each, labels) for each in (by_mean, by_cluster)]
        return (both[0] + both[1]) / 2

    def centres_of(self, h: Tensor) -> Tensor:
        """The mean [N, d] of the cluster centres that each of the outputs `h` [N, d] belongs to."""
        h = _unit(h)
        drawn = torch.rand(self.clusters, h.size(1), generator=stream(0, "cluster centres"))
        with torch.no_grad():
            centres = drawn.to(h)
            for _ in range(STEPS):
                centres = self._step(h, centres)[0]
        centres, share = self._step(h, centres)
        return share @ centres

    def _step(self, h: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """The centres [K, d] after a step of soft k-means, and shares [N, K] of outputs in them."""
        share = (self.temperature * h @ _unit(centres).T).softmax(1)
        return share.T @ h / (share.sum(0)[:, None] + EPS), share


def _unit(h: Tensor) -> Tensor:
    return h / (h.norm(dim=1, keepdim=True) + EPS)


class Corruption:
    """Batches of a graph beside a copy in which the features belong to other nodes.

    Nodes N to 2N are those of the copy. That their features are permuted is the same, but for the
    order of its nodes, as that its edges are: so features stay what they are in every epoch.

    Args:
        batch: the graph.
    """

    def __init__(self, batch: Batch):
        x, graph = batch.inputs
        self.plain, self.num_nodes = batch, graph.num_nodes
        self.x = _twice(x)
        assert batch.entries is not None
        self.entries = torch.cat([batch.entries] * 2)
        self.edge_weight = map_edges(lambda w: torch.cat([w] * 2), batch.edge_weight)
        self.columns = {key: torch.cat([each] * 2) for key, each in batch.columns.items()}
        self.target = batch.entries.new_zeros(2 * self.num_nodes, 1).to(torch.get_default_dtype())
        self.target[: self.num_nodes] = 1
        self.data = None if batch.data is None else _join(batch.data, batch.data)

    def draw(self, seed: int, index: int) -> Batch:
        """The batch of epoch `index`, whose copy is drawn from `seed`; real nodes have target 1."""
        plain, other, n = self.plain, permute_edges(self.plain, seed, index), self.num_nodes
        data = copy.copy(self.data)
        if data is not None:
            data.edge_index = torch.cat([plain.data.edge_index, other.data.edge_index + n], 1)
        both = plain.inputs[1].edge_index, other.inputs[1].edge_index + n
        inputs = (self.x, Graph(torch.cat(both, 1), 2 * n))
        return replace(
            plain, inputs=inputs, target=self.target, rows=..., entries=self.entries,
            among=None, edge_weight=self.edge_weight, data=data, columns=self.columns, copies=2,
        )  # fmt: skip


def _twice(x: Tensor | Features) -> Tensor | Features:
    """Features [2N, F]: those of all nodes, and again."""
    if isinstance(x, Tensor):
        return torch.cat([x, x])
    (n, f), edge_index = x.shape, x.graph.edge_index
    below = edge_index + edge_index.new_tensor([[0], [n]])
    return Features(Graph(torch.cat([edge_index, below], 1), (f, 2 * n)), torch.cat([x.values] * 2))


def _join(*graphs: Any) -> Any:
    from torch_geometric.data import Batch as Graphs  # loads slowly

    return Graphs.from_data_list([*graphs])


def permute_edges(batch: Batch, seed: int, index: int) -> Batch:
    """The graph of `batch` whose edges are those of nodes in an order drawn from `seed`, `index`.

    It is the graph with permuted features, but for the order of its nodes.
    """
    graph, data = batch.inputs[1], batch.data
    order = torch.randperm(graph.num_nodes, generator=stream(seed, "corruption", index))
    order = order.to(graph.device)
    if data is not None:
        data = copy.copy(data)
        data.edge_index = order[data.edge_index]
    inputs = (batch.inputs[0], Graph(order[graph.edge_index], graph.num_nodes))
    return replace(batch, inputs=inputs, data=data)
