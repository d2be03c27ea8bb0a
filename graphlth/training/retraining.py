"""The training of a ticket from its weights, under its masks."""

import math
from collections.abc import Generator, Iterator
from typing import Any

from torch import nn

from graphlth.model import check_arguments, check_trainable, check_weights
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.checks import check_number
from graphlth.task import Task
from graphlth.ticket import FIRST_ITERATION, Ticket
from graphlth.ticket_checks import check_ticket_fits, remember_fit
from graphlth.training.checks import check_contract
from graphlth.training.epoch import Epoch, Fit
from graphlth.training.loop import train


def retrain(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    epochs: int = 200,
    iterations: int = 0,
    first: int | None = None,
    seed: int = 0,
    **recipe: Any,
) -> Generator[Epoch, None, Fit]:
    """Train `model` from the ticket's weights under its masks, pausing after every epoch.

    Returns the first epoch of best validation accuracy with its weights, and leaves them in
    `model`, too.

    Args:
        model: the network; its weights are not read.
        task: the data.
        ticket: where to start, and what is left.
        epochs: epochs of the whole training; a ticket of θ_k is trained from epoch k to its end,
            one whose weights have had all of them for as many again, at the last learning rate.
        iterations: of the whole training, in place of `epochs`; 0: epochs count.
        first: k, where it is not the ticket's own.
        seed: seeds dropout and batch order.
        recipe: fields of `Recipe`.

    Raises:
        ValueError: the ticket is not one of this model and graph, `epochs` is below 1, or
            `iterations` are not whole epochs of the task.
    """
    check_number("epochs", epochs)
    check_number("iterations", iterations)
    check_number("seed", seed)
    check_arguments(model, task)
    check_weights(model)
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    check_contract(model, task, ticket.masks)
    check_trainable(model)
    best = last = Epoch(-1, math.inf, -1.0, 0.0)
    state = ticket.init
    epochs = spans(task, iterations) or epochs
    how = {"epochs": epochs, "first": first, "seed": seed, "sparing": True, **recipe}
    for epoch in resume(model, task, ticket, **how):
        if epoch.val > best.val:
            best, state = epoch, snapshot(model)
        last = epoch
        yield epoch
    remember_fit(rewind(model, state), ticket)
    return Fit(**vars(best), last=last, ticket=ticket, state=state)


def resume(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    epochs: int,
    first: int | None = None,
    **how: Any,
) -> Iterator[Epoch]:
    """`train` from the ticket's weights to the end of `epochs`, of which they have had `first`.

    Weights that have had them all are trained for as many again.
    """
    if first is None:
        first = ticket.search.get(FIRST_ITERATION, 0) // task.evaluate_every
    until = epochs if first < epochs else first + epochs
    model = rewind(model, ticket.init)
    yield from train(model, task, ticket.masks, epochs=epochs, first=first, until=until, **how)


def spans(task: Task, iterations: int, name: str = "iterations") -> int:
    """How many epochs of `task` some iterations are.

    Raises:
        ValueError: they are not whole epochs; `name` is what the error calls them.
    """
    if iterations % task.evaluate_every:
        raise ValueError(f"`{name}` must be a multiple of `evaluate_every` = "
                         f"{task.evaluate_every}, got {iterations}")  # fmt: skip
    return iterations // task.evaluate_every


def fit(model: nn.Module, task: Task, ticket: Ticket, **how: Any) -> Fit:
    """The best epoch of `retrain`, run to its end, with its weights; `how` are its arguments."""
    epochs = retrain(model, task, ticket, **how)
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            return end.value
