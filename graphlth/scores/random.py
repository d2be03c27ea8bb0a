"""Random scores: the control that any other score must beat."""

import torch
from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.settings.types import Seed
from graphlth.streams import stream
from graphlth.task import Task


def random(model: nn.Module, task: Task, masks: Masks, *, seed: Seed = 0) -> dict[str, Tensor]:
    """A uniform draw from [0, 1) for every entry, weights and edges, the same on every device.

    Args:
        model: is not read.
        task: is not read.
        masks: what to draw for.
        seed: seeds the draws.
    """
    generator = stream(seed, "random score")
    return {n: torch.rand(m.shape, generator=generator).to(m.device) for n, m in masks.items()}
