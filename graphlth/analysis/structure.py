"""Structure: what the graph that a ticket leaves looks like."""

from typing import Any

import torch
from torch import Tensor, nn

from graphlth.data.structure import GraphStructure, measure_structure
from graphlth.masks import only
from graphlth.task import Task, apply_edge_masks
from graphlth.ticket import Ticket


def structure(model: nn.Module, task: Task, ticket: Ticket) -> GraphStructure:
    """Components, isolated nodes, degrees, homophily and spectral gap of the graph of a ticket.

    Of a mask for each layer it is the graph of the edges that any layer keeps; of many graphs, all
    those that are trained on, as one.

    Args:
        model: is not read.
        task: the data.
        ticket: the masks.

    Raises:
        ValueError: the task has no graph, or one of several kinds of nodes.
    """
    left: Any = apply_edge_masks(task, only(ticket.masks, "edges"))
    graph = getattr(left, "graph", None)
    if graph is None:
        raise ValueError("`task` must have a graph of one kind of nodes, got "
                         f"{getattr(task, 'name', task)!r}")  # fmt: skip
    if hasattr(left, "graphs"):
        return measure_structure(*_training_graphs(left))
    y = getattr(left, "y", None)
    labels = y if isinstance(y, Tensor) and y.shape == (graph.num_nodes,) else None
    of_nodes = labels is not None or (isinstance(y, Tensor) and len(y) == graph.num_nodes)
    labels = None if labels is None or labels.is_floating_point() else labels
    return measure_structure(
        graph.edge_index, graph.num_nodes, labels, left.rows["train"] if of_nodes else None
    )


def _training_graphs(task: Any) -> tuple[Tensor, int]:
    """The edges and the number of nodes of the graphs that are trained on."""
    first, rows = task.graphs.first_node, task.rows["train"]
    of = torch.arange(task.graphs.count).repeat_interleave(first.diff().cpu())  # [N] the graph
    there = torch.isin(of, rows.cpu())
    number = there.cumsum(0) - 1
    return number[task.graph.edge_index.cpu()], int(there.sum())
