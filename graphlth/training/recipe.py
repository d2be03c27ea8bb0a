"""How weights are trained: one recipe for searching, training and retraining."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypedDict

from graphlth.settings.checks import check_setting
from graphlth.settings.groups import split_group
from graphlth.settings.lists import parse_milestones
from graphlth.settings.types import (
    Epochs,
    Fraction,
    Iterations,
    Milestones,
    NonNegative,
    Optimizer,
    Positive,
)
from graphlth.settings.validation import check_fields

DECAY = 0.1  # by which a milestone multiplies the learning rate


@dataclass(frozen=True)
class Recipe:
    """How weights are trained; an algorithm that trains takes one, or its fields as keywords.

    Args:
        epochs: epochs of training, of every round, and of retraining.
        iterations: iterations of both, in place of epochs; 0: epochs count.
        lr: learning rate.
        weight_decay: λ of the L2 decay `λ θ`, which is added to the gradient.
        optimizer: adam or sgd.
        momentum: of SGD, in [0, 1).
        milestones: fractions of the training, such as 0.5 0.75, after each of which the learning
            rate is a tenth; or none.
        warmup: iterations at the start of the training in which the learning rate rises linearly.

    Raises:
        ValueError: there is no such optimiser, or a number is out of its range.
    """

    epochs: Epochs = 200
    iterations: Iterations = 0
    lr: Positive = 0.01
    weight_decay: NonNegative = 5e-4
    optimizer: Optimizer = "adam"
    momentum: Fraction = 0.9
    milestones: Milestones = "none"
    warmup: Iterations = 0

    @classmethod
    def of(cls, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> "Recipe":
        """The recipe in the keywords `given`: `recipe` itself, or its fields over `defaults`.

        `defaults` are those of the algorithm; a field that they lack is not one of its settings,
        and must be in `recipe` what it is in `Recipe()`.

        Raises:
            ValueError: both are given, there is no such field, or a value is wrong.
        """
        usual = asdict(cls())
        known = usual if defaults is None else defaults
        for name in given:
            check_setting(name, {*known, "recipe"}, "of this training")
        recipe, _ = split_group(cls, given, defaults)
        for name in usual.keys() - known.keys():
            if (value := getattr(recipe, name)) != usual[name]:
                raise ValueError(f"`recipe` must have `{name}` {usual[name]!r} in this training, "
                                 f"got {value!r}")  # fmt: skip
        return recipe

    def __post_init__(self) -> None:
        at_rest = ("lr",) if self.lr == 0 else ()  # all is as in training, but nothing moves
        check_fields(self, but=at_rest)

    @cached_property
    def decay_points(self) -> tuple[float, ...]:
        """The milestones as fractions of the training."""
        return parse_milestones(self.milestones)

    def rate(self, iteration: int, iterations: int) -> float:
        """The learning rate of an iteration, from 0, of a training of `iterations`.

        What is trained after the end of the schedule is trained at its last rate.
        """
        decays = sum(iteration >= round(point * iterations) for point in self.decay_points)
        warm = min(1.0, (iteration + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * DECAY**decays * warm if decays or warm < 1 else self.lr


class RecipeFields(TypedDict, total=False):
    """The fields of `Recipe` as keywords, or `recipe` in place of them."""

    recipe: Recipe
    epochs: Epochs
    iterations: Iterations
    lr: Positive
    weight_decay: NonNegative
    optimizer: Optimizer
    momentum: Fraction
    milestones: Milestones
    warmup: Iterations


class AdamFields(TypedDict, total=False):
    """The fields of `Recipe` of a training by Adam at one learning rate."""

    recipe: Recipe
    epochs: Epochs
    lr: Positive
    weight_decay: NonNegative


# What an algorithm that trains by Adam has of a recipe, and retraining in its runs.
ADAM: AdamFields = {"epochs": 200, "lr": 0.01, "weight_decay": 5e-4}
