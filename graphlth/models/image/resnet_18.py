"""ResNet-18 (He et al., CVPR 2016, arXiv:1512.03385) for small images."""

from graphlth.models.image._images import Feedforward
from graphlth.models.image._resnet import resnet
from graphlth.task import Task


def resnet_18(task: Task) -> Feedforward:
    """Four stages of 2 blocks, of 64 to 512 channels, behind one 3×3 convolution.

    What Frankle & Carbin (arXiv:1803.03635) call Resnet-18 is `resnet_20`.

    Args:
        task: gives the shape of the images and the number of classes.
    """
    return resnet(task, depth=2, widths=(64, 128, 256, 512))
