"""Scores of hidden channels [C], by layer, of which the lowest go; what prunes by them.

The network `net` that is scored has its masks multiplied in.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.compaction.channels import (
    Level,
    filter_norms,
    kept_channels,
    levels,
    norm_scales,
    surviving,
)
from graphlth.masks import Masks, masked, ones
from graphlth.rewinding import rewind, snapshot
from graphlth.streams import stream
from graphlth.task import Task

OUTPUTS, POSITIONS = 8, 4096  # of a layer's outputs, and of the positions of each, what is sampled


def norm_scale(net: nn.Module, task: Task, masks: Masks, seed: int) -> dict[str, Tensor]:
    """|γ| of each channel that has a norm (Liu et al., ICCV 2017, arXiv:1708.06519)."""
    return norm_scales(net)


def norm_penalty(found: list[Level], rate: float) -> Callable[[Masks, Masks], Tensor] | None:
    """`λ Σ |γ|` over every hidden channel, a penalty of `train`; None where there is none."""
    names = [f"{norm}.weight" for level in found for norm in level.norms]
    if not names or not rate:
        return None
    return lambda weights, soft: rate * torch.stack([weights[n].abs().sum() for n in names]).sum()


def filter_norm(net: nn.Module, task: Task, masks: Masks, seed: int) -> dict[str, Tensor]:
    """The L1 norm of each channel's filter (Li et al., ICLR 2017, arXiv:1608.08710)."""
    return filter_norms(net)


def random(net: nn.Module, task: Task, masks: Masks, seed: int) -> dict[str, Tensor]:
    """A uniform draw from [0, 1), the same on every device: the control."""
    draw, like = stream(seed, "random score"), next(net.parameters())
    return {v.maker: torch.rand(v.size, generator=draw).to(like) for v in levels(net)}


@torch.no_grad()
def thinet(net: nn.Module, task: Task, masks: Masks, seed: int) -> dict[str, Tensor]:
    """How late each channel goes, in (0, 1], when the next layer's outputs are to change least.

    Luo et al., ICCV 2017, arXiv:1707.06342, Algorithm 1: greedy, on outputs sampled from a training
    batch. Layers are ranked each by itself, so that "global" takes the same share of all. The
    least-squares scaling of what is left is not done: training follows.
    """
    draw, scores = stream(seed, "positions"), random(net, task, masks, seed)
    alive, batch = surviving(net, masks), next(iter(task.batches("train", seed)))
    for level, x in _read(net, levels(net), batch.inputs):
        kept = alive[level.maker].nonzero().squeeze(1)
        parts = _contributions(net.get_submodule(level.reader), level.size, x, draw)
        order = greedy(parts[:, kept])
        late = torch.arange(1, len(order) + 1).to(x) / len(order)
        scores[level.maker][kept[order]] = late
    return scores


def greedy(parts: Tensor) -> Tensor:
    """The channels [C] in the order in which they go, of their `parts` [n, C] of n outputs.

    Next goes the one that, with all before it, takes least away: `Σ_n (Σ_{c ∈ T} x̂_nc)²`.
    """
    products = (parts.T @ parts).double()  # [C, C]
    alone, with_gone = products.diagonal(), torch.zeros(len(products)).to(products)
    order: list[int] = []
    for _ in range(len(products)):
        growth = alone + 2 * with_gone
        growth[order] = torch.inf
        order.append(int(growth.argmin()))
        with_gone += products[order[-1]]
    return torch.tensor(order, device=parts.device)


def _read(net: nn.Module, found: list[Level], inputs: Any) -> list[tuple[Level, Tensor]]:
    """What the reader of each level is given in one pass."""
    read: dict[str, Tensor] = {}

    def keep(name: str, _: Any, given: Any) -> None:
        read[name] = given[0]

    hooks = [
        net.get_submodule(v.reader).register_forward_pre_hook(partial(keep, v.reader))
        for v in found
    ]
    try:
        net(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [(level, read[level.reader]) for level in found]


def _contributions(reader: nn.Module, size: int, x: Tensor, draw: torch.Generator) -> Tensor:
    """What each of `size` channels of `x` adds to outputs of `reader` [n, C], sampled by `draw`."""
    assert isinstance(reader, nn.Conv2d | nn.Linear)
    parts = []
    for output in torch.randperm(reader.weight.size(0), generator=draw)[:OUTPUTS].tolist():
        w = reader.weight[output]
        if isinstance(reader, nn.Conv2d):
            of_channel = F.conv2d(x, w.unsqueeze(1), None, reader.stride, reader.padding,
                                  reader.dilation, groups=size)  # fmt: skip
            of_channel = of_channel.permute(0, 2, 3, 1).reshape(-1, size)  # [B · H · W, C]
        else:
            of_channel = (x * w).view(len(x), size, -1).sum(2)
        rows = torch.randperm(len(of_channel), generator=draw)[:POSITIONS]
        parts.append(of_channel[rows.to(x.device)])
    return torch.cat(parts)


Score = Callable[[nn.Module, Task, Masks, int], dict[str, Tensor]]
CHANNEL_SCORES: dict[str, Score] = {
    score.__name__: score for score in (norm_scale, filter_norm, thinet, random)
}


def hidden(model: nn.Module, task: Task, channel_score: str) -> list[Level]:
    """The hidden channels of `model`, some of which `channel_score` can rank.

    Raises:
        ValueError: there are none, or there is no such score.
    """
    if channel_score not in CHANNEL_SCORES:
        known = ", ".join(CHANNEL_SCORES)
        raise ValueError(f"`channel_score` must be one of {known}, got {channel_score!r}")
    found = levels(model) if hasattr(task, "shape") else []
    if not any(v.norms or channel_score != "norm_scale" for v in found):
        norms = " that have a norm" * bool(found)
        raise ValueError(f"`model` must be of images, with hidden channels{norms}, "
                         f"for {channel_score!r}, got {type(model).__name__}")  # fmt: skip
    return found


def keeping(
    model: nn.Module, task: Task, channel_score: str, scope: str
) -> Callable[[float, Masks, int], dict[str, Tensor]]:
    """What tells which channels [C] are kept, by layer, of `model` as it is when asked.

    It is given the fraction of the surviving channels that goes, the masks of those that survive
    (none: all do), and a seed.
    """
    score = CHANNEL_SCORES[channel_score]

    def keep(fraction: float, masks: Masks, seed: int) -> dict[str, Tensor]:
        net = deepcopy(model).eval()
        rewind(net, masked(snapshot(model), masks))
        scores = score(net, task, masks or ones(net), seed)
        return kept_channels(model, scores, fraction, scope, masks)

    return keep
