"""Structured tickets: whole channels, in one shot or in rounds (Liu et al., ICCV 2017).

With `norm_scale` and `l1_norms` this is network slimming (arXiv:1708.06519), with `filter_norm` the
filter pruning of Li et al. (ICLR 2017, arXiv:1608.08710), with `thinet` ThiNet's choice (Luo et
al., ICCV 2017, arXiv:1707.06342). What they start from is what Liu et al. compare (ICLR 2019,
arXiv:1810.05270): the weights that were trained, those before, or others.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Unpack

from torch import Tensor, nn

from graphlth.algorithms._channels import (
    ChannelFields,
    ChannelRanking,
    expand_hidden,
    find_hidden_channels,
    keep_channels,
    penalise_norms,
)
from graphlth.algorithms._draw import starting_weights
from graphlth.masks import Masks
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.groups import split_group
from graphlth.settings.types import (
    Fraction,
    NonNegative,
    Rounds,
    Seed,
    Start,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.loop import train
from graphlth.training.recipe import Recipe

RECIPE = asdict(Recipe(epochs=100))


def channels(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 1,
    drop_channels: Fraction = 0.3,
    l1_norms: NonNegative = 1e-4,
    start: Start = "inherit",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[ChannelFields],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round; whole hidden channels are removed.

    A round trains from the last ticket's weights, scores the channels and removes some.

    Args:
        model: a network of images that has hidden channels (see `graphlth.compaction.channels`),
            or a model on graphs, whose hidden units are channels.
        task: the images or the graph.
        rounds: how often to prune.
        drop_channels: fraction of the surviving channels that a round removes, in [0, 1).
        l1_norms: what |γ| of every hidden channel adds to the loss before a round prunes.
        start: a ticket's weights: the trained ones ("inherit"), those of the dense ticket
            ("rewind"), or new ones ("reinit").
        seed: seeds dropout, batch order, new weights and a score that draws.
        last: continue after this ticket.
        settings: which channels go first (see `ChannelRanking`) and how a round trains (see
            `Recipe`).

    Raises:
        ValueError: the model has no hidden channels that `channel_score` scores, a round would
            leave a layer none, or a name is unknown.
    """
    ranking, training = split_group(ChannelRanking, settings)
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)
    slimming = penalise_norms(find_hidden_channels(model, task), l1_norms)

    def prune(fraction: float, masks: Masks, round: int) -> dict[str, Tensor]:
        draw = stream_seed(seed, "draw", round)
        return expand_hidden(
            model, task, keep_channels(model, task, masks, ranking, fraction, draw)
        )

    ticket = last or Ticket(snapshot(model), prune(0.0, {}, 0), 0)
    weights = starting_weights(rewind(model, ticket.init), start, seed)
    if last is None:
        yield ticket
    for r in range(ticket.round + 1, rounds + 1):
        for _ in train(
            rewind(model, ticket.init), task, ticket.masks, recipe=recipe, penalty=slimming,
            scoring=(), seed=stream_seed(seed, "training", r),
        ):  # fmt: skip
            pass
        ticket = Ticket(weights(), prune(drop_channels, ticket.masks, r), r)
        yield ticket
