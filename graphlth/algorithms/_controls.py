"""Controls: a ticket with one thing changed. What it still reaches was not due to that thing."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from graphlth.masks import only, tied_names
from graphlth.rewinding import reinitialise
from graphlth.streams import stream, stream_seed
from graphlth.task import Task
from graphlth.ticket import FIRST_ITERATION, Ticket

Control = Callable[[Ticket, nn.Module, Task, int], Ticket]


def reinit(ticket: Ticket, model: nn.Module, task: Task, seed: int) -> Ticket:
    """The same masks on weights drawn anew (Frankle & Carbin, ICLR 2019, arXiv:1803.03635).

    They have had no training: where the ticket's are θ_k, these train from the start.
    """
    search = {n: value for n, value in ticket.search.items() if n != FIRST_ITERATION}
    fresh = reinitialise(model, stream_seed(seed, "reinit", ticket.round))
    return replace(ticket, init=fresh, search=search)


def random(ticket: Ticket, model: nn.Module, task: Task, seed: int) -> Ticket:
    """Any sub-network of that size: shuffled masks on weights drawn anew (figure 1 there)."""
    return reinit(shuffle(ticket, model, task, seed), model, task, seed)


def shuffle(ticket: Ticket, model: nn.Module, task: Task, seed: int) -> Ticket:
    """Masks permuted within each layer, and within the edges, on the same weights.

    Edges of many graphs, each with its own budget, are permuted within each.

    Source: layerwise rearrangement (Frankle et al., ICLR 2021, arXiv:2009.08576).
    """
    draw = stream(seed, "shuffle", ticket.round)
    groups = {n: task.edge_groups for n in only(ticket.masks, "edges")}
    masks = {n: _permuted(m.flatten(), draw, groups.get(n)).view_as(m)
             for n, m in ticket.masks.items()}  # fmt: skip
    return replace(ticket, masks=masks)


def reshuffle(ticket: Ticket, model: nn.Module, task: Task, seed: int) -> Ticket:
    """Kept weights permuted among the kept places of their layer.

    Source: Zhou et al. (NeurIPS 2019, arXiv:1905.01067).
    """
    draw = stream(seed, "reshuffle", ticket.round)
    return _with_kept(ticket, model, lambda kept, layer: _permuted(kept, draw))


def constant(ticket: Ticket, model: nn.Module, task: Task, seed: int) -> Ticket:
    """Kept weights of the same sign and of one size: the standard deviation of their layer's.

    Source: Zhou et al. (NeurIPS 2019, arXiv:1905.01067), of the weights θ_k that the ticket has.
    """

    def with_one_size(kept: Tensor, layer: Tensor) -> Tensor:
        alpha = layer.std(correction=0)
        return torch.where(kept < 0, -alpha, alpha)

    return _with_kept(ticket, model, with_one_size)


CONTROLS: Mapping[str, Control] = {
    f.__name__: f for f in (reinit, random, shuffle, reshuffle, constant)
}


def _with_kept(
    ticket: Ticket, model: nn.Module, treat: Callable[[Tensor, Tensor], Tensor]
) -> Ticket:
    """`ticket` with `treat(kept, layer)` for the kept weights of each layer."""
    init, others = dict(ticket.init), tied_names(model)
    for n, mask in only(ticket.masks, "weights").items():
        layer, alive = init[n], mask != 0
        init[n] = layer.clone()
        init[n][alive] = treat(layer[alive], layer)
        init |= dict.fromkeys(others.get(n, ()), init[n])
    return replace(ticket, init=init)


def _permuted(values: Tensor, draw: Generator, groups: Tensor | None = None) -> Tensor:
    order = torch.randperm(values.numel(), generator=draw).to(values.device)
    if groups is None:
        return values[order]
    found = torch.empty_like(values)
    found[groups.argsort(stable=True)] = values[order[groups[order].argsort(stable=True)]]
    return found
