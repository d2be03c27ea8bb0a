"""The training of a ticket from its weights, under its masks."""

import math
from collections.abc import Collection, Generator, Iterator
from typing import Unpack

from torch import nn

from graphlth.model_checks import check_arguments, check_trainable, check_weights
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.annotations import check_number
from graphlth.settings.types import Seed
from graphlth.task import Task
from graphlth.ticket import FIRST_ITERATION, Ticket
from graphlth.ticket_checks import check_ticket_fits, remember_fit
from graphlth.training.checks import check_contract
from graphlth.training.epoch import Epoch, Fit, epochs_of
from graphlth.training.loop import train
from graphlth.training.recipe import Recipe, RecipeFields


def retrain(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    first: int | None = None,
    seed: Seed = 0,
    **recipe: Unpack[RecipeFields],
) -> Generator[Epoch, None, Fit]:
    """Train `model` from the ticket's weights under its masks, pausing after every epoch.

    Returns the first epoch of the best validation metric with its weights, and leaves them in
    `model`, too.

    Args:
        model: the network; its weights are not read.
        task: the data.
        ticket: where to start, and what is left.
        first: k, where it is not the ticket's own: a ticket of θ_k is trained from epoch k to the
            end of the recipe, one whose weights have had all epochs for as many again, at the last
            learning rate.
        seed: seeds dropout and batch order.
        recipe: `recipe`, or its fields as keywords.

    Raises:
        ValueError: the ticket is not one of this model and graph, a field of the recipe is wrong,
            or `iterations` are not whole epochs of the task.
    """
    how = Recipe.of(recipe)
    check_number("seed", seed, Seed)
    check_arguments(model, task)
    check_weights(model)
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    check_contract(model, task, ticket.masks)
    check_trainable(model)
    best = last = Epoch(-1, math.inf, task.metric.worst, math.nan)
    state = ticket.init
    for epoch in resume(model, task, ticket, first=first, seed=seed, best_only=True, recipe=how):
        if task.metric.better(epoch.val, best.val):
            best, state = epoch, snapshot(model)
        last = epoch
        yield epoch
    remember_fit(rewind(model, state), ticket)
    return Fit(**vars(best), last=last, ticket=ticket, state=state, metric=task.metric.name)


def resume(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    first: int | None = None,
    seed: Seed = 0,
    scoring: Collection[str] = ("val", "test"),
    best_only: bool = False,
    **recipe: Unpack[RecipeFields],
) -> Iterator[Epoch]:
    """`train` from the ticket's weights to the end of the recipe, of which they have had `first`.

    Weights that have had all epochs are trained for as many again.
    """
    how = Recipe.of(recipe)
    if first is None:
        first = ticket.search.get(FIRST_ITERATION, 0) // task.evaluate_every
    epochs = epochs_of(how, task)
    until = epochs if first < epochs else first + epochs
    yield from train(
        rewind(model, ticket.init), task, ticket.masks, first=first, until=until, seed=seed,
        scoring=scoring, best_only=best_only, recipe=how,
    )  # fmt: skip


def fit(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    first: int | None = None,
    seed: Seed = 0,
    **recipe: Unpack[RecipeFields],
) -> Fit:
    """The best epoch of `retrain`, run to its end, with its weights."""
    epochs = retrain(model, task, ticket, first=first, seed=seed, **recipe)
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            return end.value
