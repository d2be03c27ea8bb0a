"""The scores of one part of the masks, by the name of the score or by the score itself."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from graphlth.masks import Masks, only
from graphlth.registry import find, names, normalize_name
from graphlth.scores import Score
from graphlth.settings.types import Score as ScoreName
from graphlth.task import Task

SETTINGS = {"weights": "score", "edges": "edge_score"}  # which setting names the score of a part


def score_part(
    score: ScoreName, part: str, model: nn.Module, task: Task, masks: Masks, **context: Any
) -> dict[str, Tensor]:
    """The scores of the "weights" or "edges" of `masks`.

    Of `context`, such as `seed` and `init`, the score is given what it takes.

    Raises:
        ValueError: there is no such score, or it leaves out some of the masks.
    """
    function = find_score(score, SETTINGS[part])
    scores = only(call_score(function, model, task, masks, context), part)
    if missing := [n for n in only(masks, part) if n not in scores]:
        raise ValueError(f"`{SETTINGS[part]}` must score {part}, got {score_name(score)!r}, which "
                         f"leaves out {missing[0]!r}")  # fmt: skip
    return scores


def score_channels(
    score: ScoreName, model: nn.Module, task: Task, masks: Masks, **context: Any
) -> dict[str, Tensor]:
    """The scores [C] of the channels of those layers in `masks` that the score can rank.

    Raises:
        ValueError: there is no such score, or it can rank none of them.
    """
    function = find_score(score, "channel_score")
    scores = call_score(function, model, task, masks, context)
    if not scores.keys() & masks.keys():
        raise ValueError(f"`model` must be of images, with hidden channels that "
                         f"{score_name(score)!r} can score, got {type(model).__name__}: give "
                         "another `channel_score`, such as filter_norm")  # fmt: skip
    return {n: scores[n] for n in masks if n in scores}


def find_score(score: ScoreName, setting: str) -> Score:
    """The score that `score` is or names; `setting` is what an error calls it.

    Raises:
        ValueError: there is no score of this name.
    """
    if not isinstance(score, str):
        return score
    if normalize_name(score) not in (known := names("scores")):
        raise ValueError(f"`{setting}` must be one of {', '.join(known)}, got {score!r}")
    found: Score = find("scores", score)
    return found


def score_name(score: ScoreName) -> str:
    """The name of a score, also of one with settings bound."""
    if isinstance(score, str):
        return score
    function = score.func if isinstance(score, partial) else score
    return getattr(function, "__name__", type(function).__name__)


def call_score(
    score: Score, model: nn.Module, task: Task, masks: Masks, context: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The scores of the entries of `masks`, from what the score takes of `context`."""
    taken = inspect.signature(score).parameters
    return partial(score, **{n: v for n, v in context.items() if n in taken})(model, task, masks)
