"""ThiNet (Luo et al., ICCV 2017, arXiv:1707.06342, Algorithm 1)."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.compaction.channels import hidden_levels
from graphlth.masks import Masks
from graphlth.settings.types import Seed
from graphlth.streams import stream
from graphlth.task import Task

OUTPUTS, POSITIONS = 8, 4096  # how many outputs of a layer, and positions of each, are sampled


@torch.no_grad()
def thinet(model: nn.Module, task: Task, masks: Masks, *, seed: Seed = 0) -> dict[str, Tensor]:
    """The place [C] in (0, 1] of each channel in the order that changes the next layer least.

    The order is greedy, on outputs sampled from a training batch. Layers are ranked each by itself,
    so that "global" takes the same share of all. The least-squares scaling of the kept channels is
    not done: training follows.

    Args:
        model: the network.
        task: the images.
        masks: which channels are left, by layer.
        seed: seeds the order of the images and which outputs are sampled.
    """
    net = deepcopy(model).eval()
    hidden = [level for level in hidden_levels(net) if level.maker in masks]
    if not hidden:
        return {}
    draw, batch = stream(seed, "positions"), next(iter(task.batches("train", seed)))
    inputs = record_inputs(net, [level.reader for level in hidden], batch.inputs)
    scores = {}
    for level in hidden:
        left = masks[level.maker].nonzero().squeeze(1)
        x = inputs[level.reader]
        parts = contributions(net.get_submodule(level.reader), level.size, x, draw)
        order = greedy_order(parts[:, left])
        scores[level.maker] = torch.zeros(level.size).to(x)
        scores[level.maker][left[order]] = torch.arange(1, len(order) + 1).to(x) / len(order)
    return scores


def greedy_order(parts: Tensor) -> Tensor:
    """The channels [C] in the order of their removal, of their `parts` [n, C] of n outputs.

    The next one removed is the one that, with all before it, takes least away:
    `Σ_n (Σ_{c ∈ T} x̂_nc)²`.
    """
    products = (parts.T @ parts).double()  # [C, C]
    alone, with_removed = products.diagonal(), torch.zeros(len(products)).to(products)
    order: list[int] = []
    for _ in range(len(products)):
        growth = alone + 2 * with_removed
        growth[order] = torch.inf
        order.append(int(growth.argmin()))
        with_removed += products[order[-1]]
    return torch.tensor(order, device=parts.device)


def record_inputs(model: nn.Module, layers: Sequence[str], inputs: Any) -> dict[str, Tensor]:
    """The input of each of `layers` in one forward pass."""
    recorded: dict[str, Tensor] = {}

    def record(name: str, _: Any, given: Any) -> None:
        recorded[name] = given[0]

    hooks = [
        model.get_submodule(name).register_forward_pre_hook(partial(record, name))
        for name in layers
    ]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return recorded


def contributions(reader: nn.Module, size: int, x: Tensor, draw: torch.Generator) -> Tensor:
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
