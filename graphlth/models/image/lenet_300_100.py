"""LeNet-300-100 (LeCun et al., Proceedings of the IEEE 1998), as Frankle & Carbin have it."""

from torch import nn

from graphlth.models.image._images import Feedforward, glorot, image_shape, perceptron
from graphlth.task import Task


def lenet_300_100(task: Task) -> Feedforward:
    """Fully connected layers of 300 and 100 units with ReLU (arXiv:1803.03635, figure 2).

    Args:
        task: gives the shape of the images and the number of classes.
    """
    image_shape(task)
    layers = perceptron(task.num_features, (300, 100), task.num_classes)
    return Feedforward([nn.Flatten(), *layers], glorot)
