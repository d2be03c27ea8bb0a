"""Norm scale: the factor by which a norm multiplies a channel."""

from torch import Tensor, nn

from graphlth.compaction.channels import norm_scales
from graphlth.compaction.hidden_units import hidden_layers, unit_norm_scales
from graphlth.masks import Masks
from graphlth.task import Task


def norm_scale(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """|γ| [C] of the channels of each layer that has a norm (Liu et al., ICCV 2017).

    Source: network slimming, arXiv:1708.06519.
    """
    if hasattr(task, "shape"):
        found = norm_scales(model)
    else:
        found = unit_norm_scales(model, hidden_layers(model, task))
    return {n: score for n, score in found.items() if n in masks}
