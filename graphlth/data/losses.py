"""Losses by name, and tasks with another loss than their own."""

import copy
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

from graphlth.metrics import Metric, find_metric
from graphlth.task import Batch, Loss, Task, cross_entropy

AnyTask = TypeVar("AnyTask", bound=Task)


def binary_cross_entropy(output: Tensor, batch: Batch) -> Tensor:
    """The mean cross-entropy of logits [rows, C] with targets [rows, C] in [0, 1], each alone."""
    return F.binary_cross_entropy_with_logits(output, batch.target)


def mse(output: Tensor, batch: Batch) -> Tensor:
    """The mean squared error of outputs [rows, C]."""
    return F.mse_loss(output, batch.target)


def mae(output: Tensor, batch: Batch) -> Tensor:
    """The mean absolute error of outputs [rows, C]."""
    return F.l1_loss(output, batch.target)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
    "mae": mae,
}
OF_NUMBERS = {  # losses whose targets are numbers, not classes: the metric that goes with each
    "binary_cross_entropy": "roc_auc", "mse": "rmse", "mae": "mae",
}  # fmt: skip


def find_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the given function of (output, batch).

    Raises:
        ValueError: there is no loss of this name; the known ones are listed.
    """
    if callable(loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        got = repr(loss) if isinstance(loss, str) else type(loss).__name__
        raise ValueError(f"`loss` must be one of {', '.join(sorted(LOSSES))}, or a function of "
                         f"(output, batch), got {got}")  # fmt: skip
    return LOSSES[loss]


def with_loss(task: AnyTask, loss: str | Loss, metric: str | Metric | None = None) -> AnyTask:
    """The same task with another loss, such as distillation from the logits of a teacher.

    Args:
        task: any task; it stays as it is.
        loss: a name, or a function of the outputs [rows, C] and the batch, whose `rows` tell which
            nodes of a graph these are: `lambda out, batch: kl(out, teacher[batch.rows])`.
        metric: what results are measured by; that of `task` where not given.

    Raises:
        ValueError: there is no such loss or metric.
    """
    task = copy.copy(task)
    task.loss = find_loss(loss)
    if metric is not None:
        task.metric = find_metric(metric)
    return task
