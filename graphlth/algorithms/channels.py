"""Structured tickets: whole channels, in one shot or in rounds (Liu et al., ICCV 2017).

With `norm_scale` and `l1_norms` this is network slimming (arXiv:1708.06519), with `filter_norm` the
filter pruning of Li et al. (ICLR 2017, arXiv:1608.08710), with `thinet` ThiNet's choice (Luo et
al., ICCV 2017, arXiv:1707.06342). What they start from is what Liu et al. compare (ICLR 2019,
arXiv:1810.05270): the weights that were trained, those before, or others.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from graphlth.algorithms._channels import find_hidden_channels, keep_channels, penalise_norms
from graphlth.algorithms._draw import starting
from graphlth.compaction.channels import spread
from graphlth.masks import Masks
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.types import (
    Epochs,
    Fraction,
    Iterations,
    Milestones,
    NonNegative,
    Optimizer,
    Positive,
    Rounds,
    Scope,
    Score,
    Seed,
    Start,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.epoch import spans
from graphlth.training.loop import train


def channels(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 1,
    epochs: Epochs = 100,
    iterations: Iterations = 0,
    drop_channels: Fraction = 0.3,
    channel_score: Score = "norm_scale",
    l1_norms: NonNegative = 1e-4,
    scope: Scope = "global",
    start: Start = "inherit",
    lr: Positive = 0.01,
    weight_decay: NonNegative = 5e-4,
    optimizer: Optimizer = "adam",
    momentum: Fraction = 0.9,
    milestones: Milestones = "none",
    warmup: Iterations = 0,
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round; whole hidden channels are removed.

    A round trains from the last ticket's weights, scores the channels and removes some.

    Args:
        model: a network of images that has hidden channels (see `graphlth.compaction.channels`).
        task: the images.
        rounds: how often to prune.
        epochs: epochs of training per round, and of retraining.
        iterations: iterations of both, in place of epochs; 0: epochs count.
        drop_channels: fraction of the surviving channels that a round removes, in [0, 1).
        channel_score: norm_scale (|γ|), filter_norm (L1), thinet, or random.
        l1_norms: what |γ| of every hidden channel adds to the loss before a round prunes.
        scope: rank channels over all layers ("global") or within each ("layer").
        start: a ticket's weights: the trained ones ("inherit"), those of the dense ticket
            ("rewind"), or new ones ("reinit").
        lr: the learning rate.
        weight_decay: L2 decay.
        optimizer: adam or sgd.
        momentum: of SGD.
        milestones: fractions of training, as 0.5,0.75, where the rate falls to a tenth; or none.
        warmup: iterations at the start of training in which the rate rises linearly.
        seed: seeds dropout, batch order, new weights and a score that draws.
        last: continue after this ticket.

    Raises:
        ValueError: the model has no hidden channels that `channel_score` scores, a round would
            leave a layer none, or a name is unknown.
    """
    check_start(model, task, last)
    epochs = spans(task, iterations) or epochs
    slimming = penalise_norms(find_hidden_channels(model, task), l1_norms)

    def drop(fraction: float, masks: Masks, seed: int) -> dict[str, Tensor]:
        kept = keep_channels(model, task, masks, score=channel_score, fraction=fraction,
                             scope=scope, seed=seed)  # fmt: skip
        return spread(model, kept)

    ticket = last or Ticket(snapshot(model), drop(0.0, {}, stream_seed(seed, "draw", 0)), 0)
    begin = starting(rewind(model, ticket.init), start, seed)
    if last is None:
        yield ticket
    for r in range(ticket.round + 1, rounds + 1):
        for _ in train(
            rewind(model, ticket.init), task, ticket.masks, epochs=epochs, lr=lr,
            weight_decay=weight_decay, optimizer=optimizer, momentum=momentum,
            milestones=milestones, warmup=warmup, penalty=slimming, scoring=(),
            seed=stream_seed(seed, "training", r),
        ):  # fmt: skip
            pass
        ticket = Ticket(begin(), drop(drop_channels, ticket.masks, stream_seed(seed, "draw", r)), r)
        yield ticket
