"""LeNet-300-100 (LeCun et al., Proceedings of the IEEE 1998), as Frankle & Carbin have it."""

from torch import nn

from graphlth.models.image._images import Feedforward, glorot, image_shape, kaiming, perceptron
from graphlth.settings.annotations import check_value
from graphlth.settings.types import NormalInitializer
from graphlth.task import Task


def lenet_300_100(task: Task, *, model_init: NormalInitializer = "glorot_normal") -> Feedforward:
    """Fully connected layers of 300 and 100 units with ReLU (arXiv:1803.03635, figure 2).

    Args:
        task: gives the shape of the images and the number of classes.
        model_init: weights are normal, of variance 2 / (in + out) ("glorot_normal", the paper) or
            2 / in ("kaiming_normal", open_lth).
    """
    image_shape(task)
    check_value("model_init", model_init, NormalInitializer)
    draw = glorot if model_init == "glorot_normal" else kaiming
    layers = perceptron(task.num_features, (300, 100), task.num_classes)
    return Feedforward([nn.Flatten(), *layers], draw)
