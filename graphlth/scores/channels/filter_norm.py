"""Filter norm: how large the filter of a channel is."""

from torch import Tensor, nn

from graphlth.compaction.channels import filter_norms
from graphlth.compaction.hidden_units import hidden_layers, unit_filter_norms
from graphlth.masks import Masks
from graphlth.task import Task


def filter_norm(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """The L1 norm [C] of the filter of each channel (Li et al., ICLR 2017, arXiv:1608.08710)."""
    if hasattr(task, "shape"):
        found = filter_norms(model)
    else:
        found = unit_filter_norms(model, hidden_layers(model, task))
    return {n: score for n, score in found.items() if n in masks}
