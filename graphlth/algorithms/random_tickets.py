"""Random tickets: what any way of finding tickets must beat."""

from collections.abc import Iterator

import torch
from torch import nn

from graphlth.prune import drop_jointly
from graphlth.scores.random import random
from graphlth.settings.types import Fraction, Ignore, Rounds, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start


def random_tickets(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    drop_edges: Fraction = 0.05,
    drop_weights: Fraction = 0.2,
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round with masks drawn afresh.

    Every round removes as many edges and, layer by layer, as many weights as UGS has removed
    by then; a part that is dropped at rate 0 has no mask.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        rounds: how many sparsities.
        drop_edges: fraction of the surviving edges that a round removes, in [0, 1).
        drop_weights: fraction of the surviving weights that a round removes, in [0, 1).
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds the masks.
        last: continue after this ticket.
    """
    check_start(model, task, last)
    first = last or dense(
        model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0, ignore=ignore
    )
    if last is None:
        yield first
    whole = {n: torch.ones_like(m) for n, m in first.masks.items()}
    for r in range(first.round + 1, rounds + 1):
        masks = whole
        scores = random(model, task, masks, seed=stream_seed(seed, "masks", r))
        for _ in range(r):  # in r steps, so that the counts are those of r rounds of UGS
            rates = drop_weights, drop_edges, "layer", task.edge_groups
            masks = drop_jointly(masks, scores, *rates)
        yield Ticket(first.init, masks, r)
