"""Graph early-bird tickets (You et al., AAAI 2022, arXiv:2103.00794)."""

from collections.abc import Iterator

from torch import nn

from graphlth.algorithms._admm import Admm, whole_graph
from graphlth.algorithms._draw import drawn, starting
from graphlth.algorithms._graph import dense_graph
from graphlth.drawing import Queue
from graphlth.masks import EDGES
from graphlth.prune import make_redraw
from graphlth.rewinding import rewind
from graphlth.settings.types import (
    Draws,
    Epochs,
    Fraction,
    NonNegative,
    OptionalEpochs,
    Positive,
    Seed,
    Start,
    Steps,
    Window,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks


def geb(
    model: nn.Module,
    task: Task,
    *,
    draws: Draws = 1,
    epochs: Epochs = 100,
    pretrain: OptionalEpochs = 100,
    drop_edges: Fraction = 0.2,
    window: Window = 3,
    epsilon: Positive = 0.1,
    start: Start = "inherit",
    rho: NonNegative = 1e-3,
    admm_steps: Steps = 10,
    lr: Positive = 0.01,
    lr_edges: Positive = 1e-3,
    weight_decay: NonNegative = 5e-4,
    mask_noise: Fraction = 1e-5,
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the one drawn when its graph has settled (Algorithm 1).

    Only edges are removed: a network is pretrained, then the graph is trained under it.

    Args:
        model: the network; its weights are θ₀, also when `last` is given.
        task: the graph and its labels.
        draws: 1 draws one ticket, once the mask has settled or at the last epoch; more draw as
            many at evenly spaced epochs, settled or not.
        epochs: epochs of training the graph at most, and of retraining.
        pretrain: epochs of training the network before.
        drop_edges: p_g, fraction of the edges that a draw removes, in [0, 1).
        window: l, how many distances between one draw and the next must be small.
        epsilon: η, what they must lie below; that from the dense masks to the
            first draw counts as 1.
        start: a ticket's weights: the pretrained ones ("inherit"), θ₀ ("rewind"), or new ones
            ("reinit").
        rho: ρ, weight of the penalty that keeps the graph near p_g (see SGCN).
        admm_steps: steps on the graph before one on the other variables of that penalty.
        lr: Adam's learning rate of the weights.
        lr_edges: Adam's learning rate of the graph.
        weight_decay: Adam's L2 decay of the weights.
        mask_noise: the graph starts uniformly in 1 ± this; it orders edges without a gradient.
        seed: seeds dropout and the noise.
        last: continue after this ticket.

    Raises:
        ValueError: the task has no edges, or `start` is unknown.
    """
    check_start(model, task, last)
    whole, begin = dense_graph(model, task), starting(model, start, seed)
    if last is None:
        yield whole
    elif last.round >= draws:
        return
    a = whole_graph(model, task.num_edges, mask_noise, seed)  # A
    admm = Admm(a, drop_edges, rho, admm_steps)

    def training() -> Iterator[None]:
        for _ in train(
            rewind(model, whole.init), task, {}, epochs=max(pretrain, 1), until=pretrain, lr=lr,
            weight_decay=weight_decay,
            seed=stream_seed(seed, "pretraining"), scoring=(),
        ):  # fmt: skip
            pass
        for _ in train(
            model, task, whole.masks, epochs=epochs, lr=lr_edges, weight_decay=0,
            soft=SoftMasks({EDGES: a}, learn=("soft",)), scoring=(), penalty=admm.penalty,
            seed=stream_seed(seed, "graph training"),
        ):  # fmt: skip
            yield admm.step(a)

    draw = make_redraw(whole.masks, {EDGES: a}, edges=drop_edges)  # A ≥ 0
    queue = Queue(window, epsilon, ("edges",), whole.masks)
    yield from drawn(training(), draw, begin, queue, epochs=epochs, count=draws, last=last)
