"""Graph early-bird tickets (You et al., AAAI 2022, arXiv:2103.00794)."""

from collections.abc import Iterator
from typing import Unpack

from torch import nn

from graphlth.algorithms._admm import Admm, GraphTraining, pretrain_weights, start_graph
from graphlth.algorithms._draw import DrawComparison, DrawFields, draw_tickets, starting_weights
from graphlth.algorithms._graph import check_edges, dense_graph
from graphlth.prune import make_redraw
from graphlth.rewinding import rewind
from graphlth.settings.groups import split_group
from graphlth.settings.types import (
    Draws,
    Fraction,
    Ignore,
    OptionalEpochs,
    Positive,
    Seed,
    Start,
    Window,
)
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.recipe import ADAM, AdamFields, Recipe

RECIPE: AdamFields = {**ADAM, "epochs": 100}


def geb(
    model: nn.Module,
    task: Task,
    *,
    draws: Draws = 1,
    pretrain: OptionalEpochs = 100,
    drop_edges: Fraction = 0.2,
    window: Window = 3,
    epsilon: Positive = 0.1,
    start: Start = "inherit",
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[DrawFields],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the one drawn when its graph has settled (Algorithm 1).

    Only edges are removed: a network is pretrained, then the graph is trained under it.

    Args:
        model: the network; its weights are θ₀, also when `last` is given.
        task: the graph and its labels.
        draws: 1 draws one ticket, once the mask has settled or at the last epoch; more draw as
            many at evenly spaced epochs, settled or not.
        pretrain: epochs of training the network before the graph.
        drop_edges: p_g, fraction of the edges that a draw removes, in [0, 1).
        window: l, how many distances between one draw and the next must be small.
        epsilon: η, what they must lie below; that from the dense masks to the first draw counts
            as 1.
        start: a ticket's weights: the pretrained ones ("inherit"), θ₀ ("rewind"), or new ones
            ("reinit").
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds dropout and the noise.
        last: continue after this ticket.
        settings: how weights (see `Recipe`) and graph (see `GraphTraining`) are trained, and
            how draws are compared (see `DrawComparison`); the epochs are the most that the graph
            is trained for.

    Raises:
        ValueError: the task has no edges, or `start` is unknown.
    """
    comparison, others = split_group(DrawComparison, settings)
    graph, training = split_group(GraphTraining, others)
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)
    check_edges(task, last)
    first, weights = dense_graph(model, task, ignore=ignore), starting_weights(model, start, seed)
    if last is None:
        yield first
    elif last.round >= draws:
        return
    edges = start_graph(first.masks, graph.mask_noise, seed)  # A
    admm = Admm(edges, drop_edges, graph, task.edge_groups)

    def search() -> Iterator[None]:
        pretrain_weights(rewind(model, first.init), task, pretrain, recipe, seed)
        yield from admm.train(model, task, first.masks, recipe, seed)

    draw = make_redraw(first.masks, edges, edges=drop_edges, groups=task.edge_groups)  # A ≥ 0
    queue = comparison.queue(window, epsilon, ("edges",), first.masks)
    yield from draw_tickets(
        search(), draw, weights, queue,
        epochs=recipe.epochs, count=draws, last=last, first_epoch=comparison.first_epoch,
    )  # fmt: skip
