"""VGG-19 (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556) for CIFAR."""

from graphlth.models.image._images import Feedforward
from graphlth.models.image._vgg import vgg
from graphlth.task import Task


def vgg_19(task: Task) -> Feedforward:
    """16 convolutions with BatchNorm, 3 of the 19 layers in one.

    Args:
        task: gives the shape of the images and the number of classes.
    """
    return vgg(task, (2, 2, 4, 4, 4))
