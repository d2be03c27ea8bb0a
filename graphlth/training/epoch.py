"""What an epoch of training reached, and what a whole training did."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from graphlth.compaction.compact import ModelOnGraph, compact
from graphlth.compaction.network import Compact
from graphlth.masks import EDGES
from graphlth.model import check_model
from graphlth.rewinding import rewind
from graphlth.sparse.graph import Features
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training reached."""

    index: int
    loss: float
    val: float  # accuracy, in [0, 1]
    test: float  # accuracy, in [0, 1]; NaN but in the last epoch and the best so far
    val_loss: float = math.nan  # not on a graph: of GCN-16 on Cora it is 3 % of an epoch


@dataclass(frozen=True, kw_only=True)
class Fit(Epoch):
    """What a training reached in its best epoch, and the weights that it had then."""

    last: Epoch = field(repr=False)  # of the training
    ticket: Ticket = field(repr=False, compare=False)  # what was trained
    state: dict[str, Tensor] = field(repr=False, compare=False)  # parameters and buffers

    def compact(
        self, model: nn.Module, task: Any, *, x: Tensor | Features | None = None,
        layout: str = "auto",
    ) -> Compact | ModelOnGraph | nn.Module:  # fmt: skip
        """`graphlth.compact` of the ticket and these weights; those of `model` do not change."""
        check_model(model, task, "task")
        check_ticket_fits(self.ticket, model, len(self.ticket.masks.get(EDGES, ())))
        trained = rewind(copy.deepcopy(model), self.state)
        return compact(self.ticket, trained, task, x=x, layout=layout)
