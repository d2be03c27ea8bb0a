"""ResNet-56 (He et al., CVPR 2016, arXiv:1512.03385) for CIFAR."""

from graphlth.models.image._images import Feedforward
from graphlth.models.image._resnet import resnet
from graphlth.task import Task


def resnet_56(task: Task) -> Feedforward:
    """Three stages of 9 blocks, of 16, 32 and 64 channels, with 1×1 shortcuts between stages.

    Args:
        task: gives the shape of the images and the number of classes.
    """
    return resnet(task, depth=9)
