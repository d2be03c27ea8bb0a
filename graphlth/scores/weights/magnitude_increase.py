"""Magnitude increase: how far training has moved a weight away from zero."""

from torch import Tensor, nn

from graphlth.masks import Masks, prunable
from graphlth.task import Task


def magnitude_increase(
    model: nn.Module, task: Task, masks: Masks, *, init: Masks | None = None
) -> dict[str, Tensor]:
    """|θ_t| − |θ₀| of every weight (Zhou et al., NeurIPS 2019, arXiv:1905.01067).

    Args:
        model: the network with the weights θ_t.
        task: is not read.
        masks: what to score.
        init: the state θ₀ that training started from, such as a ticket's `init`.

    Raises:
        ValueError: `init` is not given or does not hold a weight in its shape.
    """
    if init is None:
        raise ValueError("`init` must be the state θ₀ that training started from, got None")
    theta = {n: p for n, p in prunable(model).items() if n in masks}
    for n, p in theta.items():
        if n not in init or init[n].shape != p.shape:
            raise ValueError(f"`init` must hold {n!r} of shape {list(p.shape)}")
    return {n: p.detach().abs() - init[n].to(p).abs() for n, p in theta.items()}
