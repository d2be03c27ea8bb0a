"""Random edges under weights pruned by magnitude: what the edge masks of UGS must beat."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Unpack

from torch import nn

from graphlth.algorithms._graph import check_edges
from graphlth.algorithms._imp import Settings, WeightPruning, weight_tickets
from graphlth.masks import only as only_masks
from graphlth.prune import drop_lowest
from graphlth.scores.random import random
from graphlth.settings.types import Fraction, Ignore, RoundNumbers, Rounds, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start


def random_edges(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    drop_edges: Fraction = 0.05,
    only: RoundNumbers = "all",
    one_shot: bool = False,
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[Settings],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then those of `imp` with random edges removed besides.

    The weights are those that `imp` keeps, searched on the whole graph, and the edges those that
    `random_tickets` keeps, of the same seed and rates: beside `ugs` at its sparsities, a ticket
    differs in what chose its masks. A part that is dropped at rate 0 has no mask.

    Args:
        model: the network; its weights are θ₀, with `one_shot` also when `last` is given.
        task: the graph and its labels.
        rounds: how often to prune.
        drop_edges: fraction of the surviving edges that a round removes, in [0, 1).
        only: rounds whose tickets are yielded, retrained and recorded: all, or some, as 7 15.
        one_shot: cut the weights of every round from the one dense training, in as many steps.
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds the choice of edges, dropout, batch order and a score that draws.
        last: continue after this ticket.
        settings: those of `imp`: what a round removes (see `WeightPruning`), where its training
            goes on (see `Rewinding`), and how it trains (see `Recipe`).

    Raises:
        ValueError: a setting is wrong, or the score cannot score the weights.
    """
    check_start(model, task, last)
    if task.num_edges:
        check_edges(task, last)
    prunes_weights = settings.get("drop_weights", WeightPruning.drop_weights) > 0
    whole = dense(model, task.num_edges, edges=drop_edges > 0, ignore=ignore).masks
    weights = last and replace(last, masks=only_masks(last.masks, "weights"))
    for ticket in weight_tickets(
        model, task, settings, rounds=rounds, only=only, one_shot=one_shot, ignore=ignore,
        seed=seed, last=weights,
    ):  # fmt: skip
        scores = random(model, task, whole, seed=stream_seed(seed, "masks", ticket.round))
        edges = only_masks(whole, "edges")
        for _ in range(ticket.round):  # in steps, so that the counts are those of rounds of UGS
            edges = drop_lowest(edges, scores, drop_edges, groups=task.edge_groups)
        yield replace(ticket, masks={**(ticket.masks if prunes_weights else {}), **edges})
