"""Random scores: the control that any other score must beat."""

import torch
from torch import Tensor

from graphlth.masks import Masks


def random(values: Masks, *, seed: int = 0) -> dict[str, Tensor]:
    """A uniform draw from [0, 1) for every entry of `values`, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(v.shape, generator=generator).to(v.device) for n, v in values.items()}
