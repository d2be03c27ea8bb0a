"""LeNet-5 (LeCun et al., Proceedings of the IEEE 1998), in the form that pruning is measured on."""

from torch import nn

from graphlth.models.image._images import Feedforward, glorot, image_shape, perceptron
from graphlth.task import Task


def lenet_5(task: Task) -> Feedforward:
    """Two 5×5 convolutions of 20 and 50 channels, then 500 units: 430,500 weights on MNIST.

    These are the widths of Caffe's LeNet-5, which Han et al. (NeurIPS 2015, arXiv:1506.02626) and
    later work prune; those of 1998 are 6, 16, 120 and 84.

    Args:
        task: gives the shape of the images and the number of classes.
    """
    channels, height, width = image_shape(task, 16)
    area = ((height - 4) // 2 - 4) // 2 * (((width - 4) // 2 - 4) // 2)  # after both poolings
    return Feedforward([
        nn.Conv2d(channels, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), *perceptron(50 * area, (500,), task.num_classes),
    ], glorot)  # fmt: skip
