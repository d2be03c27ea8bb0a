"""ResNet-20 (He et al., CVPR 2016, arXiv:1512.03385) for CIFAR."""

from graphlth.models.image._images import Feedforward
from graphlth.models.image._resnet import resnet
from graphlth.settings.types import NormInitializer
from graphlth.task import Task


def resnet_20(task: Task, *, batchnorm_init: NormInitializer = "fixed") -> Feedforward:
    """Three stages of 3 blocks, of 16, 32 and 64 channels, with 1×1 shortcuts between stages.

    Args:
        task: gives the shape of the images and the number of classes.
        batchnorm_init: the scales of BatchNorm start at 1 ("fixed") or "uniform" in [0, 1), as in
            open_lth.
    """
    return resnet(task, depth=3, batchnorm_init=batchnorm_init)
