"""Edge-popup: subnetworks of untrained weights (Ramanujan et al., CVPR 2020, arXiv:1911.13299)."""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from graphlth.algorithms._supermask import (
    dense_ticket,
    evaluate_untrained,
    straight_through,
    train_scores,
)
from graphlth.edge_masks import is_edge_key
from graphlth.masks import Masks
from graphlth.prune import drop_lowest
from graphlth.settings.types import Epochs, Fraction, Ignore, Positive, Rounds, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.checks import check_start
from graphlth.training.recipe import ADAM, Recipe

RECIPE = ADAM


def edge_popup(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 1,
    epochs: Epochs = 200,
    drop_edges: Fraction = 0.0,
    drop_weights: Fraction = 0.5,
    constant: bool = False,
    lr_scores: Positive = 0.1,
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round; each is searched with its own sparsity.

    Each forward pass of the search sees, of every layer, the weights of highest |s|, as many as the
    ticket will keep; the gradient reaches |s| as if it were the mask. The weights stay. The paper's
    k is 1 - `drop_weights` in its one round; further rounds search among the survivors.

    Args:
        model: the network; its weights are θ₀.
        task: the data.
        rounds: how often to prune.
        epochs: epochs of search per round, and of retraining.
        drop_edges: fraction of the surviving edges that a round removes, in [0, 1).
        drop_weights: fraction of a layer's surviving weights that a round removes, in [0, 1).
        constant: weights are ±α, their sign kept and α that layer's root mean square.
        lr_scores: Adam's learning rate of s.
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds where s starts, dropout and batch order.
        last: continue after this ticket.
    """
    check_start(model, task, last)
    recipe = Recipe(epochs=epochs, lr=lr_scores, weight_decay=0.0)
    ticket = last or dense_ticket(model, task, drop_edges, drop_weights, constant, ignore)
    if last is None:
        yield ticket
    theta_0 = ticket.init
    for r in range(ticket.round + 1, rounds + 1):
        left = {n: int(m.count_nonzero()) for n, m in ticket.masks.items()}
        rates = {n: drop_edges if is_edge_key(n) else drop_weights for n in left}
        counts = {n: count - round(rates[n] * count) for n, count in left.items()}
        s = train_scores(
            model, task, theta_0, ticket.masks, noise=1, recipe=recipe,
            through=partial(mask_highest, counts=counts), seed=stream_seed(seed, "scores", r),
        )  # fmt: skip
        scores = {n: t.abs() for n, t in s.items()}
        masks = {n: drop_lowest({n: m}, scores, rates[n])[n] for n, m in ticket.masks.items()}
        ticket = evaluate_untrained(model, task, theta_0, masks, r)
        yield ticket


def mask_highest(s: Masks, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """The masks of the highest |s|, as many as `counts` says."""
    return {n: highest(t.abs(), counts[n]) for n, t in s.items()}


def highest(scores: Tensor, count: int) -> Tensor:
    """1 for the `count` highest `scores`, else 0, with the gradient of `scores`."""
    top = torch.zeros_like(scores).view(-1)
    top[scores.detach().flatten().topk(count).indices] = 1
    return straight_through(top.view_as(scores), scores)
