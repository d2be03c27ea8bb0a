"""Conv-2 (Frankle & Carbin, ICLR 2019, arXiv:1803.03635)."""

from graphlth.models.image._conv import conv
from graphlth.models.image._images import Feedforward
from graphlth.task import Task


def conv_2(task: Task) -> Feedforward:
    """2 convolutions and three fully connected layers, a small VGG.

    Args:
        task: gives the shape of the images and the number of classes.
    """
    return conv(task, pairs=1)
