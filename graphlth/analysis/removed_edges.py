"""Removed edges: at which nodes the edges lie that a ticket removes, beside all edges."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphlth.analysis._remaining_graph import remaining_graph
from graphlth.task import Task
from graphlth.ticket import Ticket


@dataclass(frozen=True)
class RemovedEdges:
    """Of directed edges, two for an undirected pair; None where no edge is removed."""

    removed_count: int
    removed_from_training: float | None  # share of the removed edges that leave a training node
    removed_into_training: float | None  # that enter one
    removed_source_degree: float | None  # mean over removed edges: edges out of the source
    removed_target_degree: float | None  # edges into the target
    all_from_training: float | None  # the same of all edges
    all_into_training: float | None
    all_source_degree: float | None
    all_target_degree: float | None


def removed_edges(model: nn.Module, task: Task, ticket: Ticket) -> RemovedEdges:
    """How many of the removed edges leave or enter training nodes, and the degrees at their ends.

    Degrees are those of the whole graph. What training nodes see decides the loss, so that a search
    that looks at the loss alone may remove their edges first; `all_...` is what edges removed at
    random would give.

    Args:
        model: is not read.
        task: the nodes of one graph of one kind of edges.
        ticket: the masks.

    Raises:
        ValueError: the task has no graph, several graphs, or no training nodes.
    """
    nothing = Ticket(ticket.init, {n: torch.ones_like(m) for n, m in ticket.masks.items()}, 0)
    whole, left = remaining_graph(task, nothing), remaining_graph(task, ticket)
    if whole.train is None:
        raise ValueError("`task` must have training nodes in one graph, got "
                         f"{getattr(task, 'name', task)!r}")  # fmt: skip
    n = whole.num_nodes
    gone = ~torch.isin(_keys(whole.edge_index, n), _keys(left.edge_index, n))
    trains = torch.zeros(n, dtype=torch.bool)
    trains[whole.train] = True
    source, target = whole.edge_index
    values = (trains[source], trains[target], torch.bincount(source, minlength=n)[source],
              torch.bincount(target, minlength=n)[target])  # fmt: skip
    return RemovedEdges(
        int(gone.sum()), *(_mean(v[gone]) for v in values), *(_mean(v) for v in values)
    )


def _keys(edge_index: Tensor, num_nodes: int) -> Tensor:
    """A number for each edge."""
    return edge_index[0] * num_nodes + edge_index[1]


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
