"""Controls of an earlier run: its tickets with one thing changed, nothing searched again."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from graphlth.algorithms._controls import CONTROLS
from graphlth.algorithms._tickets import read_tickets
from graphlth.provenance import check_same_data
from graphlth.settings.annotations import check_value
from graphlth.settings.types import (
    RoundNumbers,
    Rounds,
    Seed,
)
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.checks import check_start

Control = Literal["reinit", "random", "shuffle", "reshuffle", "constant"]


def control(
    model: nn.Module,
    task: Task,
    *,
    tickets: str,
    control: Control = "reinit",
    rounds: Rounds = 20,
    only: RoundNumbers = "all",
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
        only: which of them, after the dense one: all, or some, such as 7 15, which must be there.
        seed: seeds the control; whose tickets are read.
        last: continue after this ticket.

    Raises:
        ValueError: there is no such control, a ticket is one of other data or of another model, or
            `only` names no rounds.
        FileNotFoundError: there is no ticket of this seed, or none of a round that is named.
    """
    check_value("control", control, Control)
    check_start(model, task, last)
    for ticket in read_tickets(tickets, seed, rounds, only, last):
        if not ticket.round:  # one of each run is enough: the data are read to compare them
            check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
            check_same_data(ticket.provenance, task, "`tickets`")
        ticket = ticket.to(next(model.parameters()).device)
        yield CONTROLS[control](ticket, model, task, seed) if ticket.round else ticket
