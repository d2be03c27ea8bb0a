"""VGG-16 (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556) for CIFAR."""

from graphlth.models.image._images import Feedforward
from graphlth.models.image._vgg import vgg
from graphlth.settings.types import NormInitializer
from graphlth.task import Task


def vgg_16(task: Task, *, batchnorm_init: NormInitializer = "fixed") -> Feedforward:
    """13 convolutions with BatchNorm, 3 of the 16 layers in one.

    Args:
        task: gives the shape of the images and the number of classes.
        batchnorm_init: the scales of BatchNorm start at 1 ("fixed") or "uniform" in [0, 1), as in
            open_lth.
    """
    return vgg(task, (2, 2, 3, 3, 3), batchnorm_init=batchnorm_init)
