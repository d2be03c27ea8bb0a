"""What algorithms that remove edges begin with."""

from torch import nn

from graphlth.edge_masks import edge_mask
from graphlth.masks import only
from graphlth.task import Task
from graphlth.ticket import Ticket, dense


def dense_graph(model: nn.Module, task: Task, *, weights: bool = False, ignore: str = "") -> Ticket:
    """The dense ticket with a mask on the edges and, if asked for, on the `weights`.

    Raises:
        ValueError: `task` has no edges.
    """
    check_edges(task)
    return dense(model, task.num_edges, weights=weights, ignore=ignore)


def check_edges(task: Task, last: Ticket | None = None) -> None:
    """Refuse a task without edges, and to go on after masks of edges for each layer.

    Raises:
        ValueError: it has none, or `last` has such masks, while one graph is trained for all.
    """
    others = only({} if last is None else last.masks, "edges")
    if isinstance(edge_mask(others), tuple):
        raise ValueError("`last` must have one mask of edges for all layers where the graph is "
                         f"trained, got {next(iter(others))!r}: start from dense(model, num_edges) "
                         "without `layers`")  # fmt: skip
    if not task.num_edges:
        raise ValueError(f"`task` must have edges to remove, got {task.name!r} without any")
