"""The settings of plug-ins, checked alike for the command line, files and the library."""

import inspect
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache, wraps
from typing import Any

import torch
from torch import nn

from graphlth.algorithms._channels import CHANNEL_SCORES
from graphlth.algorithms._controls import CONTROLS
from graphlth.algorithms._draw import STARTS
from graphlth.algorithms._quantised import BITS
from graphlth.algorithms.imp import REWINDS
from graphlth.algorithms.transfer import CARRIED
from graphlth.drawing import CRITERIA
from graphlth.prune import SCOPES
from graphlth.registry import find as plugin
from graphlth.registry import names
from graphlth.settings.checks import check_device, check_number, check_setting, type_names
from graphlth.sparse.message import BACKENDS
from graphlth.task import Task
from graphlth.ticket import parse_rounds
from graphlth.training.recipe import Recipe
from graphlth.training.retraining import retrain

RECIPE = tuple(f.name for f in fields(Recipe) if f.name not in ("epochs", "iterations"))
CHOICES: dict[str, Collection[Any]] = {
    "scope": SCOPES, "backend": BACKENDS, "criterion": CRITERIA, "start": STARTS,
    "score": names("scores"), "edge_score": names("scores"), "channel_score": CHANNEL_SCORES,
    "optimizer": ("adam", "sgd"), "rewind": REWINDS, "control": CONTROLS, "bits": BITS,
    "carry": CARRIED,
}  # fmt: skip
MOST = 1 << 28  # weights of a model: 1 GiB
KINDS = {"bool": "true or false", "str": "text"}


def check(values: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
    """Refuse settings of the wrong type, outside their range or choices, or that fit not together.

    Args:
        values: all of them, defaults too.
        known: the parameters that they are, whose annotations tell types.

    Raises:
        ValueError: names the first of them.
    """
    for name, value in values.items():
        check_one(name, value, known[name].annotation if name in known else "")
    Recipe(**{n: values[n] for n in RECIPE if n in values})
    whole = "iterations" if values.get("iterations") else "epochs"
    if values.get("rewind_to") and values["rewind_to"] >= values[whole]:
        raise ValueError(f"`rewind_to` must be below `{whole}` = {values[whole]}, "
                         f"got {values['rewind_to']}")  # fmt: skip
    if values.get("rewind") == "finetune" and values["rewind_to"]:
        raise ValueError("`rewind_to` must be 0 with `rewind` 'finetune', "
                         f"got {values['rewind_to']}")  # fmt: skip
    if "only" in values and "rounds" in values:
        parse_rounds(values["only"], values["rounds"])


def check_one(name: str, value: Any, annotation: Any) -> None:
    """Refuse a value that is not of the type, in the range or among the choices of `name`."""
    types = type_names(annotation)
    if value is None and "None" in types:
        return
    kind = min(types - {"None"}, default="")
    if len(types - {"None"}) > 1:
        kind = ""
    if kind in ("int", "float"):
        check_number(name, value, whole=kind == "int")
    if kind == "str" and isinstance(value, os.PathLike):
        return
    if kind in KINDS and type(value).__name__ != kind:
        raise ValueError(f"`{name}` must be {KINDS[kind]}, got {value!r}")
    if name in CHOICES and isinstance(value, str | int) and value not in CHOICES[name]:
        known = ", ".join(map(str, CHOICES[name]))
        raise ValueError(f"`{name}` must be one of {known}, got {value!r}")


@cache
def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which refuses wrong settings, and a device that cannot be used, when called."""
    parameters = inspect.signature(function).parameters
    known = {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    inputs_alone = {n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    is_training = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if is_training:
        more = {**inspect.signature(retrain).parameters, **inspect.signature(Recipe).parameters}
        known |= {n: p for n, p in more.items() if p.default is not p.empty}
    defaults = {n: p.default for n, p in known.items() if p.default is not p.empty}

    @wraps(function)
    def call(*inputs: Any, **given: Any) -> Any:
        for name in given if is_training else ():
            if name not in inputs_alone:
                check_setting(name, known, f"of {function.__name__}")
        check(defaults | {n: given[n] for n in known if n in given}, known)
        inputs_by_name = dict(zip(parameters, inputs, strict=False)) | given
        if isinstance(model := inputs_by_name.get("model"), nn.Module):
            check_place(model, inputs_by_name.get("task"))
        return function(*inputs, **given)

    return call


def find(kind: str, name: str) -> Any:
    """The plug-in of `kind` that is called `name`, spelt with `_` or `-`; it checks its settings.

    Raises:
        ValueError: there is no such kind or plug-in.
    """
    return checked(sized(plugin(kind, name)) if kind == "models" else plugin(kind, name))


@cache
def sized(model: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The plug-in `model`, which counts its weights before it takes the memory for them.

    Raises:
        ValueError: when called, if there are more than `MOST`.
    """

    @wraps(model)
    def build(*inputs: Any, **settings: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            count = sum(p.numel() for p in model(*inputs, **settings).parameters())
        if count > MOST:
            raise ValueError(f"`model` must have at most {MOST:,} weights, got {count:,}: "
                             "lower `hidden`, `layers` or `heads`")  # fmt: skip
        return model(*inputs, **settings)

    return build


def check_place(model: nn.Module, task: Task | None) -> None:
    """Refuse a model on a device that cannot be used, or on another one than the task.

    Raises:
        ValueError: names the device, or both.
    """
    places = {p.device for p in model.parameters()}
    theirs = getattr(getattr(task, "y", None), "device", None)
    if theirs is not None and places and places != {theirs}:
        ours = ", ".join(sorted(map(str, places)))
        raise ValueError(f"`model` must be on the device of `task`, {theirs}, got {ours}: "
                         f"use model.to('{theirs}') or move the task")  # fmt: skip
    for place in places:
        check_device(place)
