"""Magnitude: what iterative magnitude pruning keeps."""

from torch import Tensor, nn

from graphlth.masks import Masks, prunable
from graphlth.task import Task


def magnitude(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """|θ| of every weight (Han et al., NeurIPS 2015, arXiv:1506.02626)."""
    return {n: p.detach().abs() for n, p in prunable(model).items() if n in masks}
