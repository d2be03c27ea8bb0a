"""PreResNet-56 (He et al., ECCV 2016, arXiv:1603.05027) for CIFAR."""

from graphlth.models.image._images import Feedforward
from graphlth.models.image._resnet import preresnet
from graphlth.task import Task


def preresnet_56(task: Task) -> Feedforward:
    """Three stages of 6 pre-activation bottlenecks, 16, 32 and 64 channels wide inside.

    Args:
        task: gives the shape of the images and the number of classes.
    """
    return preresnet(task, depth=6)
