"""A multi-layer perceptron."""

from torch import nn

from graphlth.models.image._images import Feedforward, check_numbers, glorot, perceptron
from graphlth.settings.types import Depth, Width
from graphlth.task import Task


def mlp(task: Task, *, hidden: Width = 256, layers: Depth = 3) -> Feedforward:
    """Fully connected layers with ReLU between them, of images or of vectors [B, F].

    Args:
        task: gives the numbers of features and classes; of images, of vectors, or a game.
        hidden: units of every hidden layer.
        layers: number of weight matrices.
    """
    check_numbers(task)
    maps = perceptron(task.num_features, [hidden] * (layers - 1), task.num_classes)
    return Feedforward([nn.Flatten(), *maps], glorot)
