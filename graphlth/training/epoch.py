"""What an epoch of training reached, and what a whole training did."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from graphlth.compaction.network import Bound, Compact
from graphlth.masks import EDGES
from graphlth.model import check_model
from graphlth.sparse.graph import Features
from graphlth.ticket import Ticket, fit_together, rewind


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
        self, model: nn.Module, graph: Any, *, x: Tensor | Features | None = None,
        layout: str = "auto",
    ) -> Compact | Bound | nn.Module:  # fmt: skip
        """`Ticket.compact` with these weights, whatever `model` itself holds; it stays so."""
        check_model(model, graph, "graph")
        fit_together(self.ticket, model, len(self.ticket.masks.get(EDGES, ())))
        trained = rewind(copy.deepcopy(model), self.state)
        return self.ticket.compact(trained, graph, x=x, layout=layout)
