"""VGG (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556) in its form for CIFAR, with BatchNorm."""

from collections.abc import Sequence

from torch import nn

from graphlth.models.image._images import Feedforward, image_shape, kaiming
from graphlth.task import Task

WIDTHS = (64, 128, 256, 512, 512)  # channels of each stage; all but the first begin with a pooling


def vgg(
    task: Task, depths: Sequence[int], widths: Sequence[int] = WIDTHS, *,
    batchnorm_init: str = "fixed",
) -> Feedforward:  # fmt: skip
    """3×3 convolutions with BatchNorm and ReLU, averaged over the image, and one linear layer.

    Convolutions have no bias: the norm would take it away.

    Args:
        task: gives the shape of the images and the number of classes.
        depths: convolutions in each stage.
        widths: channels of each stage.
        batchnorm_init: as `Feedforward`.
    """
    channels, *_ = image_shape(task, 2 ** (len(depths) - 1))
    layers: list[nn.Module] = []
    for stage, (depth, out) in enumerate(zip(depths, widths, strict=True)):
        layers += [nn.MaxPool2d(2)] if stage else []
        for _ in range(depth):
            norm = nn.BatchNorm2d(out)
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), norm, nn.ReLU()]
            channels = out
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.num_classes)]
    return Feedforward([*layers, *head], kaiming, batchnorm_init)
