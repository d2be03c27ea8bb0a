"""Losses by name, and tasks with another loss than their own."""

import copy
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.loss import _Loss

from graphlth.metrics import ACCURACY, Metric, check_targets, find_metric
from graphlth.task import LOSS_CONTRACT, Batch, Loss, Task, cross_entropy

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
        ValueError: there is no loss of this name, and the known ones are listed; or it is a
            function of something else.
    """
    if callable(loss):
        check_takes_batch(loss)
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        got = repr(loss) if isinstance(loss, str) else type(loss).__name__
        raise ValueError(f"`loss` must be one of {', '.join(sorted(LOSSES))}, or a function of "
                         f"(output, batch), got {got}")  # fmt: skip
    return LOSSES[loss]


def check_takes_batch(loss: Callable[..., Any]) -> None:
    """Refuse a function that does not take two arguments, or a loss of torch, which takes a target.

    Raises:
        ValueError: it is one of them.
    """
    got = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, _Loss) or getattr(loss, "__module__", "") == F.__name__:
        raise ValueError(f"`loss` must be a function {LOSS_CONTRACT}, got {got}, which takes a "
                         "target: give lambda output, batch: loss(output, batch.target)"
                         )  # fmt: skip
    try:
        parameters = signature(loss)
    except (TypeError, ValueError):  # of a function in C nothing is known
        return
    try:
        parameters.bind(None, None)
    except TypeError:
        raise ValueError(f"`loss` must be a function {LOSS_CONTRACT}, got {got}{parameters}: "
                         "take these two arguments, and bind others with functools.partial"
                         ) from None  # fmt: skip


def check_loss_targets(loss: str | Loss, task: Task) -> None:
    """Refuse a loss of a name whose targets are not those of `task`: classes, or numbers.

    Raises:
        ValueError: it is one.
    """
    y = getattr(task, "y", None)
    if not isinstance(loss, str) or not isinstance(y, Tensor):
        return
    if y.is_floating_point() != (loss in OF_NUMBERS):
        kinds = ("classes", "numbers") if loss in OF_NUMBERS else ("numbers", "classes")
        raise ValueError(f"`loss` must be one of {kinds[0]} where those of `task` are, got "
                         f"{loss!r}, which is of {kinds[1]}: make the task with that `loss`, or "
                         "give a function of (output, batch)")  # fmt: skip


def task_metric(
    metric: str | Metric | None, loss: str | Loss, y: Tensor, rows: Mapping[str, Tensor]
) -> Metric:
    """The metric that is asked for, or that of the loss: of classes, or of numbers `y`.

    Raises:
        ValueError: there is none of this name, or it cannot be computed of these targets.
    """
    if metric is None:
        of_numbers = OF_NUMBERS.get(loss, "rmse") if isinstance(loss, str) else "rmse"
        metric = find_metric(of_numbers) if y.is_floating_point() else ACCURACY
    found = find_metric(metric)
    check_targets(found, y, rows)
    return found


def check_probabilities(loss: str | Loss, y: Tensor, missing: str = "") -> None:
    """Refuse numbers `y` that are no targets of binary cross-entropy, if that is the `loss`.

    Raises:
        ValueError: one is outside [0, 1]; `missing` tells what else it may be.
    """
    wrong = y[(y < 0) | (y > 1)]
    if loss == "binary_cross_entropy" and wrong.numel():
        raise ValueError(f"`y` must be in [0, 1]{missing} for the loss binary_cross_entropy, got "
                         f"{float(wrong[0]):g}")  # fmt: skip


def with_loss(task: AnyTask, loss: str | Loss, metric: str | Metric | None = None) -> AnyTask:
    """The same task with another loss, such as distillation from the logits of a teacher.

    Args:
        task: any task; it stays as it is.
        loss: a name, or a function of the outputs [rows, C] and the batch, whose `rows` tell which
            nodes of a graph these are: `lambda out, batch: kl(out, teacher[batch.rows])`.
        metric: what results are measured by; that of `task` where not given.

    Raises:
        ValueError: `task` is none; or there is no such loss or metric, or not of these targets.
    """
    if not hasattr(task, "batches"):
        got = f"{task!r}: use graphlth.find('tasks', {task!r})()"
        raise ValueError("`task` must be a task, such as a NodeTask, got "
                         f"{got if isinstance(task, str) else type(task).__name__}")  # fmt: skip
    found = find_loss(loss)
    check_loss_targets(loss, task)
    task = copy.copy(task)
    task.loss = found
    if metric is not None and metric is not task.metric:
        task.metric = find_metric(metric)
        if isinstance(y := getattr(task, "y", None), Tensor) and hasattr(task, "rows"):
            check_targets(task.metric, y, task.rows)
    return task
