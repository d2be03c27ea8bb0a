"""What the models of images share: the shape of their task, and weights drawn anew."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.settings.annotations import check_value
from graphlth.settings.types import NormInitializer
from graphlth.task import Task

glorot: Callable[[Tensor], Tensor] = nn.init.xavier_normal_  # variance 2 / (fan_in + fan_out)
kaiming: Callable[[Tensor], Tensor] = nn.init.kaiming_normal_  # variance 2 / fan_in


class Feedforward(nn.Module):
    """Layers one after the other; logits [B, classes] of images [B, C, H, W].

    Args:
        layers: what is applied in turn.
        draw: redraws a weight in place; biases start at 0.
        batchnorm_init: normalisations start as the identity ("fixed"), or with scales that are
            "uniform" in [0, 1).
    """

    def __init__(
        self, layers: Iterable[nn.Module], draw: Callable[[Tensor], Tensor],
        batchnorm_init: str = "fixed",
    ):  # fmt: skip
        super().__init__()
        check_value("batchnorm_init", batchnorm_init, NormInitializer)
        self.layers, self.draw = nn.Sequential(*layers), draw
        self.batchnorm_init = batchnorm_init
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight anew and forget what normalisations have seen."""
        for m in self.modules():
            if isinstance(m, nn.Conv2d | nn.Linear):
                self.draw(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.BatchNorm2d):
                m.reset_parameters()
                if self.batchnorm_init == "uniform":
                    nn.init.uniform_(m.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of `x` [B, C, H, W]."""
        if x.is_cpu and isinstance(self.layers[0], nn.Conv2d):  # a fifth to a quarter less time
            x = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.layers(x)
        return logits


def image_shape(task: Task, least: int = 1) -> tuple[int, int, int]:
    """The channels, height and width of the images of `task`.

    Raises:
        ValueError: it has no images, or some with a side below `least` pixels.
    """
    shape: Any = getattr(task, "shape", None)
    if shape is None or len(shape) != 3 or min(shape[1:]) < least:
        raise ValueError(f"`task` must have images: a `shape` (C, H, W), H and W at least {least}, "
                         f"got {shape and tuple(shape)}")  # fmt: skip
    return shape[0], shape[1], shape[2]


def check_numbers(task: Task) -> None:
    """Refuse a task whose inputs are neither images nor vectors of numbers."""
    if getattr(task, "dtype", None) is not None:
        raise ValueError(f"`task` must have images or vectors of numbers, got {task.name!r}")
    if len(getattr(task, "shape", ())) != 1:
        image_shape(task)


def perceptron(num_features: int, widths: Iterable[int], num_classes: int) -> list[nn.Module]:
    """Fully connected layers of `widths` with ReLU between them; the last gives the logits."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(num_features, width), nn.ReLU()]
        num_features = width
    return [*layers, nn.Linear(num_features, num_classes)]
