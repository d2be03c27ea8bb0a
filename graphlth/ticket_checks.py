"""Whether a ticket is one of a model and a graph, and whether a model has its trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from graphlth.edge_masks import mask_size
from graphlth.masks import check_mask, only, tied_names
from graphlth.model import check_layers
from graphlth.model_checks import check_cached
from graphlth.ticket import Ticket


def check_ticket(ticket: Any) -> None:
    """Refuse what is no ticket.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(ticket, Ticket):
        got = f"the path {ticket!r}" if isinstance(ticket, str | Path) else type(ticket).__name__
        raise ValueError(f"`ticket` must be a Ticket (see `graphlth.load`), got {got}")


def check_ticket_fits(ticket: Ticket, model: nn.Module, num_edges: int, graph: str = "") -> None:
    """Refuse a ticket that is not one of this model and this graph.

    `graph` is the task's fingerprint; it is compared where the ticket's provenance has one. A
    weight that was frozen after the ticket was made fits: it starts from the ticket's value, is
    masked as the ticket says, and is not trained.

    Raises:
        ValueError: `ticket` is none; names, shapes or fingerprints differ; weights that are tied in
            `model` do in the ticket; or a layer caches its graph, where the ticket has a mask on
            edges.
    """
    check_ticket(ticket)
    check_cached(model, ticket.masks)
    state = model.state_dict()
    for n, t in ticket.init.items():
        if n not in state or state[n].shape != t.shape:
            has = list(state[n].shape) if n in state else "no such parameter"
            raise ValueError(f"`ticket` does not fit `model`: {n!r} is {list(t.shape)}, not {has}")
    if missing := sorted(set(state) - set(ticket.init)):
        raise ValueError(f"`ticket` does not fit `model`: it has no {missing[0]!r}")
    for n, others in tied_names(model).items():
        for other in others:
            if not torch.equal(ticket.init[n], ticket.init[other]):
                raise ValueError(f"`ticket` does not fit `model`: {n!r} and {other!r} are one "
                                 "parameter of it, but differ in the ticket")  # fmt: skip
    check_layers(model, ticket.masks)
    shapes = {n: p.shape for n, p in model.named_parameters()}
    sizes = {n: mask_size(num_edges, n) for n in only(ticket.masks, "edges")}
    shapes |= {n: torch.Size([size]) for n, size in sizes.items()}
    for n, m in ticket.masks.items():
        check_mask(n, m)
        if shapes.get(n) != m.shape:
            raise ValueError(
                f"`ticket` does not fit: its mask {n!r} has shape {list(m.shape)}, "
                f"not {list(shapes[n]) if n in shapes else 'a parameter'}"
            )
    known = ticket.provenance.get("graph", graph)
    if graph and known != graph:
        raise ValueError(f"`ticket` is of another graph: fingerprint {known}, not {graph}")


# The ticket whose training left the weights that a model has, and the versions of these weights:
# `fit` leaves them in the model alone, which does not tell of which ticket they are.
_LAST_FIT: WeakKeyDictionary[nn.Module, tuple[Ticket, list[int]]] = WeakKeyDictionary()


def remember_fit(model: nn.Module, ticket: Ticket) -> None:
    """Remember that a training of `ticket` left the weights that `model` has now."""
    _LAST_FIT[model] = ticket, [p._version for p in model.parameters()]


def check_last_fit(model: nn.Module, ticket: Ticket, remedy: str) -> None:
    """Refuse a ticket whose training did not leave the weights that `model` has.

    Of weights that something else has made or changed since, nothing is known: they pass.

    Raises:
        ValueError: `ticket` is none; or they are those of a fit of another, and `remedy` is a call
            that tells which.
    """
    check_ticket(ticket)
    known = _LAST_FIT.get(model)
    if known is None or known[1] != [p._version for p in model.parameters()]:
        return
    if not _equal_tickets(known[0], ticket):
        raise ValueError(
            f"`model` has the weights of a fit of another ticket, of round {known[0].round}, not "
            f"of this one, of round {ticket.round}: give the `Fit` that `fit` returned for it, "
            f"{remedy}, or fit it again"
        )


def _equal_tickets(a: Ticket, b: Ticket) -> bool:
    pairs = ((a.init, b.init), (a.masks, b.masks))
    return a is b or all(
        x.keys() == y.keys() and all(torch.equal(t.cpu(), y[n].cpu()) for n, t in x.items())
        for x, y in pairs
    )
