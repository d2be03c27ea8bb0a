"""Joint early-bird tickets of graph and network (You et al., AAAI 2022, arXiv:2103.00794)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Unpack

from torch import nn

from graphlth.algorithms._admm import Admm, GraphTraining, start_graph
from graphlth.algorithms._draw import DrawComparison, DrawFields, draw_tickets, starting_weights
from graphlth.algorithms._graph import check_edges
from graphlth.drawing import CRITERIA
from graphlth.masks import ones, only, prunable
from graphlth.prune import make_redraw
from graphlth.rewinding import rewind
from graphlth.settings.annotations import check_value
from graphlth.settings.groups import split_group
from graphlth.settings.types import (
    Draws,
    Fraction,
    Ignore,
    JointStart,
    Positive,
    Scope,
    Seed,
    Window,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks
from graphlth.training.recipe import ADAM, AdamFields, Recipe

RECIPE: AdamFields = {**ADAM, "epochs": 100}


@dataclass(frozen=True)
class Exceptions:
    """What has no mask.

    Args:
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
    """

    ignore: Ignore = ""


class SearchFields(DrawFields, total=False):
    """The fields of all groups as keywords, or a group in place of its own."""

    exceptions: Exceptions
    ignore: Ignore


def joint_early_bird(
    model: nn.Module,
    task: Task,
    *,
    draws: Draws = 1,
    drop_edges: Fraction = 0.2,
    drop_weights: Fraction = 0.5,
    window: Window = 3,
    epsilon: Positive = 0.1,
    criterion: Literal["edges", "weights", "both"] = "both",
    start: JointStart = "inherit",
    scope: Scope = "global",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[SearchFields],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the one drawn when its masks have settled (Algorithm 2).

    Weights and graph are trained by turns, a step each an epoch, from scratch. A part that is
    dropped at rate 0 is trained, but has no mask.

    Args:
        model: the network; its weights are θ₀, also when `last` is given.
        task: the graph and its labels.
        draws: 1 draws one ticket, once masks have settled or at the last epoch; more draw as many
            at evenly spaced epochs, settled or not.
        drop_edges: p_g, fraction of the edges that a draw removes, in [0, 1).
        drop_weights: p_w, fraction of the weights that a draw removes, in [0, 1).
        window: l, how many distances between one draw and the next must be small.
        epsilon: η, what they must lie below; that from the dense masks to the first draw counts
            as 1.
        criterion: whose distance: "edges" (d_g), "weights" (d_w) or "both" (d_g + d_w).
        start: a ticket's weights: those of the search ("inherit"), θ₀ ("rewind"), or new ones
            ("reinit"), of which with "reinit-dense" none is removed, as in the released code.
        scope: rank weights over all layers ("global") or within each ("layer").
        seed: seeds dropout and the noise.
        last: continue after this ticket.
        settings: what stays dense (see `Exceptions`), how weights (see `Recipe`) and graph (see
            `GraphTraining`) are trained, and how draws are compared (see `DrawComparison`); the
            epochs are the most that the search takes.
    """
    exceptions, others = split_group(Exceptions, settings)
    comparison, others = split_group(DrawComparison, others)
    graph, training = split_group(GraphTraining, others)
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)
    check_edges(task, last)
    parts = {"edges": drop_edges > 0, "weights": drop_weights > 0}
    first = dense(model, task.num_edges, **parts, ignore=exceptions.ignore)
    check_value("start", start, JointStart)
    weights = starting_weights(model, "reinit" if start == "reinit-dense" else start, seed)
    masks = first.masks  # m_g, m_θ ← 1
    if last is None:
        yield first
    elif last.round >= draws:
        return
    edges = start_graph(ones(model, task.num_edges), graph.mask_noise, seed)  # A
    admm = Admm(edges, drop_edges, graph, task.edge_groups)
    weight_training = train(
        rewind(model, first.init), task, masks, recipe=recipe, scoring=(),
        soft=SoftMasks(edges, learn=("weights",)),
        seed=stream_seed(seed, "weight training"),
    )  # fmt: skip
    turns = zip(weight_training, admm.train(model, task, masks, recipe, seed), strict=True)
    values = prunable(model) | edges  # A ≥ 0
    draw = make_redraw(masks, values, drop_weights, drop_edges, scope, task.edge_groups)
    queue = comparison.queue(window, epsilon, CRITERIA[criterion], masks)
    whole = only(masks, "weights") if start == "reinit-dense" else {}
    yield from draw_tickets(
        turns, draw, weights, queue,
        epochs=recipe.epochs, count=draws, last=last, expand=lambda drawn: {**drawn, **whole},
        first_epoch=comparison.first_epoch,
    )  # fmt: skip
