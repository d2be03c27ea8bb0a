"""What algorithms that remove channels share: which of them are kept, and a penalty on norms."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from graphlth.algorithms._scores import score_channels
from graphlth.compaction.channels import Level, kept_channels, levels, surviving
from graphlth.masks import Masks, masked_values, ones
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.types import Score
from graphlth.task import Task


def find_hidden_channels(model: nn.Module, task: Task) -> list[Level]:
    """The hidden channels of `model`, layer by layer.

    Raises:
        ValueError: there are none.
    """
    hidden = levels(model) if hasattr(task, "shape") else []
    if not hidden:
        raise ValueError("`model` must be of images, with hidden channels to remove, got "
                         f"{type(model).__name__}")  # fmt: skip
    return hidden


def penalise_norms(hidden: list[Level], rate: float) -> Callable[[Masks, Masks], Tensor] | None:
    """`λ Σ |γ|` over all hidden channels, a penalty of `train`; None where there is none."""
    names = [f"{norm}.weight" for level in hidden for norm in level.norms]
    if not names or not rate:
        return None
    return lambda weights, soft: rate * torch.stack([weights[n].abs().sum() for n in names]).sum()


def keep_channels(
    model: nn.Module, task: Task, masks: Masks, *, score: Score, fraction: float, scope: str,
    seed: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The masks [C] without the `fraction` of the surviving channels of lowest score, by layer.

    Args:
        model: the network, with the weights that it has now.
        task: the images.
        masks: of the weights that survive; none: all do.
        score: of channels, or its name.
        fraction: of the surviving channels that is removed, in [0, 1).
        scope: rank channels over all layers ("global") or within each ("layer").
        seed: seeds a score that draws.
    """
    net = deepcopy(model).eval()
    rewind(net, masked_values(snapshot(model), masks))
    alive = {n: kept.float() for n, kept in surviving(net, masks or ones(net)).items()}
    scores = score_channels(score, net, task, alive, seed=seed)
    return kept_channels(model, scores, fraction, scope, masks)
