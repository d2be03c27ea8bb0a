"""The graph that a ticket leaves."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphlth.masks import only
from graphlth.task import Task, apply_edge_masks
from graphlth.ticket import Ticket


class RemainingGraph(NamedTuple):
    """The graph that a ticket leaves, as `measure_structure` takes it."""

    edge_index: Tensor  # [2, E]
    num_nodes: int
    labels: Tensor | None = None  # [N] classes, below 0 where a node has none
    train: Tensor | None = None  # the training nodes


def remaining_graph(task: Task, ticket: Ticket) -> RemainingGraph:
    """The graph that a ticket leaves; which one `structure` says.

    Raises:
        ValueError: the task has no graph.
    """
    left: Any = apply_edge_masks(task, only(ticket.masks, "edges"))
    graph = getattr(left, "graph", None)
    if hasattr(left, "node_type"):  # of a `HeteroData`
        return RemainingGraph(*_all_relations(left))
    if graph is None:
        raise ValueError(f"`task` must have a graph, got {getattr(task, 'name', task)!r}")
    if hasattr(left, "graphs"):
        return RemainingGraph(*_training_graphs(left))
    y = None if hasattr(left, "pairs") else getattr(left, "y", None)  # of pairs, not of nodes
    labels = y if isinstance(y, Tensor) and y.shape == (graph.num_nodes,) else None
    of_nodes = labels is not None or (isinstance(y, Tensor) and len(y) == graph.num_nodes)
    labels = None if labels is None or labels.is_floating_point() else labels
    return RemainingGraph(
        graph.edge_index, graph.num_nodes, labels, left.rows["train"] if of_nodes else None
    )


def _training_graphs(task: Any) -> tuple[Tensor, int]:
    """The edges and the number of nodes of the graphs that are trained on."""
    first, rows = task.graphs.first_node, task.rows["train"]
    of = torch.arange(task.graphs.count).repeat_interleave(first.diff().cpu())  # [N] the graph
    there = torch.isin(of, rows.cpu())
    number = there.cumsum(0) - 1
    return number[task.graph.edge_index.cpu()], int(there.sum())


def _all_relations(task: Any) -> tuple[Tensor, int, Tensor | None, Tensor | None]:
    """Edges, number of nodes, labels and training nodes of all types, numbered type by type.

    Of pairs of nodes there are no labels and no training nodes.
    """
    data = task.data
    offsets: dict[str, int] = data.node_offsets
    edges = [torch.stack([source + offsets[kind[0]], target + offsets[kind[2]]])
             for kind in data.edge_types for source, target in [data[kind].edge_index]]  # fmt: skip
    labels, first, count = None, offsets[task.node_type], int(data.num_nodes)
    if hasattr(task, "pairs"):
        return torch.cat(edges, 1), count, None, None
    if task.y.dim() == 1 and not task.y.is_floating_point():
        labels = task.y.new_full((count,), -1)
        labels[first : first + task.num_nodes] = task.y
    return torch.cat(edges, 1), count, labels, task.rows["train"] + first
