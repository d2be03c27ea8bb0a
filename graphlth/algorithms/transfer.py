"""Transfer: tickets of an earlier run on another task, in another model or by another optimiser.

Sources: across datasets and optimisers Morcos et al. (NeurIPS 2019, arXiv:1906.02773); the random
ticket of the same sparsity, its control, is `control --control random` over the transferred run.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from graphlth.algorithms._tickets import read_tickets
from graphlth.masks import only, sparsity
from graphlth.prune import drop_lowest
from graphlth.rewinding import snapshot
from graphlth.settings.annotations import check_value
from graphlth.settings.types import (
    RoundNumbers,
    Rounds,
    Seed,
)
from graphlth.streams import stream, stream_seed
from graphlth.task import Task
from graphlth.ticket import FIRST_ITERATION, Ticket
from graphlth.training.checks import check_start

Carry = Literal["weights", "edges", "both"]


def transfer(
    model: nn.Module,
    task: Task,
    *,
    tickets: str,
    carry: Carry = "weights",
    rounds: Rounds = 20,
    only: RoundNumbers = "all",
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the tickets of an earlier run, the dense one first, as tickets of this model and task.

    Args:
        model: the network.
        task: the data.
        tickets: the folder of that run; the tickets are those of the same seed.
        carry: what is taken over: "weights" (their masks and initial values; layers of another
            shape, as the output for other classes, keep their own values and lose as many entries
            at random), "edges" (their mask, on the same graph, for another model) or "both".
        rounds: how many rounds are read, if there are so many.
        only: which of them, after the dense one: all, or some, such as 7 15, which must be there.
        seed: seeds masks that are drawn; whose tickets are read.
        last: continue after this ticket.

    Raises:
        ValueError: the tickets have no such masks, or are of another graph or of other layers.
    """
    check_start(model, task, last)
    own, device = snapshot(model), next(model.parameters()).device  # θ₀ here
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    for ticket in read_tickets(tickets, seed, rounds, only, last):
        draws = stream_seed(seed, "masks", ticket.round)
        yield carry_over(ticket.to(device), own, task, carry, draws, frozen)


def carry_over(
    ticket: Ticket, own: Mapping[str, Tensor], task: Task, carry: Carry, seed: int,
    frozen: Collection[str] = (),
) -> Ticket:  # fmt: skip
    """`ticket` as one of `task` and of the model whose weights are `own`, to be trained from there.

    Weights that are `frozen` there keep their values and have no mask.

    Raises:
        ValueError: see `transfer`.
    """
    check_value("carry", carry, Carry)
    for part in ("weights", "edges"):
        if carry in (part, "both") and not only(ticket.masks, part):
            raise ValueError(f"`tickets` must have masks of {part} to carry, got none")
    init, masks = dict(own), dict[str, Tensor]()
    if carry != "edges":
        init |= {n: t for n, t in ticket.init.items() if n in init and t.shape == init[n].shape}
        masks |= {n: m for n, m in _weights(ticket, own, seed).items() if n not in frozen}
        init |= {n: own[n] for n in frozen}
    if carry != "weights":
        if (known := ticket.provenance.get("graph")) != task.fingerprint():
            raise ValueError(f"`tickets` must be of the graph of {task.name!r} to carry edges: "
                             f"fingerprint {known}, not {task.fingerprint()}")  # fmt: skip
        masks |= only(ticket.masks, "edges")
    search = {n: value for n, value in ticket.search.items() if n != FIRST_ITERATION}
    return Ticket(init, masks, ticket.round, search=search)


def _weights(ticket: Ticket, own: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The masks of the weights; of a layer of another shape a random one of the same sparsity."""
    theirs = only(ticket.masks, "weights")
    if apart := sorted(ticket.init.keys() ^ own.keys()):
        raise ValueError(
            f"`model` must have the layers of `tickets`, but {apart[0]!r} is in one alone"
        )
    if not any(m.shape == own[n].shape for n, m in theirs.items()):
        raise ValueError("`model` must have a layer of the shape that it has in `tickets`, "
                         f"but of {len(theirs)} none is")  # fmt: skip
    draw = stream(seed, "masks of other shapes")
    return {
        n: m if m.shape == own[n].shape else _random(m, own[n].shape, draw)
        for n, m in theirs.items()
    }


def _random(like: Tensor, shape: torch.Size, draw: torch.Generator) -> Tensor:
    """A mask of `shape` as sparse as `like`."""
    whole = {"": like.new_ones(shape)}
    scores = {"": torch.rand(shape, generator=draw).to(like)}
    return drop_lowest(whole, scores, sparsity({"": like}))[""]
