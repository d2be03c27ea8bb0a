"""Supermasks of untrained weights (Zhou et al., NeurIPS 2019, arXiv:1905.01067, section 5)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from graphlth.algorithms._supermask import (
    dense_ticket,
    evaluate_untrained,
    straight_through,
    train_scores,
)
from graphlth.cost.meters import without_counting
from graphlth.masks import Masks
from graphlth.prune import drop_jointly
from graphlth.settings.types import Epochs, Fraction, Ignore, Positive, Rounds, Scope, Seed
from graphlth.streams import stream, stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.recipe import ADAM, Recipe

RECIPE = ADAM


def supermask(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 1,
    epochs: Epochs = 200,
    drop_edges: Fraction = 0.0,
    drop_weights: Fraction = 0.5,
    constant: bool = False,
    lr_scores: Positive = 0.1,
    scope: Scope = "global",
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the supermasks of every round's sparsity from one search.

    Each forward pass of the search multiplies the weights, which stay, by a mask drawn from
    Bernoulli(σ(s)); the gradient reaches s as if the mask were σ(s). A ticket keeps the highest s.

    Args:
        model: the network; its weights are θ₀.
        task: the data.
        rounds: how many sparsities.
        epochs: epochs of the one search, and of retraining.
        drop_edges: fraction of the surviving edges that a step removes, in [0, 1).
        drop_weights: fraction of the surviving weights that a step removes, in [0, 1).
        constant: weights are ±α, their sign kept and α that layer's root mean square.
        lr_scores: Adam's learning rate of s.
        scope: rank weights over all layers ("global") or within each ("layer").
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds where s starts, the masks that are drawn, dropout and batch order.
        last: continue after this ticket.
    """
    check_start(model, task, last)
    first = last or dense_ticket(model, task, drop_edges, drop_weights, constant, ignore)
    if last is None:
        yield first
    draw = stream(seed, "masks")
    masks = {n: m.new_ones(m.shape) for n, m in first.masks.items()}  # m ← 1

    def sample_masks(s: Masks) -> dict[str, Tensor]:
        return {n: bernoulli(t.sigmoid(), draw) for n, t in s.items()}

    with without_counting(first.round > 0):
        s = train_scores(
            model, task, first.init, masks, noise=0.01, through=sample_masks,
            recipe=Recipe(epochs=epochs, lr=lr_scores, weight_decay=0.0),
            seed=stream_seed(seed, "scores", 1),
        )  # fmt: skip
    tickets = []  # all of them before the first is retrained in `model`
    for r in range(1, rounds + 1):
        masks = drop_jointly(masks, s, drop_weights, drop_edges, scope, task.edge_groups)
        tickets.append(evaluate_untrained(model, task, first.init, masks, r))
    yield from tickets[first.round :]


def bernoulli(p: Tensor, draw: torch.Generator) -> Tensor:
    """1 with probability `p`, else 0, with the gradient of `p`."""
    return straight_through((torch.rand(p.shape, generator=draw).to(p) < p).to(p), p)
