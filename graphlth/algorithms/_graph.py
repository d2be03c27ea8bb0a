"""What algorithms that remove edges begin with."""

from torch import nn

from graphlth.task import Task
from graphlth.ticket import Ticket, dense


def dense_graph(model: nn.Module, task: Task, *, weights: bool = False) -> Ticket:
    """The dense ticket with a mask on the edges and, if asked for, on the `weights`.

    Raises:
        ValueError: `task` has no edges.
    """
    check_edges(task)
    return dense(model, task.num_edges, weights=weights)


def check_edges(task: Task) -> None:
    """Refuse a task without edges.

    Raises:
        ValueError: it has none.
    """
    if not task.num_edges:
        raise ValueError(f"`task` must have edges to remove, got {task.name!r} without any")
