"""A score by its name, for one part of the masks."""

import inspect
from typing import Any

from torch import Tensor, nn

from graphlth.masks import Masks, only
from graphlth.registry import find
from graphlth.task import Task


def scored(
    name: str, part: str, model: nn.Module, task: Task, masks: Masks, **known: Any
) -> dict[str, Tensor]:
    """What the score `name` makes of the "weights" or "edges" of `masks`.

    Of `known`, such as `seed` and `init`, the score is given what it takes.

    Raises:
        ValueError: there is no such score, or it leaves out some of them.
    """
    function = find("scores", name)
    taken = inspect.signature(function).parameters
    how = {n: value for n, value in known.items() if n in taken}
    found = only(function(model, task, masks, **how), part)
    if missing := [n for n in only(masks, part) if n not in found]:
        setting = "score" if part == "weights" else "edge_score"
        raise ValueError(
            f"`{setting}` must score {part}, got {name!r}, which leaves out {missing[0]!r}"
        )
    return found
