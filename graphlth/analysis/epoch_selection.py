"""Epoch selection: what a ticket reaches at the epoch that validation, or test, data choose.

A result at the epoch of the best test value is too good by the optimism of having chosen it there
(Cawley & Talbot, JMLR 11, 2010, on the bias of selection).
"""

from dataclasses import dataclass, replace
from typing import Unpack

from torch import nn

from graphlth.masks import masked_values, only
from graphlth.settings.types import Seed
from graphlth.task import Task, apply_edge_masks
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.epoch import best_epoch
from graphlth.training.evaluation import Evaluator
from graphlth.training.recipe import RecipeFields
from graphlth.training.retraining import resume


@dataclass(frozen=True)
class EpochSelection:
    """Test values of one training, in the unit of the metric, by which epoch they are taken of."""

    selected_by_val: float  # the first epoch of the best validation value: what a record says
    selected_by_test: float  # the first epoch of the best test value
    of_last_epoch: float
    optimism: float  # by how much the choice by test data is better than that by validation data
    early_peak: float  # by how much the choice by validation data is better than the last epoch
    epoch_by_val: int  # from 0
    epoch_by_test: int


def epoch_selection(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    seed: Seed = 0,
    **recipe: Unpack[RecipeFields],
) -> EpochSelection:
    """Train a ticket again, look at the test data after every epoch, and compare three choices.

    The training is that of the run: it never sees what is measured.

    Args:
        model: the network; its weights are not read.
        task: the data.
        ticket: where the training starts, and what is left.
        seed: of dropout and batch order.
        recipe: `recipe`, or its fields as keywords: those of the run.

    Raises:
        ValueError: the ticket does not fit the model or the task.
    """
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    left, masks = apply_edge_masks(task, ticket.masks), only(ticket.masks, "weights")
    epochs = []
    for epoch in resume(model, task, ticket, seed=seed, **recipe):
        weights = masked_values(dict(model.named_parameters()), masks)
        epochs.append(replace(epoch, test=Evaluator(model, left, weights, None)("test")[0]))
    by_val, last = best_epoch(epochs, task.metric), epochs[-1]
    by_test = best_epoch([replace(epoch, val=epoch.test) for epoch in epochs], task.metric)
    sign = 1 if task.metric.direction == "max" else -1
    return EpochSelection(
        by_val.test, by_test.test, last.test, sign * (by_test.test - by_val.test),
        sign * (by_val.test - last.test), by_val.index, by_test.index,
    )  # fmt: skip
