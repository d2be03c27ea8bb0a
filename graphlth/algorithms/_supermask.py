"""What supermasks share: scores that are trained while the weights stay, and their tickets."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from graphlth.masks import Masks, add_noise, ignored_names, only, prunable
from graphlth.metrics import ACCURACY
from graphlth.rewinding import rewind
from graphlth.task import Task, apply_edge_masks
from graphlth.ticket import Ticket, dense
from graphlth.training.evaluation import evaluate
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks
from graphlth.training.recipe import Recipe


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """`value`, with the gradient of `like`."""
    return value.detach() + (like - like.detach())


def dense_ticket(
    model: nn.Module, task: Task, drop_edges: float, drop_weights: float, constant: bool,
    ignore: str,
) -> Ticket:  # fmt: skip
    """The dense ticket of the parts that are pruned; with `constant`, of weights ±α.

    α is the root mean square of a layer's weights: the standard deviation that they were drawn
    with, as in Zhou et al., rather than one from a formula.

    Raises:
        ValueError: no part is pruned, so that there is nothing to search.
    """
    rates = {"drop_weights": drop_weights} | ({"drop_edges": drop_edges} if task.num_edges else {})
    if not any(rates.values()):
        names = " or ".join(f"`{name}`" for name in rates)
        raise ValueError(f"{names} must be above 0, got 0: nothing is left to search")
    with torch.no_grad():
        ignored = ignored_names(model, task.num_edges, ignore) if ignore else ()
        for n, p in prunable(model).items() if constant else ():
            if n not in ignored:
                p.copy_(p.sign() * p.square().mean().sqrt())
    parts = {"edges": drop_edges > 0, "weights": drop_weights > 0}
    return dense(model, task.num_edges, **parts, ignore=ignore)


def train_scores(
    model: nn.Module, task: Task, init: dict[str, Tensor], masks: Masks, *, noise: float,
    through: Callable[[Masks], Masks], recipe: Recipe, seed: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The scores s after training under the weights `init`, which stay; 0 of removed entries.

    They start uniformly in ± `noise`, drawn from `seed`; each pass sees `through(s) ⊙ masks`.
    """
    zeros = {n: torch.zeros_like(m) for n, m in masks.items()}
    scores = {n: (s * masks[n]).requires_grad_() for n, s in add_noise(zeros, noise, seed).items()}
    for _ in train(
        rewind(model, init), task, masks, recipe=recipe, seed=seed, scoring=(),
        soft=SoftMasks(scores, through=through, learn=("soft",)),
    ):  # fmt: skip
        pass
    return {n: s.detach() for n, s in scores.items()}


def evaluate_untrained(
    model: nn.Module, task: Task, init: dict[str, Tensor], masks: Masks, round: int
) -> Ticket:
    """The ticket of `masks`, with what `model` reaches under them without training.

    The weights of `model` must be `init`; the statistics of its norms are those of the search.
    """
    pruned = apply_edge_masks(task, masks)
    val, test = evaluate(model, pruned, only(masks, "weights"), ("val", "test"))
    search = {"untrained_val": val, "untrained_test": test}
    named = {} if task.metric is ACCURACY else {"metric": task.metric.name}
    return Ticket(init, masks, round, search=search | named)
