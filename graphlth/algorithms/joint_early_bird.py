"""Joint early-bird tickets of graph and network (You et al., AAAI 2022, arXiv:2103.00794)."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from graphlth.algorithms._admm import Admm, whole_graph
from graphlth.algorithms._draw import drawn, starting
from graphlth.algorithms._graph import check_edges
from graphlth.drawing import CRITERIA, Queue
from graphlth.masks import EDGES, prunable
from graphlth.prune import make_redraw
from graphlth.rewinding import rewind
from graphlth.settings.types import (
    Draws,
    Epochs,
    Fraction,
    NonNegative,
    Positive,
    Scope,
    Seed,
    Start,
    Steps,
    Window,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks


def joint_early_bird(
    model: nn.Module,
    task: Task,
    *,
    draws: Draws = 1,
    epochs: Epochs = 100,
    drop_edges: Fraction = 0.2,
    drop_weights: Fraction = 0.5,
    window: Window = 3,
    epsilon: Positive = 0.1,
    criterion: Literal["edges", "weights", "both"] = "both",
    start: Start = "inherit",
    rho: NonNegative = 1e-3,
    admm_steps: Steps = 10,
    lr: Positive = 0.01,
    lr_edges: Positive = 1e-3,
    weight_decay: NonNegative = 5e-4,
    scope: Scope = "global",
    mask_noise: Fraction = 1e-5,
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the one drawn when its masks have settled (Algorithm 2).

    Weights and graph are trained by turns, a step each an epoch, from scratch. A part that is
    dropped at rate 0 is trained, but has no mask.

    Args:
        model: the network; its weights are θ₀, also when `last` is given.
        task: the graph and its labels.
        draws: 1 draws one ticket, once masks have settled or at the last epoch; more draw as many
            at evenly spaced epochs, settled or not.
        epochs: epochs of the search at most, and of retraining.
        drop_edges: p_g, fraction of the edges that a draw removes, in [0, 1).
        drop_weights: p_w, fraction of the weights that a draw removes, in [0, 1).
        window: l, how many distances between one draw and the next must be small.
        epsilon: η, what they must lie below; that from the dense masks to the
            first draw counts as 1.
        criterion: whose distance: "edges" (d_g), "weights" (d_w) or "both" (d_g + d_w).
        start: a ticket's weights: those of the search ("inherit"), θ₀ ("rewind"), or new ones
            ("reinit").
        rho: ρ, weight of the penalty that keeps the graph near p_g (see SGCN).
        admm_steps: steps on the graph before one on the other variables of that penalty.
        lr: Adam's learning rate of the weights.
        lr_edges: Adam's learning rate of the graph.
        weight_decay: Adam's L2 decay of the weights.
        scope: rank weights over all layers ("global") or within each ("layer").
        mask_noise: the graph starts uniformly in 1 ± this; it orders edges without a gradient.
        seed: seeds dropout and the noise.
        last: continue after this ticket.
    """
    check_start(model, task, last)
    check_edges(task)
    whole = dense(model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0)
    begin, masks = starting(model, start, seed), whole.masks  # m_g, m_θ ← 1
    if last is None:
        yield whole
    elif last.round >= draws:
        return
    a = whole_graph(model, task.num_edges, mask_noise, seed)  # A
    admm = Admm(a, drop_edges, rho, admm_steps)
    weights = train(
        rewind(model, whole.init), task, masks, epochs=epochs, lr=lr, weight_decay=weight_decay,
        seed=stream_seed(seed, "weight training"), scoring=(),
        soft=SoftMasks({EDGES: a}, learn=("weights",)),
    )  # fmt: skip
    graph = train(
        model, task, masks, epochs=epochs, lr=lr_edges, weight_decay=0,
        soft=SoftMasks({EDGES: a}, learn=("soft",)), scoring=(), penalty=admm.penalty,
        seed=stream_seed(seed, "graph training"),
    )  # fmt: skip

    values = prunable(model) | {EDGES: a}  # A ≥ 0
    draw = make_redraw(masks, values, drop_weights, drop_edges, scope)
    queue = Queue(window, epsilon, CRITERIA[criterion], masks)
    turns = (admm.step(a) for _ in zip(weights, graph, strict=True))
    yield from drawn(turns, draw, begin, queue, epochs=epochs, count=draws, last=last)
