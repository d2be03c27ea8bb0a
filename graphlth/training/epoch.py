"""What an epoch of training reached, and what a whole training did."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from graphlth.compaction.compact import compact
from graphlth.compaction.network import Compact
from graphlth.compaction.own_models import SmallerModel
from graphlth.edge_masks import RelationCounts
from graphlth.masks import only
from graphlth.metrics import Metric
from graphlth.model_checks import check_model
from graphlth.rewinding import rewind
from graphlth.sparse.features import Features
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.recipe import Recipe


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training reached."""

    index: int
    loss: float
    val: float  # the task's metric: accuracy, in [0, 1], unless it has another
    test: float  # the same; NaN but in the last epoch and the best so far
    val_loss: float = math.nan  # not on a graph: of GCN-16 on Cora it is 3 % of an epoch


def best_epoch(epochs: Sequence[Epoch], metric: Metric) -> Epoch:
    """The first of `epochs` whose validation metric is the best."""
    best = epochs[0]
    for epoch in epochs:
        best = epoch if metric.better(epoch.val, best.val) else best
    return best


def epochs_of(recipe: Recipe, task: Task) -> int:
    """How many epochs a training by `recipe` takes: its own, or the spans of its iterations.

    Raises:
        ValueError: they are not whole epochs of the task.
    """
    return spans(task, recipe.iterations) or recipe.epochs


def spans(task: Task, iterations: int, name: str = "iterations") -> int:
    """How many epochs of `task` some iterations are.

    Raises:
        ValueError: they are not whole epochs; `name` is what the error calls them.
    """
    if iterations % task.evaluate_every:
        raise ValueError(f"`{name}` must be a multiple of `evaluate_every` = "
                         f"{task.evaluate_every}, got {iterations}")  # fmt: skip
    return iterations // task.evaluate_every


@dataclass(frozen=True, kw_only=True)
class Fit(Epoch):
    """What a training reached in its best epoch, and the weights that it had then."""

    last: Epoch = field(repr=False)  # of the training
    ticket: Ticket = field(repr=False, compare=False)  # what was trained
    state: dict[str, Tensor] = field(repr=False, compare=False)  # parameters and buffers
    metric: str = "accuracy"  # the name of what `val` and `test` are

    def compact(
        self, model: nn.Module, task: Any, *, x: Tensor | Features | None = None,
        layout: str = "auto",
    ) -> Compact | SmallerModel | nn.Module:  # fmt: skip
        """`graphlth.compact` of the ticket and these weights; those of `model` do not change."""
        check_model(model, task, "task")
        sizes = {n: len(m) for n, m in only(self.ticket.masks, "edges").items()}
        check_ticket_fits(self.ticket, model, RelationCounts(sizes))
        trained = rewind(copy.deepcopy(model), self.state)
        return compact(self.ticket, trained, task, x=x, layout=layout)
