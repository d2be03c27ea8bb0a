"""Residual networks (He et al., CVPR 2016, arXiv:1512.03385; ECCV 2016, arXiv:1603.05027)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from graphlth.models.image._images import Feedforward, image_shape, kaiming
from graphlth.task import Task

WIDTHS = (16, 32, 64)  # of the three stages, for CIFAR
EXPANSION = 4  # channels that leave a bottleneck, for each in it


def conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the image's size, or divides it by `stride`."""
    return nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)


class Residual(nn.Module):
    """`last(body(x) + shortcut(x))`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, last: nn.Module):
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut, last

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.add(self.body(x), self.shortcut(x)))
        return out


def basic(channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A block of two 3×3 convolutions, and the channels that leave it.

    Where its shape changes the shortcut is a 1×1 convolution with BatchNorm (option B), as in the
    ResNet-20 of Frankle et al. (ICML 2020, arXiv:1912.05671).
    """
    body = nn.Sequential(
        conv(channels, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        conv(width, width, 3), nn.BatchNorm2d(width),
    )  # fmt: skip
    shortcut = nn.Sequential()  # the identity
    if stride > 1 or channels != width:
        shortcut = nn.Sequential(conv(channels, width, 1, stride), nn.BatchNorm2d(width))
    return Residual(body, shortcut, nn.ReLU(inplace=True)), width


def bottleneck(channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A pre-activation block of 1×1, 3×3 and 1×1 convolutions, and the channels that leave it.

    Where its shape changes the shortcut is a 1×1 convolution of the block's input.
    """
    out = EXPANSION * width
    body = nn.Sequential(
        nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv(channels, width, 1),
        nn.BatchNorm2d(width), nn.ReLU(inplace=True), conv(width, width, 3, stride),
        nn.BatchNorm2d(width), nn.ReLU(inplace=True), conv(width, out, 1),
    )  # fmt: skip
    same = stride == 1 and channels == out
    return Residual(body, nn.Sequential() if same else conv(channels, out, 1, stride),
                    nn.Identity()), out  # fmt: skip


def stages(
    channels: int,
    depth: int,
    widths: Sequence[int],
    block: Callable[[int, int, int], tuple[nn.Module, int]],
) -> tuple[list[nn.Module], int]:
    """A stage of `depth` blocks for each of `widths`, and the channels that leave the last.

    Every stage but the first halves the image.
    """
    blocks = []
    for stage, width in enumerate(widths):
        for i in range(depth):
            made, channels = block(channels, width, 2 if stage and not i else 1)
            blocks.append(made)
    return blocks, channels


def resnet(
    task: Task, depth: int, widths: Sequence[int] = WIDTHS, *, batchnorm_init: str = "fixed"
) -> Feedforward:
    """A residual network of `basic` blocks: 2 · stages · `depth` + 2 layers.

    Args:
        task: gives the shape of the images and the number of classes.
        depth: blocks in each stage.
        widths: channels of each stage.
        batchnorm_init: as `Feedforward`.
    """
    channels, *_ = image_shape(task)
    blocks, out = stages(widths[0], depth, widths, basic)
    return Feedforward([
        conv(channels, widths[0], 3), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(out, task.num_classes),
    ], kaiming, batchnorm_init)  # fmt: skip


def preresnet(task: Task, depth: int, widths: Sequence[int] = WIDTHS) -> Feedforward:
    """A pre-activation residual network of `bottleneck` blocks: 3 · stages · `depth` + 2 layers.

    The form that Liu et al. (ICCV 2017, arXiv:1708.06519) and You et al. (ICLR 2020) prune.

    Args:
        task: gives the shape of the images and the number of classes.
        depth: blocks in each stage.
        widths: channels inside the blocks of each stage.
    """
    channels, *_ = image_shape(task)
    blocks, out = stages(widths[0], depth, widths, bottleneck)
    return Feedforward([
        conv(channels, widths[0], 3), *blocks, nn.BatchNorm2d(out), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(out, task.num_classes),
    ], kaiming)  # fmt: skip
