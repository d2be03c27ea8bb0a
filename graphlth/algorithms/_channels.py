"""What algorithms that remove channels share: which of them are kept, and a penalty on norms."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphlth.algorithms._scores import score_channels
from graphlth.compaction.channels import (
    Level,
    expand_channels,
    hidden_levels,
    keep_highest,
    surviving_channels,
)
from graphlth.compaction.hidden_units import expand_units, hidden_layers, surviving_units
from graphlth.compaction.layers import HiddenLayer
from graphlth.masks import Masks, masked_values, ones
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.types import ChannelScore, Scope
from graphlth.settings.validation import check_fields
from graphlth.task import Task
from graphlth.training.recipe import RecipeFields

Hidden = Sequence[Level] | Sequence[HiddenLayer]  # of networks of images, and on graphs


def find_hidden_channels(model: nn.Module, task: Task) -> Hidden:
    """The hidden channels, or units, of `model`, layer by layer.

    Raises:
        ValueError: there are none.
    """
    hidden: Hidden = hidden_layers(model, task) if task.num_edges else []
    if hasattr(task, "shape"):
        hidden = hidden_levels(model)
    if not hidden:
        raise ValueError("`model` must have hidden channels to remove, of images or on a graph, "
                         f"got {type(model).__name__}")  # fmt: skip
    return hidden


def penalise_norms(hidden: Hidden, rate: float) -> Callable[[Masks, Masks], Tensor] | None:
    """`λ Σ |γ|` over all hidden channels, a penalty of `train`; None where there is none."""
    names = [n for level in hidden for n in level.scales]
    if not names or not rate:
        return None
    return lambda weights, soft: rate * torch.stack([weights[n].abs().sum() for n in names]).sum()


def expand_hidden(model: nn.Module, task: Task, kept: Masks) -> dict[str, Tensor]:
    """The masks of the parameters under those of whole channels or units [C], by layer."""
    if hasattr(task, "shape"):
        return expand_channels(model, kept)
    return expand_units(model, hidden_layers(model, task), kept)


@dataclass(frozen=True)
class ChannelRanking:
    """In which order channels go.

    Args:
        channel_score: norm_scale (|γ|), filter_norm (L1), thinet, or random.
        scope: rank channels over all layers ("global") or within each ("layer").
    """

    channel_score: ChannelScore = "norm_scale"
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_fields(self)


class ChannelFields(RecipeFields, total=False):
    """The fields of `ChannelRanking` and `Recipe` as keywords, or a group in place of its own."""

    channel_ranking: ChannelRanking
    channel_score: ChannelScore
    scope: Scope


def keep_channels(
    model: nn.Module,
    task: Task,
    masks: Masks,
    ranking: ChannelRanking,
    fraction: float,
    seed: int,
) -> dict[str, Tensor]:
    """The masks [C] without the `fraction` of the surviving channels of lowest score, by layer.

    Args:
        model: the network, with the weights that it has now.
        task: the images.
        masks: of the weights that survive; none: all do.
        ranking: the order in which channels go.
        fraction: of the surviving channels that is removed, in [0, 1).
        seed: seeds a score that draws.
    """
    net = deepcopy(model).eval()
    rewind(net, masked_values(snapshot(model), masks))
    whole = masks or ones(net)
    if hasattr(task, "shape"):
        found = surviving_channels(net, whole)
    else:
        found = surviving_units(hidden_layers(net, task), whole)
    alive = {n: kept.float() for n, kept in found.items()}
    scores = score_channels(ranking.channel_score, net, task, alive, seed=seed)
    return keep_highest(scores, alive, fraction, ranking.scope)
