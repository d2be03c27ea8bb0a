"""Iterative magnitude pruning with rewinding (Frankle et al., ICML 2020, arXiv:1912.05671)."""

from collections.abc import Iterator
from typing import Unpack

from torch import nn

from graphlth.algorithms._imp import Settings, weight_tickets
from graphlth.settings.types import Ignore, RoundNumbers, Rounds, Seed
from graphlth.task import Task
from graphlth.ticket import Ticket


def imp(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    only: RoundNumbers = "all",
    one_shot: bool = False,
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[Settings],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round; only weights are removed.

    Args:
        model: the network; its weights are θ₀, with `one_shot` also when `last` is given.
        task: the data.
        rounds: how often to prune.
        only: rounds whose tickets are yielded, retrained and recorded: all, or some, as 7 15.
        one_shot: cut every round from the one dense training, in as many steps.
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds dropout, batch order and a score that draws.
        last: continue after this ticket; masks of edges that it has stay as they are.
        settings: what a round removes (see `WeightPruning`), where its training goes on (see
            `Rewinding`), and how it trains (see `Recipe`).

    Raises:
        ValueError: a setting is wrong, or the score cannot score the weights.
    """
    yield from weight_tickets(
        model, task, settings, rounds=rounds, only=only, one_shot=one_shot, ignore=ignore,
        seed=seed, last=last,
    )  # fmt: skip
