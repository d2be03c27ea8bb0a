"""Plug-ins and functions as the library offers them: they check their settings when called."""

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from torch import nn

from graphlth.model_checks import check_model_size, check_place
from graphlth.registry import find as find_plugin
from graphlth.settings.validation import validate_settings


def find(kind: str, name: str) -> Any:
    """The plug-in of `kind` that is called `name`, spelt with `_` or `-`; it checks its settings.

    Raises:
        ValueError: there is no such kind or plug-in.
    """
    plugin = find_plugin(kind, name)
    return validate(with_size_check(plugin) if kind == "models" else plugin)


@cache
def validate(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which checks its settings and the device of its `model` when it is called."""
    names = inspect.signature(function).parameters

    @validate_settings
    @wraps(function)
    def call(*inputs: Any, **given: Any) -> Any:
        by_name = dict(zip(names, inputs, strict=False)) | given
        if isinstance(model := by_name.get("model"), nn.Module):
            check_place(model, by_name.get("task"))
        return function(*inputs, **given)

    return call


@cache
def with_size_check(factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """`factory`, which refuses a model of too many weights before it makes one."""

    @wraps(factory)
    def build(*inputs: Any, **settings: Any) -> nn.Module:
        check_model_size(factory, *inputs, **settings)
        return factory(*inputs, **settings)

    return build
