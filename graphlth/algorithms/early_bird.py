"""Early-bird tickets of whole channels (You et al., ICLR 2020, openreview BJxsrgStvr)."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import count
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
from graphlth.algorithms._draw import draw_tickets, starting_weights
from graphlth.algorithms._quantise import Bits, quantise
from graphlth.drawing import Queue
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.groups import split_group
from graphlth.settings.types import (
    Draws,
    Fraction,
    NonNegative,
    Positive,
    Seed,
    Start,
    Window,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.epoch import epochs_of
from graphlth.training.loop import train
from graphlth.training.recipe import Recipe

RECIPE = asdict(Recipe(epochs=100))


def early_bird(
    model: nn.Module,
    task: Task,
    *,
    draws: Draws = 1,
    drop_channels: Fraction = 0.5,
    window: Window = 5,
    epsilon: Positive = 0.1,
    l1_norms: NonNegative = 1e-4,
    start: Start = "inherit",
    bits: Bits = 32,
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[ChannelFields],
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
        drop_channels: p, fraction of the channels that a draw removes, in [0, 1).
        window: l, how many distances between one draw and the next must be small.
        epsilon: ε, what they must lie below.
        l1_norms: λ, what |γ| of every hidden channel adds to the loss of the search.
        start: a ticket's weights: those of the search ("inherit"), θ₀ ("rewind"), or new ones
            ("reinit").
        bits: of weights and activations in the search, 2 to 8; 32 for all, as in retraining. It
            is simulated, and a multiply–accumulate of few bits is recorded as one of all.
        seed: seeds dropout, batch order, new weights and a score that draws.
        last: continue after this ticket.
        settings: which channels go first (see `ChannelRanking`; published is |γ|, and random is
            drawn anew every epoch) and how the search trains (see `Recipe`); it takes at most the
            epochs of the recipe.

    Raises:
        ValueError: the model has no hidden channels that `channel_score` scores, a draw would leave
            a layer none, `bits` is not among those above, or a name is unknown.
    """
    ranking, training = split_group(ChannelRanking, settings)
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)
    slimming = penalise_norms(find_hidden_channels(model, task), l1_norms)
    weights, numbers = starting_weights(model, start, seed), count()

    def draw(fraction: float = drop_channels) -> dict[str, Tensor]:
        draw_seed = stream_seed(seed, "draw", next(numbers))
        return keep_channels(model, task, {}, ranking, fraction, draw_seed)

    first = Ticket(snapshot(model), expand_hidden(model, task, draw(0.0)), 0)
    net = quantise(model, bits)
    if last is None:
        yield first
    elif last.round >= draws:
        return
    rewind(model, first.init)  # and with it `net`
    search = train(net, task, first.masks, recipe=recipe, seed=stream_seed(seed, "search"),
                   penalty=slimming, scoring=())  # fmt: skip
    queue = Queue(window, epsilon, ("weights",))
    yield from draw_tickets(
        search, draw, weights, queue, epochs=epochs_of(recipe, task), count=draws, last=last,
        expand=partial(expand_hidden, model, task),
    )  # fmt: skip
