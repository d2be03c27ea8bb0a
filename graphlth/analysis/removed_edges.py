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
    random would give. Of the edges from one node to another, such as those of several relations,
    each counts.

    Args:
        model: is not read.
        task: the nodes of one graph.
        ticket: the masks.

    Raises:
        ValueError: the task has no graph, several graphs, or no training nodes.
    """
    nothing = Ticket(ticket.init, {n: torch.ones_like(m) for n, m in ticket.masks.items()}, 0)
    whole, left = remaining_graph(task, nothing), remaining_graph(task, ticket)
    if whole.train is None:
        raise ValueError("`task` must have training nodes in one graph, got "
                         f"{getattr(task, 'name', task)!r}")  # fmt: skip
    trains = whole.edge_index.new_zeros(whole.num_nodes, dtype=torch.bool)
    trains[whole.train] = True
    degrees = [ends.bincount(minlength=whole.num_nodes) for ends in whole.edge_index]
    total, kept = (_sum_values(graph.edge_index, trains, *degrees) for graph in (whole, left))
    count, removed = whole.edge_index.size(1), whole.edge_index.size(1) - left.edge_index.size(1)
    return RemovedEdges(
        removed, *(_mean(a - b, removed) for a, b in zip(total, kept, strict=True)),
        *(_mean(each, count) for each in total),
    )  # fmt: skip


def _sum_values(edge_index: Tensor, trains: Tensor, out: Tensor, into: Tensor) -> list[int]:
    """The sums over edges [2, E] of what `RemovedEdges` tells the means of; by node, [N] each."""
    source, target = edge_index
    values = trains[source], trains[target], out[source], into[target]
    return [int(each.sum()) for each in values]


def _mean(total: int, count: int) -> float | None:
    return total / count if count else None
