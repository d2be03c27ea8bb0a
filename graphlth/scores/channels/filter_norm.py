"""Filter norm: how large the filter of a channel is."""

from torch import Tensor, nn

from graphlth.compaction.channels import filter_norms
from graphlth.masks import Masks
from graphlth.task import Task


def filter_norm(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """The L1 norm [C] of the filter of each channel (Li et al., ICLR 2017, arXiv:1608.08710)."""
    return {n: norm for n, norm in filter_norms(model).items() if n in masks}
