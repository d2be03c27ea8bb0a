"""Controls of an earlier run: its tickets with one thing changed, nothing searched again."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from graphlth.algorithms._controls import CONTROLS
from graphlth.algorithms._earlier import earlier
from graphlth.provenance import check_same_data
from graphlth.settings.types import (
    Epochs,
    Fraction,
    Iterations,
    Milestones,
    NonNegative,
    Optimizer,
    Positive,
    RoundNumbers,
    Rounds,
    Seed,
)
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.checks import check_start


def control(
    model: nn.Module,
    task: Task,
    *,
    tickets: str,
    control: Literal["reinit", "random", "shuffle", "reshuffle", "constant"] = "reinit",
    rounds: Rounds = 20,
    only: RoundNumbers = "all",
    epochs: Epochs = 200,
    iterations: Iterations = 0,
    lr: Positive = 0.01,
    weight_decay: NonNegative = 5e-4,
    optimizer: Optimizer = "adam",
    momentum: Fraction = 0.9,
    milestones: Milestones = "none",
    warmup: Iterations = 0,
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket of an earlier run as it is, then its others, each changed.

    Settings of retraining must be those of that run, to be compared with it.

    Args:
        model: the network.
        task: the data.
        tickets: the folder of that run; the tickets are those of the same seed.
        control: new weights (reinit), new weights and masks (random), masks permuted in each layer
            (shuffle), kept weights permuted (reshuffle) or of one size, signs kept (constant).
        rounds: how many rounds are read, if there are so many.
        only: which of them, after the dense one: all, or some, such as 7,15, which must be there.
        epochs: epochs of retraining.
        iterations: iterations of retraining, in place of epochs; 0: epochs count.
        lr: the learning rate in retraining.
        weight_decay: L2 decay in retraining.
        optimizer: adam or sgd, of retraining.
        momentum: of SGD.
        milestones: fractions of retraining, as 0.5,0.75, where the rate falls to a tenth; or none.
        warmup: iterations at the start of retraining in which the rate rises linearly.
        seed: seeds the control, and dropout and batch order in retraining; whose tickets are read.
        last: continue after this ticket.

    Raises:
        ValueError: there is no such control, a ticket is one of other data or of another model, or
            `only` names no rounds.
        FileNotFoundError: there is no ticket of this seed, or none of a round that is named.
    """
    check_start(model, task, last)
    if control not in CONTROLS:
        raise ValueError(f"`control` must be one of {', '.join(CONTROLS)}, got {control!r}")
    for ticket in earlier(tickets, seed, rounds, only, last):
        if not ticket.round:  # one of each run is enough: the data are read to compare them
            check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
            check_same_data(ticket.provenance, task, "`tickets`")
        ticket = ticket.to(next(model.parameters()).device)
        yield CONTROLS[control](ticket, model, task, seed) if ticket.round else ticket
