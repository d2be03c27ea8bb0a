"""SGCN, a graph sparsified by ADMM (Li et al., PAKDD 2020, doi:10.1007/978-3-030-47426-3_22)."""

from collections.abc import Iterator

from torch import nn

from graphlth.algorithms._admm import Admm, whole_graph
from graphlth.algorithms._graph import dense_graph
from graphlth.masks import EDGES, only
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.scores.weights.magnitude import magnitude
from graphlth.settings.types import (
    Epochs,
    Fraction,
    NonNegative,
    OptionalEpochs,
    Positive,
    Scope,
    Seed,
    Steps,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks


def sgcn(
    model: nn.Module,
    task: Task,
    *,
    epochs: Epochs = 100,
    pretrain: OptionalEpochs = 100,
    drop_edges: Fraction = 0.2,
    drop_weights: Fraction = 0.0,
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
    """Yield the dense ticket, then one with the edges that ADMM keeps, to be trained from θ₀.

    With `drop_weights`, the pretrained weights of lowest magnitude go too, as in the baseline of
    UGS (arXiv:2102.06790).

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        epochs: epochs of training the graph, and of retraining.
        pretrain: epochs of training the network before.
        drop_edges: fraction of the edges that goes, in [0, 1).
        drop_weights: fraction of the weights that goes, in [0, 1).
        rho: ρ, weight of ADMM's quadratic term.
        admm_steps: steps on the graph before one on ADMM's other variables.
        lr: Adam's learning rate of the weights.
        lr_edges: Adam's learning rate of the graph.
        weight_decay: Adam's L2 decay of the weights.
        scope: rank weights over all layers ("global") or within each ("layer").
        mask_noise: the graph starts uniformly in 1 ± this; it orders edges without a gradient.
        seed: seeds dropout and the noise.
        last: continue after this ticket.

    Raises:
        ValueError: the task has no edges.
    """
    check_start(model, task, last)
    whole = last or dense_graph(model, task, weights=drop_weights > 0)
    if last is None:
        yield whole
    elif last.round:
        return
    for _ in train(
        rewind(model, whole.init), task, {}, epochs=max(pretrain, 1), until=pretrain, lr=lr,
        weight_decay=weight_decay, seed=stream_seed(seed, "pretraining"), scoring=(),
    ):  # fmt: skip
        pass
    a = whole_graph(model, task.num_edges, mask_noise, seed)  # A
    admm = Admm(a, drop_edges, rho, admm_steps)
    for _ in train(
        model, task, only(whole.masks, "edges"), epochs=epochs, lr=lr_edges, weight_decay=0,
        soft=SoftMasks({EDGES: a}, learn=("soft",)), scoring=(), penalty=admm.penalty,
        seed=stream_seed(seed, "graph training"),
    ):  # fmt: skip
        admm.step(a)
    scores = magnitude(model, task, whole.masks) | {EDGES: a + admm.u}
    yield Ticket(whole.init, drop_jointly(whole.masks, scores, drop_weights, drop_edges, scope), 1)
