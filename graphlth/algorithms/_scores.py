"""The scores of one part of the masks, by the name of the score or by the score itself."""

import inspect
from typing import Any

from torch import Tensor, nn

from graphlth.masks import Masks, only
from graphlth.registry import find, names, spelt
from graphlth.settings.types import Score
from graphlth.task import Task

SETTINGS = {"weights": "score", "edges": "edge_score"}  # which setting names the score of a part


def score_part(
    score: Score, part: str, model: nn.Module, task: Task, masks: Masks, **context: Any
) -> dict[str, Tensor]:
    """The scores of the "weights" or "edges" of `masks`.

    Of `context`, such as `seed` and `init`, the score is given what it takes.

    Raises:
        ValueError: there is no such score, or it leaves out some of the masks.
    """
    function = find_score(score, SETTINGS[part])
    taken = inspect.signature(function).parameters
    known = {n: value for n, value in context.items() if n in taken}
    scores = only(function(model, task, masks, **known), part)
    if missing := [n for n in only(masks, part) if n not in scores]:
        raise ValueError(f"`{SETTINGS[part]}` must score {part}, got {score!r}, which leaves out "
                         f"{missing[0]!r}")  # fmt: skip
    return scores


def find_score(score: Score, setting: str) -> Any:
    """The score that `score` is or names; `setting` is what an error calls it.

    Raises:
        ValueError: there is no score of this name.
    """
    if not isinstance(score, str):
        return score
    if spelt(score) not in (known := names("scores")):
        raise ValueError(f"`{setting}` must be one of {', '.join(known)}, got {score!r}")
    return find("scores", score)
