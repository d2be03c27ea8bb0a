"""SGCN, a graph sparsified by ADMM (Li et al., PAKDD 2020, doi:10.1007/978-3-030-47426-3_22)."""

from collections.abc import Iterator
from typing import Unpack

import torch
from torch import nn

from graphlth.algorithms._admm import (
    Admm,
    GraphTraining,
    TrainingFields,
    pretrain_weights,
    start_graph,
)
from graphlth.algorithms._graph import check_edges, dense_graph
from graphlth.cost.meters import without_counting
from graphlth.masks import only
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind, snapshot
from graphlth.scores.weights.magnitude import magnitude
from graphlth.settings.groups import split_group
from graphlth.settings.types import Fraction, Ignore, OptionalEpochs, Rounds, Scope, Seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.recipe import ADAM, AdamFields, Recipe

RECIPE: AdamFields = {**ADAM, "epochs": 100}


def sgcn(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 1,
    pretrain: OptionalEpochs = 100,
    drop_edges: Fraction = 0.2,
    drop_weights: Fraction = 0.0,
    scope: Scope = "global",
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[TrainingFields],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then those with the edges that ADMM keeps, to be trained from θ₀.

    With `drop_weights`, the pretrained weights of lowest magnitude go too, as in the baseline of
    UGS (arXiv:2102.06790). The ticket of round r removes 1 − (1 − rate)ʳ at once, as much as
    UGS has removed by then; none continues another.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        rounds: how many tickets.
        pretrain: epochs of training the network before the graph.
        drop_edges: fraction of the edges that goes in round 1, in [0, 1).
        drop_weights: fraction of the weights that goes in round 1, in [0, 1).
        scope: rank weights over all layers ("global") or within each ("layer").
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds dropout and the noise.
        last: continue after this ticket.
        settings: how weights (see `Recipe`) and graph (see `GraphTraining`) are trained.

    Raises:
        ValueError: the task has no edges.
    """
    graph, training = split_group(GraphTraining, settings)
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)
    check_edges(task, last)
    first = last or dense_graph(model, task, weights=drop_weights > 0, ignore=ignore)
    if last is None:
        yield first
    if first.round >= rounds:
        return
    with without_counting(first.round > 0):
        pretrain_weights(rewind(model, first.init), task, pretrain, recipe, seed)
    state, magnitudes = snapshot(model), magnitude(model, task, first.masks)
    whole = {n: torch.ones_like(m) for n, m in first.masks.items()} if first.round else first.masks
    for r in range(first.round + 1, rounds + 1):
        edges = start_graph(whole, graph.mask_noise, seed)  # A
        fewer_edges, fewer_weights = (1 - (1 - rate) ** r for rate in (drop_edges, drop_weights))
        admm = Admm(edges, fewer_edges, graph, task.edge_groups)
        for _ in admm.train(rewind(model, state), task, only(whole, "edges"), recipe, seed):
            pass
        scores = magnitudes | {n: a + admm.u[n] for n, a in edges.items()}
        rates = fewer_weights, fewer_edges, scope, task.edge_groups
        yield Ticket(first.init, drop_jointly(whole, scores, *rates), r)
