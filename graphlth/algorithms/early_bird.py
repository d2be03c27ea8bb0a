"""Early-bird tickets of whole channels (You et al., ICLR 2020, openreview BJxsrgStvr)."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Literal

from torch import Tensor, nn

from graphlth.algorithms._channels import find_hidden_channels, keep_channels, penalise_norms
from graphlth.algorithms._draw import drawn, starting
from graphlth.algorithms._quantised import quantised
from graphlth.compaction.channels import spread
from graphlth.drawing import Queue
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.types import (
    Draws,
    Epochs,
    Fraction,
    Iterations,
    Milestones,
    NonNegative,
    Optimizer,
    Positive,
    Scope,
    Score,
    Seed,
    Start,
    Window,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.epoch import spans
from graphlth.training.loop import train


def early_bird(
    model: nn.Module,
    task: Task,
    *,
    draws: Draws = 1,
    epochs: Epochs = 100,
    iterations: Iterations = 0,
    drop_channels: Fraction = 0.5,
    channel_score: Score = "norm_scale",
    window: Window = 5,
    epsilon: Positive = 0.1,
    l1_norms: NonNegative = 1e-4,
    scope: Scope = "global",
    start: Start = "inherit",
    bits: Literal[2, 3, 4, 5, 6, 7, 8, 32] = 32,
    lr: Positive = 0.01,
    weight_decay: NonNegative = 5e-4,
    optimizer: Optimizer = "adam",
    momentum: Fraction = 0.9,
    milestones: Milestones = "none",
    warmup: Iterations = 0,
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the one drawn when its channels have settled (Algorithm 1).

    The search is the beginning of a training on `L + λ Σ |γ|`, at the rates of the whole of it. The
    distance from one draw to the next is the fraction of the channels in which they differ.

    Args:
        model: a network of images with hidden channels; its weights are θ₀, also when `last` is
            given.
        task: the images.
        draws: 1 draws one ticket, once the mask has settled or at the last epoch; more draw as
            many at evenly spaced epochs, settled or not.
        epochs: epochs of the search at most, and of retraining.
        iterations: iterations of both, in place of epochs; 0: epochs count.
        drop_channels: p, fraction of the channels that a draw removes, in [0, 1).
        channel_score: norm_scale (|γ|, as published), filter_norm (L1), thinet, or random, which
            is drawn anew every epoch.
        window: l, how many distances between one draw and the next must be small.
        epsilon: ε, what they must lie below.
        l1_norms: λ, what |γ| of every hidden channel adds to the loss of the search.
        scope: rank channels over all layers ("global") or within each ("layer").
        start: a ticket's weights: those of the search ("inherit"), θ₀ ("rewind"), or new ones
            ("reinit").
        bits: of weights and activations in the search, 2 to 8; 32 for all, as in retraining. It
            is simulated, and a multiply–accumulate of few bits is recorded as one of all.
        lr: the learning rate.
        weight_decay: L2 decay.
        optimizer: adam or sgd.
        momentum: of SGD.
        milestones: fractions of training, as 0.5,0.75, where the rate falls to a tenth; or none.
        warmup: iterations at the start of training in which the rate rises linearly.
        seed: seeds dropout, batch order, new weights and a score that draws.
        last: continue after this ticket.

    Raises:
        ValueError: the model has no hidden channels that `channel_score` scores, a draw would leave
            a layer none, `bits` is not among those above, or a name is unknown.
    """
    check_start(model, task, last)
    slimming = penalise_norms(find_hidden_channels(model, task), l1_norms)
    begin, numbers = starting(model, start, seed), count()

    def draw(fraction: float = drop_channels) -> dict[str, Tensor]:
        return keep_channels(model, task, {}, score=channel_score, fraction=fraction, scope=scope,
                             seed=stream_seed(seed, "draw", next(numbers)))  # fmt: skip

    whole = Ticket(snapshot(model), spread(model, draw(0.0)), 0)
    net = quantised(model, bits)
    if last is None:
        yield whole
    elif last.round >= draws:
        return
    epochs = spans(task, iterations) or epochs
    rewind(model, whole.init)  # and with it `net`
    training = train(
        net, task, whole.masks, epochs=epochs, lr=lr, weight_decay=weight_decay,
        optimizer=optimizer, momentum=momentum, milestones=milestones, warmup=warmup,
        seed=stream_seed(seed, "search"), penalty=slimming, scoring=(),
    )  # fmt: skip
    yield from drawn(
        training, draw, begin, Queue(window, epsilon, ("weights",)), epochs=epochs, count=draws,
        last=last, spread=partial(spread, model),
    )  # fmt: skip
