"""The scores of one part of the masks, by the name of the score or by the score itself."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.masks import Masks, only
from graphlth.registry import choice_error, find, names, names_for, normalize_name
from graphlth.scores import Score
from graphlth.settings.checks import check_setting
from graphlth.settings.types import Score as ScoreName
from graphlth.settings.validation import check_settings, settings_of
from graphlth.task import Task

RETURNED = "a dict from the names of masks to tensors of their shapes, without NaN"
SETTINGS = {"weights": "score", "edges": "edge_score"}  # which setting names the score of a part
PARTS = {setting: part for part, setting in SETTINGS.items()} | {"channel_score": "channels"}


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
        raise ValueError(f"`model` must have hidden channels that "
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
    if normalize_name(score) not in names("scores"):
        shown = names_for("scores", PARTS.get(setting, ""))
        raise ValueError(choice_error(setting, score, shown))
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
    """The scores of the entries of `masks`, from what the score takes of `context`.

    Raises:
        ValueError: it has no setting that is bound to it, raises something, or returns no numbers
            of the shapes of `masks`.
    """
    name = score_name(score)
    check_bound_settings(score)
    try:
        taken = inspect.signature(score).parameters
        found = partial(score, **{n: v for n, v in context.items() if n in taken})(
            model, task, masks
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # a score of a user's own can raise anything
        if isinstance(error, ValueError) and str(error).startswith("`"):
            raise  # it says what is wrong
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(f"`score` {name!r} must return {RETURNED}, but raises "
                         f"{type(error).__name__}: {first}") from error  # fmt: skip
    if not isinstance(found, Mapping):
        raise ValueError(f"`score` {name!r} must return {RETURNED}, got {_kind(found)}")
    return {n: _checked(v, n, masks.get(n), name) for n, v in found.items()}


def check_bound_settings(score: Score) -> None:
    """Refuse settings that `functools.partial` binds to a score and that it has not.

    Raises:
        ValueError: there is one, or its value is wrong.
    """
    if not isinstance(score, partial) or not inspect.isroutine(score.func):
        return
    parameters = inspect.signature(score.func).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = settings_of(score.func)
    for name in score.keywords:
        if name not in parameters:
            check_setting(name, known, f"of the score {score_name(score)!r}")
    check_settings(score.keywords, known)


def _checked(value: Any, name: str, mask: Tensor | None, score: str) -> Tensor:
    """The scores of one mask, of real numbers.

    Raises:
        ValueError: they are none, or not of its shape, or NaN where an entry is left.
    """
    wrong = ""
    if not isinstance(value, Tensor) or value.is_complex():
        wrong = _kind(value)
    elif mask is not None and value.shape != mask.shape:
        wrong = f"{list(value.shape)} in place of {list(mask.shape)}"
    elif mask is not None and value.is_floating_point():
        nan = int((value.isnan().to(mask.device) & (mask != 0)).sum())
        wrong = f"NaN for {nan} of its entries" if nan else ""
    if wrong:
        raise ValueError(f"`score` {score!r} must return {RETURNED}, got {wrong} for {name!r}")
    value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
    return value if mask is None else value.to(mask.device)


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"{kind} of {value.dtype}" if isinstance(value, Tensor) else kind
