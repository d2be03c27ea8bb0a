"""What supermasks share: scores that are trained while the weights stay, and what they reach."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from graphlth.masks import Masks, add_noise, only, prunable
from graphlth.metrics import ACCURACY
from graphlth.rewinding import rewind
from graphlth.task import Task, apply_edge_masks
from graphlth.ticket import Ticket, dense
from graphlth.training.evaluation import evaluate
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """`value`, with the gradient of `like`."""
    return value.detach() + (like - like.detach())


def beginning(
    model: nn.Module, task: Task, drop_edges: float, drop_weights: float, constant: bool
) -> Ticket:
    """The dense ticket of the parts that are dropped; with `constant`, of weights ±α.

    α is the root mean square of a layer's weights: the standard deviation that they were drawn
    with, as in Zhou et al., rather than one that a formula tells.

    Raises:
        ValueError: no part is dropped, so that there is nothing to search.
    """
    rates = {"drop_weights": drop_weights} | ({"drop_edges": drop_edges} if task.num_edges else {})
    if not any(rates.values()):
        names = " or ".join(f"`{name}`" for name in rates)
        raise ValueError(f"{names} must be above 0, got 0: nothing is left to search")
    with torch.no_grad():
        for p in prunable(model).values() if constant else ():
            p.copy_(p.sign() * p.square().mean().sqrt())
    return dense(model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0)


def searched(
    model: nn.Module, task: Task, init: dict[str, Tensor], masks: Masks, *, spread: float,
    through: Callable[[Masks], Masks], epochs: int, lr: float, seed: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The scores s after training; those of removed entries are 0, as are all without a mask.

    They start uniformly in ± `spread`, drawn from `seed`. The weights are `init` throughout.
    """
    none = {n: torch.zeros_like(m) for n, m in masks.items()}
    scores = {n: (s * masks[n]).requires_grad_() for n, s in add_noise(none, spread, seed).items()}
    for _ in train(
        rewind(model, init), task, masks, epochs=max(epochs, 1), until=epochs,
        lr=lr, weight_decay=0, seed=seed,
        soft=SoftMasks(scores, through=through, learn=("soft",)), scoring=(),
    ):  # fmt: skip
        pass
    return {n: s.detach() for n, s in scores.items()}


def found(
    model: nn.Module, task: Task, init: dict[str, Tensor], masks: Masks, round: int
) -> Ticket:
    """The ticket, which tells what `model` reaches under its masks as it is, without training.

    The weights must be those of `init`; the statistics of norms are what the search has left.
    """
    cut = apply_edge_masks(task, masks)
    val, test = evaluate(model, cut, only(masks, "weights"), ("val", "test"))
    search = {"untrained_val": val, "untrained_test": test}
    named = {} if task.metric is ACCURACY else {"metric": task.metric.name}
    return Ticket(init, masks, round, search=search | named)
