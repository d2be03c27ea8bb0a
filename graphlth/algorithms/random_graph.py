"""A random sub-graph under a pruned network: what a graph sparsifier must beat."""

from collections.abc import Iterator

from torch import nn

from graphlth.algorithms._graph import dense_graph
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.scores.random import random
from graphlth.scores.weights.magnitude import magnitude
from graphlth.settings.types import (
    Fraction,
    Ignore,
    NonNegative,
    OptionalEpochs,
    Positive,
    Scope,
    Seed,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.loop import train
from graphlth.training.recipe import ADAM, AdamFields, Recipe

RECIPE: AdamFields = {**ADAM, "epochs": 100}


def random_graph(
    model: nn.Module,
    task: Task,
    *,
    pretrain: OptionalEpochs = 100,
    drop_edges: Fraction = 0.2,
    drop_weights: Fraction = 0.0,
    lr: Positive = 0.01,
    weight_decay: NonNegative = 5e-4,
    scope: Scope = "global",
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one without random edges, to be trained from θ₀.

    With `drop_weights`, the weights of lowest magnitude go too, after training on the whole graph:
    beside `sgcn` and `geb`, the graph alone differs.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        pretrain: epochs of training before weights are pruned; none if none are.
        drop_edges: fraction of the edges that goes, in [0, 1).
        drop_weights: fraction of the weights that goes, in [0, 1).
        lr: Adam's learning rate in this training.
        weight_decay: Adam's L2 decay in this training.
        scope: rank weights over all layers ("global") or within each ("layer").
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds dropout and the choice of edges.
        last: continue after this ticket.

    Raises:
        ValueError: the task has no edges.
    """
    check_start(model, task, last)
    first = last or dense_graph(model, task, weights=drop_weights > 0, ignore=ignore)
    if last is None:
        yield first
    elif last.round:
        return
    rewind(model, first.init)
    if pretrain and drop_weights:
        for _ in train(
            model, task, {}, recipe=Recipe(epochs=pretrain, lr=lr, weight_decay=weight_decay),
            seed=stream_seed(seed, "pretraining"), scoring=(),
        ):  # fmt: skip
            pass
    scores = random(model, task, first.masks, seed=stream_seed(seed, "masks", 1))
    scores |= magnitude(model, task, first.masks)
    rates = drop_weights, drop_edges, scope, task.edge_groups
    yield Ticket(first.init, drop_jointly(first.masks, scores, *rates), 1)
