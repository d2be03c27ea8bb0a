"""Conv-2, Conv-4 and Conv-6 (Frankle & Carbin, ICLR 2019, arXiv:1803.03635, figure 2)."""

from torch import nn

from graphlth.models.image._images import Feedforward, glorot, image_shape, perceptron
from graphlth.task import Task

WIDTHS = (64, 128, 256)  # channels of each pair of convolutions


def conv(task: Task, pairs: int) -> Feedforward:
    """Pairs of 3×3 convolutions, each pair pooled, then two layers of 256 units; biases, no norm.

    Args:
        task: gives the shape of the images and the number of classes.
        pairs: number of pairs of convolutions.
    """
    channels, height, width = image_shape(task, 2**pairs)
    layers: list[nn.Module] = []
    for out in WIDTHS[:pairs]:
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(),
                   nn.Conv2d(out, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]  # fmt: skip
        channels, height, width = out, height // 2, width // 2
    units = perceptron(channels * height * width, (256, 256), task.num_classes)
    return Feedforward([*layers, nn.Flatten(), *units], glorot)
